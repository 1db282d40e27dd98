package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqd"
	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
)

// startExporter starts an exporter, and returns its URL without a path.
func startExporter(t *testing.T, args ...string) (url string, p *command) {
	t.Helper()
	p = start(t, append([]string{"exporter", "--listen", "127.0.0.1:0", "--json"}, args...)...)
	p.stdout.await(t, "\n")
	t.Cleanup(func() {
		p.interrupt(errInterrupted)
		if code := p.wait(t); code != exitOK {
			t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
		}
	})
	addrs := decode[exporterAddrs](t, p.stdout.String())
	url, ok := strings.CutSuffix(addrs.Metrics, "/metrics")
	if !ok || addrs.Health != url+"/healthz" {
		t.Fatalf("got %+v", addrs)
	}
	return url, p
}

// fetchPage returns a page of an exporter.
func fetchPage(t *testing.T, method, url string) (status int, page string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := statsClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// exported returns the samples of a page: names with their labels, and the values.
func exported(t *testing.T, page string) map[string]float64 {
	t.Helper()
	samples := make(map[string]float64)
	for lines := bufio.NewScanner(strings.NewReader(page)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " ")
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatal(err)
		}
		samples[line[:at]] = v
	}
	return samples
}

// nsqdSays is what an nsqd says at /stats, by the names that the exporter gives it.
func nsqdSays(t *testing.T, addr string) map[string]float64 {
	t.Helper()
	_, page := fetchPage(t, http.MethodGet, "http://"+addr+"/stats?format=json")
	var stats struct {
		StartTime float64 `json:"start_time"`
		Topics    []struct {
			Name     string           `json:"topic_name"`
			Depth    float64          `json:"depth"`
			Backend  float64          `json:"backend_depth"`
			Messages float64          `json:"message_count"`
			Bytes    float64          `json:"message_bytes"`
			Channels []map[string]any `json:"channels"`
		} `json:"topics"`
	}
	if err := json.Unmarshal([]byte(page), &stats); err != nil {
		t.Fatal(err)
	}
	says := map[string]float64{fmt.Sprintf(`nsqd_start_time_seconds{nsqd=%q}`, addr): stats.StartTime}
	for _, topic := range stats.Topics {
		labels := fmt.Sprintf(`{nsqd=%q,topic=%q}`, addr, topic.Name)
		says["nsqd_topic_depth_messages"+labels] = topic.Depth
		says["nsqd_topic_disk_depth_messages"+labels] = topic.Backend
		says["nsqd_topic_messages_total"+labels] = topic.Messages
		says["nsqd_topic_bytes_total"+labels] = topic.Bytes
		for _, c := range topic.Channels {
			labels := fmt.Sprintf(`{channel=%q,nsqd=%q,topic=%q}`, c["channel_name"], addr, topic.Name)
			for name, field := range map[string]string{
				"messages_total": "message_count", "requeued_messages_total": "requeue_count", "timed_out_messages_total": "timeout_count",
				"depth_messages": "depth", "disk_depth_messages": "backend_depth", "in_flight_messages": "in_flight_count",
				"deferred_messages": "deferred_count", "clients": "client_count",
			} {
				says["nsqd_channel_"+name+labels], _ = c[field].(float64)
			}
		}
	}
	return says
}

