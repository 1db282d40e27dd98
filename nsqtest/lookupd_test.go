package nsqtest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// lookupBubble runs a test in virtual time with one fake nsqlookupd.
func lookupBubble(t *testing.T, opts nsqtest.LookupdOptions, test func(t *testing.T, l *nsqtest.Lookupd, n *nsqtest.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Network = nsqtest.NewNetwork()
		test(t, nsqtest.NewLookupd(t, opts), opts.Network)
	})
}

// get sends a request and returns the response's status, NSQ's content type in
// parentheses, and the body; or the error.
func get(t *testing.T, n *nsqtest.Network, method, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	wantErr(t, err, nil)
	req.Header.Set("Accept", "application/vnd.nsq; version=1.0")
	resp, err := n.HTTPClient().Do(req)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	wantErr(t, err, nil)
	lines := []string{resp.Status}
	if v := resp.Header.Get("X-NSQ-Content-Type"); v != "" {
		lines = append(lines, "("+v+")")
	}
	return strings.Join(append(lines, string(body)), " ")
}

const (
	v1   = "200 OK (nsq; version=1.0) "
	aOfT = `{"remote_address":"a:40000","hostname":"a","broadcast_address":"a","tcp_port":4150,"http_port":4151,"version":"1.3.0"`
	cOfT = `{"remote_address":"","hostname":"h","broadcast_address":"::1","tcp_port":5,"http_port":0,"version":"1","topology_zone":"z","topology_region":"r"`
)

func TestLookupdResponses(t *testing.T) {
	lookupBubble(t, nsqtest.LookupdOptions{}, func(t *testing.T, l *nsqtest.Lookupd, n *nsqtest.Network) {
		for _, tt := range []struct{ method, path, want string }{
			{"GET", "/topics", v1 + `{"topics":[]}`},
			{"GET", "/nodes", v1 + `{"producers":[]}`},
		} {
			if got := get(t, n, tt.method, l.URL()+tt.path); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.path, got, tt.want)
			}
		}
		l.Register("t", "a:4150", "b:4150")
		l.Register("t", "a:4150") // again
		l.Register("other", "a:4150")
		l.Unregister("t", "b:4150")
		l.Unregister("empty", "b:4150")
		l.RegisterProducer("t", nsqtest.Producer{
			Hostname: "h", BroadcastAddress: "::1", TCPPort: 5, Version: "1",
			TopologyZone: "z", TopologyRegion: "r",
		})
		l.CreateChannel("t", "y")
		l.CreateChannel("t", "x")
		l.CreateChannel("t", "y")
		for _, tt := range []struct{ method, path, want string }{
			{"GET", "/lookup?topic=t", v1 + `{"channels":["x","y"],"producers":[` + aOfT + `},` + cOfT + `}]}`},
			{"GET", "/lookup?topic=empty", v1 + `{"channels":[],"producers":[]}`},
			{"GET", "/lookup?topic=unknown", `404 Not Found (nsq; version=1.0) {"message":"TOPIC_NOT_FOUND"}`},
			{"GET", "/lookup", `400 Bad Request (nsq; version=1.0) {"message":"MISSING_ARG_TOPIC"}`},
			{"GET", "/channels", `400 Bad Request (nsq; version=1.0) {"message":"MISSING_ARG_TOPIC"}`},
			{"POST", "/lookup?topic=t", `405 Method Not Allowed (nsq; version=1.0) {"message":"METHOD_NOT_ALLOWED"}`},
			{"GET", "/lookup?topic=", `404 Not Found (nsq; version=1.0) {"message":"TOPIC_NOT_FOUND"}`},
			{"GET", "/channels?topic=", v1 + `{"channels":[]}`},
			{"GET", "/lookup?topic=t&x=%zz", `400 Bad Request (nsq; version=1.0) {"message":"INVALID_REQUEST"}`},
			{"POST", "/ping", `405 Method Not Allowed (nsq; version=1.0) {"message":"METHOD_NOT_ALLOWED"}`},
			{"POST", "/unknown", `404 Not Found (nsq; version=1.0) {"message":"NOT_FOUND"}`},
			{"GET", "/unknown", `404 Not Found (nsq; version=1.0) {"message":"NOT_FOUND"}`},
			{"GET", "/topics", v1 + `{"topics":["empty","other","t"]}`},
			{"GET", "/channels?topic=t", v1 + `{"channels":["x","y"]}`},
			{"GET", "/channels?topic=unknown", v1 + `{"channels":[]}`},
			{"GET", "/nodes", v1 + `{"producers":[` + aOfT + `,"topics":["other","t"],"tombstones":[false,false]},` +
				cOfT + `,"topics":["t"],"tombstones":[false]}]}`},
			{"GET", "/ping", "200 OK OK"},
			{"GET", "/info", v1 + `{"version":"1.3.0"}`},
		} {
			if got := get(t, n, tt.method, l.URL()+tt.path); got != tt.want {
				t.Errorf("%s %s: %s, want %s", tt.method, tt.path, got, tt.want)
			}
		}
		l.DeleteTopic("t")
		if got := get(t, n, "GET", l.URL()+"/lookup?topic=t"); !strings.Contains(got, "TOPIC_NOT_FOUND") {
			t.Errorf("deleted: %s", got)
		}
	})
}

