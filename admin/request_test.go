package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// serve starts a server that ends with the test, and returns its host:port and a Client for it.
func serve(t *testing.T, handle http.HandlerFunc) (addr string, client *http.Client) {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), server.Client()
}

// A POST that is redirected with status 302 becomes a GET in package net/http. The response, of
// a login page perhaps, must not look as if the topic had been deleted.
func TestPOSTIsNotRedirected(t *testing.T) {
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect} {
		var asked []string
		addr, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.Method+" "+r.URL.Path)
			if r.URL.Path != "/login" {
				http.Redirect(w, r, "http://u:secret@"+r.Host+"/login?token=secret", status)
			}
		})
		c := &Cluster{NSQDs: []string{addr}, Client: client}
		err := c.DeleteTopic(t.Context(), "t")
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Status != status || !strings.Contains(err.Error(), "redirected to http://"+addr+"/login") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: error %v", status, err)
		}
		if want := []string{"POST /topic/delete"}; !slices.Equal(asked, want) {
			t.Errorf("%d: asked %q, want %q", status, asked, want)
		}
	}
}

// A GET follows redirects, as the Client says.
func TestGETIsRedirected(t *testing.T) {
	addr, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/there") {
			http.Redirect(w, r, "/there"+r.URL.RequestURI(), http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, `2500`)
	})
	c := &Cluster{Client: client}
	if got, err := c.Config(t.Context(), addr, "max_rdy_count"); got != "2500" || err != nil {
		t.Errorf("%s, error %v", got, err)
	}
}

// No user and no password of an address shows in a View or an error, and the requests have them.
func TestPasswordsAreHidden(t *testing.T) {
	addr, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "hush" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/nodes":
			_, _ = io.WriteString(w, `{"producers":[]}`)
		case "/stats":
			_, _ = io.WriteString(w, `{"version":"1.3.0","start_time":1,"topics":[{"topic_name":"t","channels":[{"channel_name":"c","clients":[{}]}]}]}`)
		case "/config/log_level":
			_, _ = io.WriteString(w, "2")
		case "/topic/pause":
			w.WriteHeader(http.StatusInternalServerError)
		case "/info":
			_, _ = io.WriteString(w, `{"start_time":1}`)
		}
	})
	c := &Cluster{Client: client, Lookupds: []string{"http://hush:secret@" + addr + "/behind"}, NSQDs: []string{
		"http://hush:secret@" + addr, "https://hush:secret@", "hush:secret@" + addr, "https://hush:sec/ret@" + addr, "ftp://hush@" + addr,
		"http://" + addr + "/?token=secret",
	}}
	v, err := c.PollClients(t.Context(), "", "")
	if len(v.Topics) != 1 || v.Topics[0].NSQDs[0].NSQD != "http://"+addr {
		t.Fatalf("%+v, error %v", v, err)
	}
	text, jsonErr := json.Marshal(v)
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	refused := c.PauseTopic(t.Context(), "t")
	for _, text := range []string{string(text), err.Error(), refused.Error()} {
		if strings.Contains(text, "sec") || strings.Contains(text, "hush") {
			t.Errorf("shows a user: %s", text)
		}
	}
	// The address that the View shows is good for a call.
	if got, err := c.Config(t.Context(), v.NSQDs[0].Addr, "log_level"); got != "2" || err != nil {
		t.Errorf("%s, error %v", got, err)
	}
}

// A text of a daemon cannot forge a line of a log, nor steer a terminal.
func TestErrorsArePrintable(t *testing.T) {
	s := newScene(t)
	s.daemon("a:1").status["/stats"], s.daemon("a:1").responses["/stats"] = http.StatusInternalServerError, `{"message":"x\n\u001b[2J"}`
	s.daemon("l:1").responses["/nodes"] = `{"producers":[{"broadcast_address":"b\n\u001b[2J","http_port":1}]}`
	v, err := s.cluster([]string{"l:1"}, []string{"a:1"}).Poll(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	for _, n := range v.NSQDs {
		if n.Error == "" || strings.ContainsAny(n.Error, "\n\x1b") || !strings.Contains(n.Error, `\x1b[2J`) {
			t.Errorf("error %q", n.Error)
		}
	}
	if strings.Contains(err.Error(), "\x1b") || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("error %q", err)
	}
}

// JSON that is not of an NSQ daemon is an error, not a daemon without topics.
func TestPollRefusesOtherServices(t *testing.T) {
	for _, said := range []string{`{}`, `null`, `{"status":"ok"}`, `{"status_code":200,"data":{"producers":[],"version":"0.3.8"}}`} {
		s := newScene(t)
		s.daemon("a:1").responses["/stats"], s.daemon("a:1").responses["/info"] = said, said
		s.daemon("l:1").responses["/nodes"] = said
		v, err := s.cluster([]string{"l:1"}, []string{"a:1"}).Poll(t.Context())
		if err == nil || !strings.Contains(v.NSQDs[0].Error, "not of nsqd") || !strings.Contains(v.Lookupds[0].Error, "not of nsqlookupd") {
			t.Errorf("%s: %+v, error %v", said, v, err)
		}
	}
}

