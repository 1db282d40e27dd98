package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// scrape returns the value of each series that the demo serves.
func scrape(t *testing.T, url string) map[string]int {
	t.Helper()
	resp, err := statsClient.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", resp.Status, err, body)
	}
	values := map[string]int{}
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.Atoi(value); err == nil {
			values[name] = n
		}
	}
	return values
}

// The metrics agree with the demo's own result, to the message.
func TestDemoMetrics(t *testing.T) {
	c := start(t, "demo", "--keep", "--json", "--messages", "3000", "--nsqds", "3", "--fail-rate", "0.2", "--metrics", "127.0.0.1:0")
	c.stderr.await(t, "stop:     Ctrl-C")
	url := regexp.MustCompile(`(?m)^metrics +(http://\S+/metrics)$`).FindStringSubmatch(c.stderr.String())[1]
	var got map[string]int
	await(t, "message that is not in flight any more", func() bool {
		got = scrape(t, url)
		left := 0
		for name, value := range got {
			if strings.HasPrefix(name, "nsq_consumer_in_flight_messages") {
				left += value
			}
		}
		return left == 0
	})
	c.interrupt(errInterrupted)
	if code := c.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, c.stderr.String())
	}
	if _, err := statsClient.Get(url); err == nil {
		t.Error("the metrics are still served")
	}

	r := parseResult(t, c.stdout.String())
	if r.Handled != 3000 || r.Requeued == 0 || r.Duplicates != 0 {
		t.Errorf("got %+v", r)
	}
	want := map[string]int{
		`nsq_consumer_handled_messages_total{channel="demo",outcome="finished",topic="demo"}`: r.Handled,
		`nsq_consumer_handled_messages_total{channel="demo",outcome="answered",topic="demo"}`: r.Requeued,
		`nsq_consumer_message_age_seconds_count{channel="demo",topic="demo"}`:                 r.Handled + r.Requeued,
		`nsq_consumer_connections{channel="demo",state="connected",topic="demo"}`:             3,
		`nsq_consumer_handlers{channel="demo",topic="demo"}`:                                  16,
		`nsq_consumer_max_in_flight_messages{channel="demo",topic="demo"}`:                    200,
	}
	for _, n := range r.NSQDs {
		of := fmt.Sprintf(`{channel="demo",nsqd=%q,topic="demo"}`, n.Address)
		want["nsq_consumer_received_messages_total"+of] = n.Handled + n.Requeued
		want["nsq_consumer_finished_messages_total"+of] = n.Handled
		want["nsq_consumer_requeued_messages_total"+of] = n.Requeued
		want["nsq_consumer_lost_messages_total"+of] = 0
		want[fmt.Sprintf(`nsq_producer_published_messages_total{nsqd=%q,result="ok",topic="demo"}`, n.Address)] = n.Published
		want[fmt.Sprintf(`nsq_producer_published_bytes_total{nsqd=%q,result="ok",topic="demo"}`, n.Address)] = n.Published * 200
		want[fmt.Sprintf(`nsq_producer_pending_publishes{nsqd=%q}`, n.Address)] = 0
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s is %d, want %d", name, v, value)
		}
	}
}

// If the address is in use, the demo fails before it begins.
func TestDemoMetricsAddressTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	code, stdout, stderr := execute(t, "demo", "--messages", "10", "--metrics", taken.Addr().String())
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "cannot serve metrics, choose another address for --metrics: listen tcp") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	expectOneLine(t, stderr)
}