func TestRegisterProducerReplaces(t *testing.T) {
	lookupBubble(t, nsqtest.LookupdOptions{}, func(t *testing.T, l *nsqtest.Lookupd, n *nsqtest.Network) {
		l.Register("t", "a:4150", "b:4150")
		l.RegisterProducer("t", nsqtest.Producer{
			Hostname: "h", BroadcastAddress: "a", TCPPort: 4150, HTTPPort: 1, Version: "1.2.1",
		})
		want := v1 + `{"channels":[],"producers":[` +
			`{"remote_address":"","hostname":"h","broadcast_address":"a","tcp_port":4150,"http_port":1,"version":"1.2.1"},` +
			`{"remote_address":"b:40000","hostname":"b","broadcast_address":"b","tcp_port":4150,"http_port":4151,"version":"1.3.0"}]}`
		if got := get(t, n, "GET", l.URL()+"/lookup?topic=t"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestLookupdTombstone(t *testing.T) {
	lookupBubble(t, nsqtest.LookupdOptions{}, func(t *testing.T, l *nsqtest.Lookupd, n *nsqtest.Network) {
		l.Register("t", "a:4150")
		l.Tombstone("t", "a:4150")
		l.Register("t", "a:4150")
		lookup := func() string { return get(t, n, "GET", l.URL()+"/lookup?topic=t") }
		pass(45*time.Second - 1)
		if got := lookup(); got != v1+`{"channels":[],"producers":[]}` {
			t.Errorf("tombstoned: %s", got)
		}
		if got := get(t, n, "GET", l.URL()+"/nodes"); !strings.Contains(got, `"tombstones":[true]`) {
			t.Errorf("nodes: %s", got)
		}
		pass(1)
		if got := lookup(); !strings.Contains(got, aOfT) {
			t.Errorf("45 s later: %s", got)
		}
	})
}

// A tombstone needs a producer and ends with its registration. An ephemeral topic ends with
// its last producer.
func TestLookupdForgets(t *testing.T) {
	lookupBubble(t, nsqtest.LookupdOptions{}, func(t *testing.T, l *nsqtest.Lookupd, n *nsqtest.Network) {
		listed := func(topic, want string) {
			t.Helper()
			if got := get(t, n, "GET", l.URL()+"/lookup?topic="+topic); !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", topic, got, want)
			}
		}
		l.Tombstone("t", "a:4150")
		l.Register("t", "a:4150")
		listed("t", aOfT)
		l.Tombstone("t", "a:4150")
		listed("t", `"producers":[]`)
		l.Unregister("t", "a:4150")
		l.Register("t", "a:4150")
		listed("t", aOfT)

		l.Register("e#ephemeral", "a:4150", "b:4150")
		l.Unregister("e#ephemeral", "a:4150")
		listed("e%23ephemeral", `"broadcast_address":"b"`)
		l.Unregister("e#ephemeral", "b:4150")
		listed("e%23ephemeral", "TOPIC_NOT_FOUND")
	})
}

func TestLookupdEnvelope(t *testing.T) {
	lookupBubble(t, nsqtest.LookupdOptions{Envelope: true}, func(t *testing.T, l *nsqtest.Lookupd, n *nsqtest.Network) {
		lookup := func() string { return get(t, n, "GET", l.URL()+"/lookup?topic=t") }
		const notFound = `500 Internal Server Error {"status_code":500,"status_txt":"TOPIC_NOT_FOUND","data":null}`
		if got := lookup(); got != notFound {
			t.Errorf("unknown topic: %s, want %s", got, notFound)
		}
		l.CreateChannel("t", "c")
		want := `200 OK {"status_code":200,"status_txt":"OK","data":{"channels":["c"],"producers":[]}}`
		if got := lookup(); got != want {
			t.Errorf("lookup: %s, want %s", got, want)
		}
	})
}

func TestLookupdMisbehaves(t *testing.T) {
	lookupBubble(t, nsqtest.LookupdOptions{Addr: "l:1"}, func(t *testing.T, l *nsqtest.Lookupd, n *nsqtest.Network) {
		ping := func() string { return get(t, n, "GET", "http://l:1/ping") }
		l.Fail(http.StatusServiceUnavailable, "EXITING")
		if got := ping(); got != `503 Service Unavailable (nsq; version=1.0) {"message":"EXITING"}` {
			t.Errorf("Fail: %s", got)
		}
		l.Reply("nonsense")
		if got := ping(); got != v1+"nonsense" {
			t.Errorf("Reply: %s", got)
		}
		l.Handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "mine", http.StatusTeapot) })
		if got := ping(); got != "418 I'm a teapot mine\n" {
			t.Errorf("Handle: %s", got)
		}
		l.Recover()
		if got := ping(); got != "200 OK OK" {
			t.Errorf("Recover: %s", got)
		}
		if got := len(l.Requests()); got != 4 {
			t.Errorf("%d requests, want 4", got)
		}
	})
}

