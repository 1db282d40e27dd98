package exporter

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/rdyhq/nsq/admin"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// whole is the view of a cluster that has all metrics.
func whole() *admin.View {
	channel := admin.ChannelCounts{
		Depth: 10, DiskDepth: 11, InFlight: 12, Deferred: 13, Messages: 14, Requeued: 15, TimedOut: 16, ClientCount: 2, Paused: true,
	}
	client := func(remoteAddr string, n int64) admin.Client {
		return admin.Client{
			Connection: admin.Connection{NSQD: "a:4151", ID: "worker", RemoteAddr: remoteAddr},
			RDY:        n, InFlight: 2 * n, Messages: uint64(3 * n), Finished: uint64(4 * n), Requeued: uint64(5 * n),
		}
	}
	return &admin.View{
		Lookupds: []admin.Lookupd{
			{Addr: "l:4161", Registered: []admin.Registration{
				{Broadcast: "a", HTTPPort: 4151, RemoteAddr: "a:1", Topics: []string{"orders", "t"}, Tombstoned: []string{"t"}},
				{Broadcast: "a", HTTPPort: 4151, RemoteAddr: "a:2", Topics: []string{"orders", "t"}, Tombstoned: []string{"t"}},
			}},
			{Addr: "m:4161", Error: "refused"},
		},
		NSQDs: []admin.NSQD{
			{
				Addr: "a:4151", Broadcast: "a", Version: "1.3.0", Health: "OK", Started: time.Unix(1790000000, 0),
				Memory: &admin.Memory{HeapObjects: 1, HeapIdle: 2, HeapInUse: 3, HeapReleased: 4, NextGC: 5, GCs: 6},
			},
			{Addr: "b:4151", Version: "1.2.1", Health: "NOK - disk full", Started: time.Unix(1790000001, 0)},
			{Addr: "c:4151", Error: "refused"},
		},
		Topics: []admin.Topic{{
			Name: "orders", TopicCounts: admin.TopicCounts{Depth: 3, Messages: 7},
			NSQDs: []admin.TopicOn{
				{NSQD: "a:4151", TopicCounts: admin.TopicCounts{Depth: 1, DiskDepth: 2, Messages: 3, Bytes: 4, Paused: true}},
				{NSQD: "b:4151", TopicCounts: admin.TopicCounts{Depth: 2, Messages: 4}},
			},
			Channels: []admin.Channel{{
				Name: "billing", ChannelCounts: channel,
				NSQDs:   []admin.ChannelOn{{NSQD: "a:4151", ChannelCounts: channel, Latency: []admin.Quantile{{Quantile: 0.5, Seconds: 0.25}, {Quantile: 0.99, Seconds: 1.5}}}},
				Clients: []admin.Client{client("1.2.3.4:5", 1), client("@", 1), client("@", 10)},
			}},
		}},
	}
}