// A time that JSON cannot express must not spoil a View.
func TestViewIsAlwaysJSON(t *testing.T) {
	s := newScene(t)
	for _, started := range []string{"-9223372036854775808", "9223372036854775807", "253402300800", "-62135596801"} {
		s.daemon("a:1").says("a", 1)
		s.daemon("a:1").responses["/stats"] = `{"version":"1.3.0","start_time":` + started + `,"topics":[{"channels":[{"clients":[{"connect_ts":` + started + `}]}]}]}`
		v := s.poll(s.cluster(nil, []string{"a:1"}))
		if _, err := json.Marshal(v); err != nil {
			t.Errorf("started %s: %v", started, err)
		}
	}
	if text, err := json.Marshal(s.poll(new(Cluster))); err != nil || strings.Contains(string(text), "null") {
		t.Errorf("%s, error %v: want no null", text, err)
	}
	s.daemon("l:1").responses["/nodes"] = `{"producers":[{"topics":null},null]}`
	v, _ := s.cluster([]string{"l:1"}, nil).Poll(t.Context())
	if text, err := json.Marshal(v); err != nil || strings.Contains(string(text), "null") {
		t.Errorf("%s, error %v: want no null", text, err)
	}
}

// A value is whole or an error, never cut off.
func TestConfigIsWhole(t *testing.T) {
	s := newScene(t)
	long := `["` + strings.Repeat("x", 100<<10) + `"]`
	s.daemon("a:1").responses["/config/nsqlookupd_tcp_addresses"] = long
	c := s.cluster(nil, nil)
	if got, err := c.Config(t.Context(), "a:1", "nsqlookupd_tcp_addresses"); got != long || err != nil {
		t.Errorf("%d bytes, error %v, want %d bytes", len(got), err, len(long))
	}
	s.daemon("a:1").responses["/config/nsqlookupd_tcp_addresses"] = strings.Repeat("x", 1<<20+1)
	if got, err := c.Config(t.Context(), "a:1", "nsqlookupd_tcp_addresses"); got != "" || err == nil {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
}

// nsqd says where it accepts HTTPS.
func TestHTTPSOnly(t *testing.T) {
	s := newScene(t)
	s.daemon("a:1").status["/stats"], s.daemon("a:1").responses["/stats"] = http.StatusForbidden, `{"message": "TLS_REQUIRED", "https_port": 4152}`
	_, err := s.cluster(nil, []string{"a:1"}).Poll(t.Context())
	if e, ok := errors.AsType[*Error](err); !ok || e.Message != "TLS_REQUIRED" || !strings.Contains(err.Error(), "https, port 4152") {
		t.Errorf("error %v", err)
	}
}

// A program that replaces the default transport, as instrumentation does, can use the package.
func TestDefaultClientNeedsNoDefaultTransport(t *testing.T) {
	before := http.DefaultTransport
	http.DefaultTransport = newScene(t)
	defer func() { http.DefaultTransport = before }()
	client := newClient()
	if client.Timeout != defaultTimeout || client.Transport.(*http.Transport).Proxy == nil {
		t.Errorf("%+v", client)
	}
}

// The package's own client reads no more than 64 KiB of headers.
func TestHeaderLimit(t *testing.T) {
	client := newClient()
	defer client.CloseIdleConnections()
	for length, ok := range map[int]bool{32 << 10: true, 128 << 10: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", length))
			_, _ = w.Write([]byte(`{"version":"1.3.0","health":"OK","start_time":1,"topics":[],"broadcast_address":"a","tcp_port":4150,"http_port":4151}`))
		}))
		c := &Cluster{NSQDs: []string{server.URL}, Client: client}
		if _, err := c.Poll(t.Context()); (err == nil) != ok {
			t.Errorf("header of %d bytes: error %v", length, err)
		}
		server.Close()
	}
}

// endless is a string in JSON that never ends.
type endless struct{ begun bool }

func (e *endless) Read(p []byte) (int, error) {
	if !e.begun {
		e.begun = true
		return copy(p, `{"version":"`), nil
	}
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func (*endless) Close() error { return nil }

// A response costs neither any amount of memory nor the stack.
func TestPollBoundsResponses(t *testing.T) {
	for want, body := range map[string]io.ReadCloser{
		"more than 64 MiB":   new(endless),
		"exceeded max depth": io.NopCloser(strings.NewReader(`{"topics":` + strings.Repeat("[", 1<<20))),
	} {
		c := &Cluster{NSQDs: []string{"a:1"}, Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Request: r, Body: body}, nil
		})}}
		v, err := c.Poll(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || !v.Partial() {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