func TestLookupdShowsRequests(t *testing.T) {
	lookupBubble(t, nsqtest.LookupdOptions{}, func(t *testing.T, l *nsqtest.Lookupd, n *nsqtest.Network) {
		get(t, n, "GET", "http://user:secret@"+l.Addr()+"/lookup?topic=x")
		r := l.Requests()[0]
		if user, _, _ := r.BasicAuth(); user != "user" || r.URL.Query().Get("topic") != "x" ||
			r.Header.Get("Accept") != "application/vnd.nsq; version=1.0" {
			t.Errorf("request %s %v", r.URL, r.Header)
		}
		synctest.Wait()
		if open := n.OpenConns(); open > 0 {
			t.Errorf("%d connections stay open", open)
		}
	})
}

// A request that hangs ends when its client gives up or the nsqlookupd is killed.
func TestLookupdHangsAndIsKilled(t *testing.T) {
	lookupBubble(t, nsqtest.LookupdOptions{}, func(t *testing.T, l *nsqtest.Lookupd, n *nsqtest.Network) {
		client := n.HTTPClient()
		client.Timeout = time.Hour
		l.Hang()
		from := time.Now()
		_, err := client.Get(l.URL())
		if wait := time.Since(from); err == nil || wait != time.Hour {
			t.Errorf("%v after %v, want a timeout after an hour", err, wait)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := client.Get(l.URL())
			failed <- err
		}()
		pass(time.Minute)
		l.Kill()
		if err := <-failed; err == nil || time.Since(from) != time.Hour+time.Minute {
			t.Errorf("%v after %v, want an error at the Kill", err, time.Since(from))
		}
		_, err = client.Get(l.URL())
		wantErr(t, err, syscall.ECONNREFUSED)

		l.Recover()
		l.Restart()
		l.Restart() // does nothing
		if got := get(t, n, "GET", l.URL()+"/ping"); got != "200 OK OK" {
			t.Errorf("restarted: %s", got)
		}
	})
}

// A dial that hangs ends with its request and leaves no goroutine behind.
func TestHTTPClientEndsDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nsqtest.NewNetwork()
		n.Blackhole("gone:1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gone:1", nil)
		wantErr(t, err, nil)
		_, err = n.HTTPClient().Do(req)
		wantErr(t, err, context.DeadlineExceeded)
	})
}

func TestLookupdOnTCP(t *testing.T) {
	l := nsqtest.NewLookupd(t, nsqtest.LookupdOptions{})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(l.URL() + "/ping")
	wantErr(t, err, nil)
	_ = resp.Body.Close()
	l.Kill()
	_, err = client.Get(l.URL() + "/ping")
	wantErr(t, err, syscall.ECONNREFUSED)
}
