package transcripts

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq/broker"
)

// A server is a real nsqd that several scenes share. Each has topics of its own.
type server struct {
	tcp, http string
	broker    *broker.Broker
	options   broker.Options
}

// heartbeatInterval is that of clients which do not ask for one. It is longer than any
// script takes.
const heartbeatInterval = time.Hour

// startServer starts an nsqd that ends with the test.
func startServer(t *testing.T, c config) *server {
	t.Helper()
	s := &server{options: broker.Options{DataDir: dataDir(t), Configure: func(_ int, o *nsqd.Options) {
		o.ClientTimeout = 2 * heartbeatInterval
		o.QueueScanInterval = 5 * time.Millisecond
		o.QueueScanRefreshInterval = 20 * time.Millisecond
		o.QueueScanSelectionCount = 1000
		if c.real != nil {
			c.real(o)
		}
	}}}
	s.start(t)
	t.Cleanup(func() { s.stop(t) })
	if c.noDisk {
		if err := os.RemoveAll(s.options.DataDir); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	b, err := broker.Start(context.Background(), s.options)
	if err != nil {
		t.Fatal(err)
	}
	s.broker, s.tcp, s.http = b, b.NSQDs()[0].TCPAddr, b.NSQDs()[0].HTTPAddr
}

func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.broker.Stop(); err != nil {
		t.Error(err)
	}
	httpClient.CloseIdleConnections()
}

// dataDir makes a directory for nsqd's data that ends with the test, in memory if it can:
// everything in nsqd waits while it syncs its disk.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "nsqd-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

var httpClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: patience}

// A real is the server as one scene sees it.
type real struct {
	t        *testing.T
	server   *server
	number   int64         // makes the names of topics unique
	expected []moment      // what came of the steps on the fake
	patience time.Duration // how long to wait for that
}

// patience bounds the wait for what the fake has done. It ends a test that has found a
// difference, and is far longer than anything takes on a busy machine.
const patience = 20 * time.Second

var scenes atomic.Int64

// playReal plays the steps of a scene that the fake has played.
func playReal(t *testing.T, c config, expected []moment, patience time.Duration) []moment {
	t.Helper()
	var steps []string
	for _, m := range expected {
		steps = append(steps, m.step)
	}
	if c.restarts {
		c.server = startServer(t, c)
	}
	r := &real{t: t, server: c.server, number: scenes.Add(1), expected: expected, patience: patience}
	s := newScene(t, r, c.clientTLS)
	s.play(listed(steps))
	return s.moments
}

func (r *real) dial() (net.Conn, error) { return net.Dial("tcp", r.server.tcp) }

func (r *real) topic(name string) string { return fmt.Sprintf("%s-%d", name, r.number) }

func (r *real) publish(topic string, bodies []string) {
	r.request(http.MethodPost, "/mpub?topic="+url.QueryEscape(topic), strings.Join(bodies, "\n"), nil)
}

func (r *real) admin(verb, topic, channel string) {
	if verb == "create" {
		r.request(http.MethodPost, "/topic/create?topic="+url.QueryEscape(topic), "", nil)
	}
	query := url.Values{"topic": {topic}, "channel": {channel}}
	r.request(http.MethodPost, "/channel/"+verb+"?"+query.Encode(), "", nil)
}

func (r *real) restart() {
	r.server.stop(r.t)
	r.server.start(r.t)
}

// settle waits until as many frames have arrived as from the fake, and the state is the
// same.
func (r *real) settle(s *scene) string {
	want := r.expected[len(s.moments)-1]
	if len(want.frames) == 0 {
		time.Sleep(5 * time.Millisecond) // for a frame that the fake has not sent
	}
	for end := time.Now().Add(r.patience); ; time.Sleep(time.Millisecond) {
		late := time.Now().After(end)
		if late {
			r.patience = 0 // the transcripts differ already
		}
		if s.pending() < len(want.frames) && !late {
			continue
		}
		if state := s.state(); state == want.state || late {
			return state
		}
	}
}

// await does nothing: settle waits for the frame.
func (r *real) await(*scene, *client) {}

func (r *real) counts(topic string) topicCounts {
	counts := topicCounts{channels: make(map[string]channelCounts), clients: make(map[string]clientCounts)}
	var stats struct {
		Topics []struct {
			Depth    int
			Channels []struct {
				Name     string `json:"channel_name"`
				Depth    int
				InFlight int `json:"in_flight_count"`
				Deferred int `json:"deferred_count"`
				Requeued int `json:"requeue_count"`
				TimedOut int `json:"timeout_count"`
				Clients  []struct {
					Address  string `json:"remote_address"`
					RDY      int    `json:"ready_count"`
					InFlight int    `json:"in_flight_count"`
					State    int
				}
			}
		}
	}
	r.request(http.MethodGet, "/stats?format=json&include_mem=false&topic="+url.QueryEscape(topic), "", &stats)
	const closing = 4
	for _, t := range stats.Topics {
		counts.backlog = t.Depth
		for _, ch := range t.Channels {
			counts.channels[ch.Name] = channelCounts{ch.Depth, ch.InFlight, ch.Deferred, ch.Requeued, ch.TimedOut, len(ch.Clients)}
			for _, c := range ch.Clients {
				counts.clients[c.Address] = clientCounts{c.RDY, c.InFlight, c.State == closing}
			}
		}
	}
	return counts
}

// request sends an HTTP request and decodes the response into result, unless that is nil.
func (r *real) request(method, path, body string, result any) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.server.http+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s %s: %s %q (%v)", method, path, resp.Status, data, err)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(data, result); err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
}