// The metrics of two nsqds are what the nsqds say.
func TestExporter(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{NSQDs: 2, Lookupds: 1, Configure: func(_ int, o *nsqd.Options) {
		o.E2EProcessingLatencyPercentiles = []float64{0.99, 0.5}
		o.MemQueueSize = 2 // some messages are on disk
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{nsqds: b.NSQDs(), lookupds: b.LookupdHTTPAddrs()}
	c.publish(t, 0, "orders", "billing", numbered("a", 10)...)
	c.publish(t, 0, "waiting", "", "w", "w")
	c.publish(t, 1, "orders", "billing", numbered("b", 3)...)
	post(t, c.nsqds[1].HTTPAddr, "/channel/pause?topic=orders&channel=billing", "")
	consumer := consumeSome(t, c.nsqds[0].TCPAddr)
	url, p := startExporter(t, "--interval", "0", "--clients", "--lookupd", c.lookupds[0])
	billing := func(name string, i int) string {
		return fmt.Sprintf(`nsqd_channel_%s{channel="billing",nsqd=%q,topic="orders"}`, name, c.nsqds[i].HTTPAddr)
	}
	var got map[string]float64
	await(t, "messages on their way", func() bool {
		_, page := fetchPage(t, http.MethodGet, url+"/metrics")
		got = exported(t, page)
		return got[billing("in_flight_messages", 0)] == 2 && got[billing("deferred_messages", 0)] == 1 && got[billing("depth_messages", 1)] == 3
	})
	for i, n := range c.nsqds {
		for name, want := range nsqdSays(t, n.HTTPAddr) {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s: got %v, present %t, want %v", name, v, ok, want)
			}
		}
		if v, ok := got[billing("paused", i)]; !ok || v != float64(i) {
			t.Errorf("paused on %d: %v", i, v)
		}
		nsqdLabel := fmt.Sprintf("{nsqd=%q}", n.HTTPAddr)
		if got["nsqd_up"+nsqdLabel] != 1 || got["nsqd_healthy"+nsqdLabel] != 1 || got["nsqd_memory_heap_in_use_bytes"+nsqdLabel] < 1000 {
			t.Errorf("nsqd %d: %v", i, got)
		}
	}
	if got[billing("disk_depth_messages", 1)] != 1 || got[billing("requeued_messages_total", 0)] != 1 || got[fmt.Sprintf("nsqlookupd_up{lookupd=%q}", c.lookupds[0])] != 1 {
		t.Errorf("got %v", got)
	}
	clients, quantiles := 0, 0
	for name, v := range got {
		if strings.HasPrefix(name, "nsqd_client_finished_messages_total{") && v == 1 {
			clients++
		}
		if strings.HasPrefix(name, "nsqd_channel_latency_seconds{") && v > 0 {
			quantiles++
		}
	}
	if clients != 1 || quantiles != 2 {
		t.Errorf("%d clients and %d quantiles in %v", clients, quantiles, got)
	}
	if p.stderr.String() != "" {
		t.Errorf("stderr %q", p.stderr.String())
	}
	consumer.Stop()
	<-consumer.StopChan
}

// consumeSome holds two messages of the channel, defers one and acks one.
func consumeSome(t *testing.T, addr string) *nsq.Consumer {
	t.Helper()
	cfg := (&app{}).config(nil)
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := consumer.Connect(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	var held []*nsq.Message
	for len(held) < 4 {
		more, err := consumer.Fetch(t.Context(), nsq.BatchLimits{Messages: 4 - len(held)})
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, more...)
	}
	held[0].Finish()
	held[1].RequeueWithoutBackoff(time.Minute)
	t.Cleanup(func() {
		consumer.Stop()
		<-consumer.StopChan
	})
	return consumer
}

// A daemon that does not respond is down, and it is told once.
func TestExporterOfPartOfACluster(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing", "m")
	url, p := startExporter(t, append(c.httpFlags(), "--interval", "0", "--nsqd-http", unreachable, "--lookupd", unreachable)...)
	for range 2 {
		status, page := fetchPage(t, http.MethodGet, url+"/metrics")
		got := exported(t, page)
		if status != http.StatusOK || got[fmt.Sprintf("nsqd_up{nsqd=%q}", c.nsqds[0].HTTPAddr)] != 1 || strings.Count(page, unreachable) != 2 {
			t.Errorf("status %d: %s", status, page)
		}
		for _, down := range []string{fmt.Sprintf("nsqd_up{nsqd=%q}", unreachable), fmt.Sprintf("nsqlookupd_up{lookupd=%q}", unreachable)} {
			if v, ok := got[down]; !ok || v != 0 {
				t.Errorf("%s: %v, present %t", down, v, ok)
			}
		}
	}
	expectOneLine(t, p.stderr.String())
}

func TestExporterPages(t *testing.T) {
	url, _ := startExporter(t, "--nsqd-http", unreachable)
	for _, tc := range []struct {
		method, path string
		status       int
		want         string
	}{
		{http.MethodGet, "/healthz", http.StatusOK, "ok\n"},
		{http.MethodGet, "/", http.StatusOK, "/metrics"},
		{http.MethodHead, "/healthz", http.StatusOK, ""},
		{http.MethodPost, "/metrics", http.StatusMethodNotAllowed, ""},
		{http.MethodGet, "/debug/pprof/", http.StatusNotFound, ""},
	} {
		if status, page := fetchPage(t, tc.method, url+tc.path); status != tc.status || !strings.Contains(page, tc.want) {
			t.Errorf("%s %s: status %d, %q", tc.method, tc.path, status, page)
		}
	}
}

// A scraper that goes away in the middle of a response is not worth a line for each metric.
func TestScrapeLog(t *testing.T) {
	var told strings.Builder
	log := scrapeLog{&app{stderr: &told}}
	log.Println("error encoding and sending metric family:", &net.OpError{Op: "write", Err: syscall.ECONNRESET})
	log.Println("error gathering metrics:", errors.New("a label is not UTF-8"))
	if want := "rdy: error gathering metrics: a label is not UTF-8\n"; told.String() != want {
		t.Errorf("got %q, want %q", told.String(), want)
	}
}

func TestExporterAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	code, stdout, stderr := execute(t, "exporter", "--nsqd-http", unreachable, "--listen", taken.Addr().String())
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "cannot serve metrics, choose another address for --listen: listen tcp") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}
