package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakePrometheus responds as a Prometheus that knows three figures of everything, or as respond
// says.
type fakePrometheus struct {
	respond func(w http.ResponseWriter)
	delay   time.Duration
	err     error

	mu      sync.Mutex
	queries []url.Values
}

func (f *fakePrometheus) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.queries = append(f.queries, form)
	respond, delay, failure := f.respond, f.delay, f.err
	f.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if failure != nil {
		return nil, failure
	}
	w := httptest.NewRecorder()
	if respond != nil {
		respond(w)
	} else {
		f.series(w, form)
	}
	return w.Result(), nil
}

// series responds with a depth of 1000, 20 in and 10 finished per second.
func (f *fakePrometheus) series(w http.ResponseWriter, form url.Values) {
	number := func(name string) int64 { n, _ := strconv.ParseInt(form.Get(name), 10, 64); return n }
	var result []any
	for figure, value := range map[string]string{"depth": "1000", "in": "20", "finished": "10"} {
		var values [][2]any
		for at := number("start"); at <= number("end"); at += number("step") {
			values = append(values, [2]any{at, value})
		}
		result = append(result, map[string]any{"metric": map[string]string{"figure": figure}, "values": values})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"result": result}})
}

func (f *fakePrometheus) asked() []url.Values {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queries
}

// withPrometheus runs a test with a Server that has a Prometheus at http://ada:secret@prom:9090.
func withPrometheus(t *testing.T, match string, test func(*scene, *fakePrometheus)) {
	t.Helper()
	fake := &fakePrometheus{}
	p, err := NewPrometheus("http://ada:secret@prom:9090/base", match)
	if err != nil {
		t.Fatal(err)
	}
	p.client.Transport = fake
	stage(t, func(o *Options) { o.Prometheus = p }, func(s *scene) {
		s.channel("orders", "billing").Depth = 7
		s.polls(3)
		test(s, fake)
	})
}

const billing24h = "/series?topic=orders&channel=billing&range=24h"

// Charts of a day and a week come from Prometheus, and say so; shorter ones do not ask it.
func TestPrometheus(t *testing.T) {
	withPrometheus(t, `cluster="eu"`, func(s *scene, fake *fakePrometheus) {
		pass(3 * time.Minute)
		contains(t, s.get("/topics/orders/billing?range=7d"), `range=7d`, `7 d`)
		lacks(t, s.get("/series?topic=orders&channel=billing"), "Prometheus", "1000")
		if n := len(fake.asked()); n != 0 {
			t.Fatalf("%d queries for an hour", n)
		}
		for _, tc := range []struct{ span, step string }{{"24h", "240"}, {"7d", "1680"}} {
			got := s.get("/series?topic=orders&channel=billing&range=" + tc.span)
			contains(t, got, `"source":"From Prometheus at prom:9090"`, `"failed":false`, `"depth":[1000,1000,`, `"in":[20,`, `"finished":[10,`, `,7],`)
			lacks(t, got, "secret", "not known")
			asked := fake.asked()
			form := asked[len(asked)-1]
			if form.Get("step") != tc.step {
				t.Errorf("step %s, want %s", form.Get("step"), tc.step)
			}
			contains(t, form.Get("query"), `label_replace(sum(nsqd_channel_depth_messages{cluster="eu",topic="orders",channel="billing"}), "figure", "depth", "", "")`,
				`sum(rate(nsqd_channel_messages_total{cluster="eu",topic="orders",channel="billing"}[`)
		}
		s.get("/series?range=7d")
		asked := fake.asked()
		contains(t, asked[2].Get("query"), `sum(nsqd_channel_depth_messages{cluster="eu"})`)
	})
}

// Viewers share queries, which are asked again after a minute.
func TestPrometheusShared(t *testing.T) {
	withPrometheus(t, "", func(s *scene, fake *fakePrometheus) {
		fake.delay = time.Second
		var viewers sync.WaitGroup
		for range 10 {
			viewers.Go(func() { s.get(billing24h) })
		}
		viewers.Wait()
		for range 5 {
			pass(5 * time.Second)
			s.get(billing24h)
		}
		if n := len(fake.asked()); n != 1 {
			t.Errorf("%d queries", n)
		}
		pass(time.Minute)
		s.get(billing24h)
		if n := len(fake.asked()); n != 2 {
			t.Errorf("%d queries after a minute", n)
		}
	})
}

