package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// httpScene is "rdy to-http" with a fake nsqd and servers, in virtual time.
type httpScene struct {
	*testing.T
	net            *nsqtest.Network
	nsqd           *nsqtest.Nsqd
	stdout, stderr output

	mu       sync.Mutex // guards requests
	requests []received

	stop context.CancelCauseFunc
	done chan error
}

// received is a request that a server has received.
type received struct {
	at     time.Time
	server string
	method string
	uri    string
	header http.Header
	host   string
	body   string
}

func inHTTPScene(t *testing.T, test func(s *httpScene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &httpScene{T: t, net: nsqtest.NewNetwork()}
		s.nsqd = nsqtest.NewNsqd(s, nsqtest.Options{Network: s.net, Addr: "nsqd:4150"})
		s.nsqd.CreateChannel("t", "ch")
		test(s)
	})
}

// server starts a server at addr that responds with h. h may read the body of the request
// from its argument.
func (s *httpScene) server(addr string, h func(w http.ResponseWriter, r *http.Request, body string)) {
	s.Helper()
	l, err := s.net.Listen(addr)
	if err != nil {
		s.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests = append(s.requests, received{time.Now(), addr, r.Method, r.RequestURI, r.Header, r.Host, string(body)})
		s.mu.Unlock()
		h(w, r, string(body))
	})}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) })
	s.Cleanup(func() {
		_ = server.Close()
		running.Wait()
	})
}

// sleep sleeps in virtual time.
func sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
}

func respond(code int) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(code) }
}

// hangUp closes the connection without a response.
func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// start starts the command with topic t and channel ch.
func (s *httpScene) start(args ...string) {
	s.Helper()
	h := defaultToHTTP(&app{stdout: &s.stdout, stderr: &s.stderr, level: defaultLogLevel})
	h.dial = s.net.DialContext
	h.json = slices.Contains(args, "--json")
	args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--json" })
	cmd := h.command()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(append([]string{"t", "--nsqd", "nsqd:4150", "--channel", "ch"}, args...))
	ctx, stop := context.WithCancelCause(s.Context())
	s.stop, s.done = stop, make(chan error, 1)
	go func() { s.done <- cmd.ExecuteContext(ctx) }()
}

// end stops the command and waits until it has ended.
func (s *httpScene) end() error {
	s.stop(errInterrupted)
	return <-s.done
}

// finish waits until nsqd has got n FINs, and stops the command.
func (s *httpScene) finish(n int) {
	s.Helper()
	s.nsqd.WaitFor(24*time.Hour, func() bool { return s.nsqd.Stats("t", "ch").Finished == n })
	if err := s.end(); err != nil {
		s.Error(err)
	}
}

func (s *httpScene) received() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// bodies returns the bodies that a server has received, in order of their text.
func (s *httpScene) bodies(server string) []string {
	var bodies []string
	for _, r := range s.received() {
		if r.server == server {
			bodies = append(bodies, r.body)
		}
	}
	slices.Sort(bodies)
	return bodies
}

// requeues returns the delays of nsqd's REQs, in order.
func (s *httpScene) requeues() []time.Duration {
	var delays []time.Duration
	for _, line := range s.nsqd.Commands() {
		var conn, ms int
		var id string
		if n, _ := fmt.Sscanf(line, "%d REQ %s %d", &conn, &id, &ms); n == 3 {
			delays = append(delays, time.Duration(ms)*time.Millisecond)
		}
	}
	return delays
}

func (s *httpScene) report() httpReport {
	s.Helper()
	lines := strings.Split(strings.TrimSpace(s.stdout.String()), "\n")
	var r httpReport
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil || !r.Final {
		s.Fatalf("stdout %q, error %v", s.stdout.String(), err)
	}
	return r
}
