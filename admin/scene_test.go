package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a network of daemons that respond as a test says.
type scene struct {
	*testing.T
	mu       sync.Mutex // guards the fields below
	daemons  map[string]*daemon
	requests []string // "HOST METHOD PATH?QUERY", in their order
	busy     int
	busiest  int // the most requests at a time
}

// daemon is what a daemon responds, by path.
type daemon struct {
	status    map[string]int // 200 if missing
	responses map[string]string
	delay     time.Duration // it hangs if negative
}

func newScene(t *testing.T) *scene { return &scene{T: t, daemons: make(map[string]*daemon)} }

// cluster returns a Cluster whose requests go to the scene.
func (s *scene) cluster(lookupds, nsqds []string) *Cluster {
	return &Cluster{Lookupds: lookupds, NSQDs: nsqds, Client: &http.Client{Transport: s}}
}

// daemon adds a daemon, or returns it.
func (s *scene) daemon(host string) *daemon {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.daemons[host]
	if d == nil {
		d = &daemon{status: make(map[string]int), responses: make(map[string]string)}
		s.daemons[host] = d
	}
	return d
}

// remove makes a daemon refuse connections.
func (s *scene) remove(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.daemons, host)
}

// recorded makes a daemon respond as an nsqd of a version did.
func (s *scene) recorded(host, version string) *daemon {
	d := s.daemon(host)
	d.responses["/stats"] = s.file("stats-" + version)
	d.responses["/info"] = s.file("info-" + version)
	return d
}

func (s *scene) file(name string) string {
	s.Helper()
	text, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		s.Fatal(err)
	}
	return string(text)
}

// nsqd makes a daemon respond as an nsqd with these topics does. It has started at this Unix
// time.
func (s *scene) nsqd(host string, started int64, topics ...topicStats) *daemon {
	d := s.daemon(host)
	name, _, _ := strings.Cut(host, ":")
	d.says(name, started)
	said, err := json.Marshal(stats{Version: "1.3.0", Health: "OK", StartTime: started, Topics: topics})
	if err != nil {
		s.Fatal(err)
	}
	d.responses["/stats"] = string(said)
	return d
}

// says sets the broadcast address and the start that an nsqd names.
func (d *daemon) says(broadcast string, started int64) {
	d.responses["/info"] = fmt.Sprintf(`{"broadcast_address":%q,"tcp_port":4150,"http_port":4151,"start_time":%d}`, broadcast, started)
}

// lookupd makes the daemon l:1 respond as an nsqlookupd that lists these nsqds does.
func (s *scene) lookupd(nsqds ...string) *daemon {
	d := s.daemon("l:1")
	var list []map[string]any
	for _, nsqd := range nsqds {
		list = append(list, map[string]any{"broadcast_address": nsqd, "tcp_port": 4150, "http_port": 4151, "topics": []string{"t"}, "tombstones": []bool{false}})
	}
	said, err := json.Marshal(map[string]any{"producers": list})
	if err != nil {
		s.Fatal(err)
	}
	d.responses["/nodes"] = string(said)
	return d
}

// RoundTrip responds to a request.
func (s *scene) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.busy++
	s.busiest = max(s.busiest, s.busy)
	if accept := r.Header.Get("Accept"); accept != "application/vnd.nsq; version=1.0" {
		s.Errorf("a request accepts %q: before 1.0, nsqd would wrap its response", accept)
	}
	s.requests = append(s.requests, fmt.Sprintf("%s %s %s", r.URL.Host, r.Method, r.URL.RequestURI()))
	d := s.daemons[r.URL.Host]
	w := httptest.NewRecorder()
	var delay time.Duration
	if d != nil {
		delay = d.delay
		if status, ok := d.status[r.URL.Path]; ok {
			w.WriteHeader(status)
		}
		_, _ = w.WriteString(d.responses[r.URL.Path])
	}
	s.mu.Unlock()
	if delay < 0 {
		<-r.Context().Done()
	}
	time.Sleep(delay) //nolint:forbidigo // in a synctest bubble, or 0
	err := r.Context().Err()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		return nil, fmt.Errorf("connection refused")
	}
	return w.Result(), nil
}

// asked returns the requests so far, and forgets them.
func (s *scene) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	return requests
}

// poll polls a cluster that must be whole.
func (s *scene) poll(c *Cluster) *View {
	s.Helper()
	v, err := c.Poll(context.Background())
	if err != nil {
		s.Fatal(err)
	}
	return v
}