// scrape returns the metrics of a collector as Prometheus gets them.
func scrape(tb testing.TB, c prometheus.Collector) string {
	tb.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		tb.Fatal(err)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	if w.Code != http.StatusOK {
		tb.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// of returns a collector of a view.
func of(v *admin.View) *Collector {
	return New(context.Background(), time.Minute, func(context.Context) *admin.View { return v })
}

func TestMetrics(t *testing.T) {
	want, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := scrape(t, of(whole())); got != string(want) {
		t.Errorf("got\n%s", got)
	}
}

// All names are as Prometheus wants them, but for one label: nsqd has computed the quantiles,
// and tells neither a sum nor a count that only grows, as a summary needs.
func TestLint(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(of(whole()))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if p.Metric != "nsqd_channel_latency_seconds" || !strings.Contains(p.Text, `"quantile" label`) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	if len(families) != len(descs()) {
		t.Errorf("%d of %d metrics are tested", len(families), len(descs()))
	}
}

// What a daemon has said before is not shown when it does not respond.
func TestNothingStale(t *testing.T) {
	v := whole()
	c := New(t.Context(), 0, func(context.Context) *admin.View { return v })
	if got := scrape(t, c); !strings.Contains(got, `nsqd_topic_depth_messages{nsqd="b:4151",topic="orders"} 2`) {
		t.Errorf("got\n%s", got)
	}
	v = whole()
	v.NSQDs[1] = admin.NSQD{Addr: "b:4151", Error: "refused"}
	v.Topics[0].NSQDs = v.Topics[0].NSQDs[:1]
	var left []string
	for line := range strings.Lines(scrape(t, c)) {
		if strings.Contains(line, "b:4151") {
			left = append(left, line)
		}
	}
	if !slices.Equal(left, []string{"nsqd_up{nsqd=\"b:4151\"} 0\n"}) {
		t.Errorf("got %q", left)
	}
}

// Scrapes share a poll that is under way or fresh, and no figure is older.
func TestScrapesSharePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var polls atomic.Int32
		c := New(t.Context(), 5*time.Second, func(context.Context) *admin.View {
			polls.Add(1)
			time.Sleep(time.Second) //nolint:forbidigo // in a synctest bubble
			return whole()
		})
		registry := prometheus.NewRegistry()
		registry.MustRegister(c)
		gather := func(scrapes int) {
			var all sync.WaitGroup
			for range scrapes {
				all.Go(func() {
					if families, err := registry.Gather(); err != nil || len(families) != len(descs()) {
						t.Errorf("%d metrics, error %v", len(families), err)
					}
				})
			}
			all.Wait()
		}
		gather(10)
		if n := polls.Load(); n != 1 {
			t.Errorf("%d polls for 10 scrapes at the same time", n)
		}
		time.Sleep(4*time.Second - time.Nanosecond) //nolint:forbidigo // in a synctest bubble, 1 s after the poll has begun
		gather(1)
		if n := polls.Load(); n != 1 {
			t.Errorf("%d polls within the interval", n)
		}
		time.Sleep(time.Nanosecond) //nolint:forbidigo // in a synctest bubble
		gather(10)
		if n := polls.Load(); n != 2 {
			t.Errorf("%d polls after the interval", n)
		}
	})
}

// A poll that the end of the program has cut short shows nothing.
func TestEndOfProgram(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := New(ctx, 0, func(ctx context.Context) *admin.View {
		cancel()
		return &admin.View{NSQDs: []admin.NSQD{{Addr: "a:4151", Error: context.Cause(ctx).Error()}}}
	})
	if got := scrape(t, c); got != "" {
		t.Errorf("got %s", got)
	}
}

// A name that Prometheus does not accept fails its metric, not the program.
func TestInvalidLabel(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(of(&admin.View{NSQDs: []admin.NSQD{{Addr: "\xff:1"}, {Addr: "a:4151"}}}))
	if families, err := registry.Gather(); err == nil || len(families) == 0 {
		t.Errorf("%d metrics, error %v", len(families), err)
	}
}

// roundTrip responds to requests.
type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// BenchmarkScrape polls an nsqd with 1,000 channels and writes its metrics.
func BenchmarkScrape(b *testing.B) {
	var topics []string
	for i := range 200 {
		var channels []string
		for j := range 5 {
			channels = append(channels, fmt.Sprintf(`{"channel_name":"channel-%d","depth":%d,"message_count":1234567,"e2e_processing_latency":{"count":0,"percentiles":null}}`, j, i))
		}
		topics = append(topics, fmt.Sprintf(`{"topic_name":"topic-%d","depth":1,"message_count":1234567,"channels":[%s]}`, i, strings.Join(channels, ",")))
	}
	stats := `{"version":"1.3.0","health":"OK","start_time":1,"topics":[` + strings.Join(topics, ",") + `]}`
	cluster := &admin.Cluster{NSQDs: []string{"a:4151"}, Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		text := stats
		if r.URL.Path == "/info" {
			text = `{"broadcast_address":"a","http_port":4151,"start_time":1}`
		}
		return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(strings.NewReader(text))}, nil
	})}}
	registry := prometheus.NewRegistry()
	registry.MustRegister(New(b.Context(), 0, func(ctx context.Context) *admin.View {
		v, err := cluster.Poll(ctx)
		if err != nil {
			b.Error(err)
		}
		return v
	}))
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
		if n := strings.Count(w.Body.String(), "\nnsqd_channel_depth_messages{"); n != 1000 {
			b.Fatalf("%d channels", n)
		}
	}
}
