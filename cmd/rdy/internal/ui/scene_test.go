package ui

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// fakeChannel is what a fake nsqd counts for a channel.
type fakeChannel struct {
	Name     string       `json:"channel_name"`
	Depth    int64        `json:"depth"`
	InFlight int64        `json:"in_flight_count"`
	Messages uint64       `json:"message_count"`
	Count    int          `json:"client_count"`
	Paused   bool         `json:"paused"`
	Clients  []fakeClient `json:"clients"`
}

type fakeClient struct {
	ID        string `json:"client_id"`
	Hostname  string `json:"hostname"`
	Remote    string `json:"remote_address"`
	Ready     int64  `json:"ready_count"`
	InFlight  int64  `json:"in_flight_count"`
	Finished  uint64 `json:"finish_count"`
	Connected int64  `json:"connect_ts"`
	UserAgent string `json:"user_agent"`
}

type fakeTopic struct {
	Name     string         `json:"topic_name"`
	Channels []*fakeChannel `json:"channels"`
	Messages uint64         `json:"message_count"`
	Depth    int64          `json:"depth"`
}

// scene is a Server of a cluster with one fake nsqd, n:4151, in memory. It runs in a bubble of
// synctest.
type scene struct {
	*testing.T
	server  *Server
	handler http.Handler
	start   func() // lets the Server poll, once the nsqd is set up

	mu     sync.Mutex
	topics []*fakeTopic
	asked  map[string]int // requests to the nsqd by path, those for clients with "clients" behind it
	posted []string       // other requests
	delay  time.Duration  // of each response
	down   error          // instead of a response
}

// channel returns a channel of the nsqd, which is added if it is new.
func (s *scene) channel(topic, name string) *fakeChannel {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in *fakeTopic
	for _, t := range s.topics {
		if t.Name == topic {
			in = t
		}
	}
	if in == nil {
		in = &fakeTopic{Name: topic}
		s.topics = append(s.topics, in)
	}
	for _, c := range in.Channels {
		if c.Name == name {
			return c
		}
	}
	c := &fakeChannel{Name: name}
	in.Channels = append(in.Channels, c)
	return c
}

// change changes what the nsqd counts.
func (s *scene) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// RoundTrip responds as the nsqd does.
func (s *scene) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	delay, down := s.delay, s.down
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if down != nil {
		return nil, down
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := httptest.NewRecorder()
	key := r.URL.Path
	switch {
	case r.Method == http.MethodPost:
		s.posted = append(s.posted, r.URL.RequestURI())
	case key == "/info":
		_, _ = io.WriteString(w, `{"version":"1.3.0","hostname":"n","broadcast_address":"n","tcp_port":4150,"http_port":4151,"start_time":946684000}`)
	case key == "/stats":
		if r.URL.Query().Get("include_clients") != "false" {
			key += " clients"
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"version": "1.3.0", "health": "OK", "start_time": 946684000, "topics": s.topics})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
	s.asked[key]++
	return w.Result(), nil
}

func (s *scene) count(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[key]
}

// stage runs a test with a Server. options may be nil.
func stage(t *testing.T, options func(*Options), test func(*scene)) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, options)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		s.start = sync.OnceFunc(func() {
			go func() {
				defer close(ran)
				s.server.Run(ctx)
			}()
		})
		test(s)
		s.start()
		cancel()
		<-ran
	})
}

func newScene(t *testing.T, options func(*Options)) *scene {
	s := &scene{T: t, asked: make(map[string]int)}
	o := Options{Name: "prod", Interval: 2 * time.Second, Flags: []string{"--nsqd-http", "n:4151"},
		Cluster: &admin.Cluster{NSQDs: []string{"n:4151"}, Client: &http.Client{Transport: s}}}
	if options != nil {
		options(&o)
	}
	s.server = New(o)
	s.handler = s.server.Handler()
	return s
}

// polls lets n polls pass. The first one is at once.
func (s *scene) polls(n int) {
	s.start()
	pass(time.Duration(n) * 2 * time.Second)
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // in a synctest bubble
	synctest.Wait()
}

func newRequest(method, target string, form url.Values) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(form.Encode()))
	r.Host, r.RemoteAddr = "127.0.0.1:4180", "127.0.0.1:50000"
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

// do sends a request, and returns the status and the body of the response.
func (s *scene) do(r *http.Request) (status int, body string) {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func (s *scene) get(target string) string {
	s.Helper()
	status, body := s.do(newRequest(http.MethodGet, target, nil))
	if status != http.StatusOK {
		s.Fatalf("GET %s: status %d: %s", target, status, body)
	}
	return body
}

// screenOf returns the id of a page's screen.
func screenOf(page string) string {
	_, rest, _ := strings.Cut(page, `data-screen="`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// viewer is a browser that listens to the stream of a page.
type viewer struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	body   bytes.Buffer
	header http.Header
	block  chan struct{} // while it is not nil, writes wait for it
}

func (v *viewer) Header() http.Header { return v.header }
func (v *viewer) WriteHeader(int)     {}
func (v *viewer) Flush()              {}

func (v *viewer) Write(b []byte) (int, error) {
	v.mu.Lock()
	block := v.block
	v.mu.Unlock()
	if block != nil {
		<-block
		return 0, errors.New("the browser is gone")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.body.Write(b)
}

// read returns what has come since the last call.
func (v *viewer) read() string {
	synctest.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	body := v.body.String()
	v.body.Reset()
	return body
}

func (v *viewer) stop() {
	v.cancel()
	<-v.done
}

// listen opens the stream of a page.
func (s *scene) listen(page, encoding string) *viewer { return s.resume(page, encoding, "") }

// resume opens the stream of a page again, after the event with the id last.
func (s *scene) resume(page, encoding, last string) *viewer {
	r := newRequest(http.MethodGet, "/live/"+screenOf(page), nil)
	if encoding != "" {
		r.Header.Set("Accept-Encoding", encoding)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	return s.stream(r)
}

// open opens another stream.
func (s *scene) open(path string) *viewer { return s.stream(newRequest(http.MethodGet, path, nil)) }

func (s *scene) stream(r *http.Request) *viewer {
	ctx, cancel := context.WithCancel(s.Context())
	v := &viewer{cancel: cancel, done: make(chan struct{}), header: make(http.Header)}
	r = r.WithContext(ctx)
	go func() {
		defer close(v.done)
		s.handler.ServeHTTP(v, r)
	}()
	synctest.Wait()
	return v
}

// unzip returns the text of a gzip stream that has not ended.
func unzip(t *testing.T, zipped string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return string(text)
}

// fill adds channels with clients to the nsqd.
func (s *scene) fill(channels int) {
	for i := range channels {
		c := s.channel(fmt.Sprintf("topic-%03d", i/5), fmt.Sprintf("channel-%d", i%5))
		c.Count, c.Depth, c.Messages = 5, int64(i), uint64(i)
	}
}

// work lets all channels get and finish messages.
func (s *scene) work() {
	s.change(func() {
		for i, t := range s.topics {
			t.Messages += 10
			for _, c := range t.Channels {
				c.Messages += uint64(10 + i%7)
				c.Depth = (c.Depth*7 + 13) % 400
			}
		}
	})
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("there is no %q in %.6000s", part, text)
		}
	}
}

func lacks(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(text, part) {
			t.Errorf("there is %q in %.6000s", part, text)
		}
	}
}