// When Prometheus does not have the figures, the chart says why, and has those of the memory. It
// is asked again after ten seconds.
func TestPrometheusFails(t *testing.T) {
	text := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(status); _, _ = io.WriteString(w, body) }
	}
	for name, tc := range map[string]struct {
		fake *fakePrometheus
		want string
	}{
		"down":       {&fakePrometheus{err: errors.New("connection refused")}, "connection refused"},
		"hangs":      {&fakePrometheus{delay: time.Hour}, "it did not respond within 10 s"},
		"bad query":  {&fakePrometheus{respond: text(400, `{"status":"error","error":"parse error <b>"}`)}, `it says parse error \u003cb\u003e`},
		"no JSON":    {&fakePrometheus{respond: text(502, "<html>")}, "its response, HTTP 502 Bad Gateway, cannot be read"},
		"no samples": {&fakePrometheus{respond: text(200, `{"status":"success","data":{"result":[{"values":[[1,2]]}]}}`)}, "cannot be read"},
		"huge":       {&fakePrometheus{respond: text(200, `{"status":"success`+strings.Repeat(" ", prometheusBytes))}, "cannot be read"},
		"empty":      {&fakePrometheus{respond: text(200, `{"status":"success","data":{"result":[]}}`)}, "does it scrape rdy exporter?"},
	} {
		t.Run(name, func(t *testing.T) {
			withPrometheus(t, "", func(s *scene, fake *fakePrometheus) {
				fake.respond, fake.delay, fake.err = tc.fake.respond, tc.fake.delay, tc.fake.err
				got := s.get(billing24h)
				contains(t, got, "Prometheus at prom:9090", tc.want, "These figures are from the memory of rdy ui.", `"failed":true`, `"depth":[7]`)
				lacks(t, got, "secret")
				s.get(billing24h)
				if n := len(fake.asked()); n != 1 {
					t.Errorf("%d queries", n)
				}
			})
		})
	}
}

// Names are quoted, and what is not known is not asked for: viewers cannot make the server query
// what they like.
func TestPrometheusQuery(t *testing.T) {
	p, err := NewPrometheus("http://prom:9090", "")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, p.promQL(promKey{seriesKey{`a"} or vector(1) or x{y="`, "b"}, 24 * time.Hour}), `{topic="a\"} or vector(1) or x{y=\"",channel="b"}`)
	withPrometheus(t, "", func(s *scene, fake *fakePrometheus) {
		for i := range 3 {
			s.get(fmt.Sprintf("/series?topic=none-%d&channel=billing&range=7d", i))
		}
		s.get("/series?channel=billing&range=7d")
		if n := len(fake.asked()); n != 0 {
			t.Errorf("%d queries", n)
		}
	})
}

// Only so many queries are under way at once, and only so many results are kept.
func TestPrometheusBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := NewPrometheus("http://prom:9090", "")
		if err != nil {
			t.Fatal(err)
		}
		var now, most atomic.Int32
		p.client.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Millisecond) //nolint:forbidigo // in a synctest bubble
			now.Add(-1)
			w := httptest.NewRecorder()
			_, _ = io.WriteString(w, `{"status":"success"}`)
			return w.Result(), nil
		})
		var viewers sync.WaitGroup
		for i := range 3 * prometheusKept {
			viewers.Go(func() {
				if _, _, err := p.read(t.Context(), seriesKey{topic: strconv.Itoa(i)}, time.Hour); err != nil {
					t.Error(err)
				}
			})
		}
		viewers.Wait()
		if len(p.kept) > prometheusKept || most.Load() > prometheusAtOnce {
			t.Errorf("%d are kept, %d at once", len(p.kept), most.Load())
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNewPrometheus(t *testing.T) {
	for _, address := range []string{"", "prom:9090", "ftp://prom", "http://", "http://prom?x=1", "http://prom#x", "://"} {
		if _, err := NewPrometheus(address, ""); err == nil {
			t.Errorf("%q: no error", address)
		}
	}
}

// Samples of times that were not asked for are left out, however many there are.
func TestPrometheusRubbish(t *testing.T) {
	withPrometheus(t, "", func(s *scene, fake *fakePrometheus) {
		var values []string
		for i := range 100_000 {
			values = append(values, fmt.Sprintf(`[%d,"%d"]`, i*100_000-1_000_000_000, i))
		}
		now := time.Now().Unix()
		values = append(values, fmt.Sprintf(`[%d,"NaN"],[%d,"-Inf"],[%d,"1e300"]`, now-7200, now-3600, now-600))
		fake.respond = func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"status":"success","data":{"result":[{"metric":{"figure":"depth"},"values":[`+strings.Join(values, ",")+`]}]}}`)
		}
		got := s.get(billing24h)
		if len(got) > 4000 || !json.Valid([]byte(got)) {
			t.Errorf("a chart of %d bytes: %.500s", len(got), got)
		}
		contains(t, got, "From Prometheus at prom:9090")
	})
}
