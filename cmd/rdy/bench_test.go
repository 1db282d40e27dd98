package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// topics returns how many messages each topic of an nsqd has had.
func (c *cluster) topics(t *testing.T, i int) map[string]int {
	t.Helper()
	resp, err := statsClient.Get("http://" + c.nsqds[i].HTTPAddr + "/stats?format=json&include_mem=false")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var stats struct {
		Topics []struct {
			Name     string `json:"topic_name"`
			Messages int    `json:"message_count"`
		} `json:"topics"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	counts := make(map[string]int)
	for _, topic := range stats.Topics {
		counts[topic.Name] = topic.Messages
	}
	return counts
}

// expectNoTopics checks that the nsqds have no topic, or soon have none.
func (c *cluster) expectNoTopics(t *testing.T) {
	t.Helper()
	for i := range c.nsqds {
		await(t, "end of the topics", func() bool { return len(c.topics(t, i)) == 0 })
	}
}

// result decodes what a command with --json has printed.
func result[T any](t *testing.T, code int, stdout, stderr string) T {
	t.Helper()
	var r T
	if err := json.Unmarshal([]byte(stdout), &r); code != exitOK || err != nil {
		t.Fatalf("exit code %d, stdout %q, stderr %q, error %v", code, stdout, stderr, err)
	}
	return r
}

// ordered reports whether percentiles are what percentiles of n durations can be.
func (p *benchPercentiles) ordered(n int) bool {
	return p.Count == int64(n) && 0 < p.P50 && p.P50 <= p.P90 && p.P90 <= p.P99 && p.P99 <= p.P999 && p.P999 <= p.P9999 && p.P9999 <= p.Max*1.001 && p.Mean <= p.Max
}

// bench pub counts what nsqds have confirmed, and leaves no topic behind.
func TestBenchPub(t *testing.T) {
	c := startCluster(t, 2)
	code, stdout, stderr := execute(t, append(c.flags(), "bench", "pub", "-n", "1050", "--batch", "100", "--size", "300", "--json")...)
	r := result[benchPubResult](t, code, stdout, stderr)
	if r.Messages != 1050 || r.Bytes != 1050*300 || r.NSQDCount != 2 || r.Rate <= 0 || r.Seconds <= 0 || !r.Publish.ordered(11) {
		t.Errorf("%+v", r)
	}
	c.expectNoTopics(t)
}

// Messages to a topic that is named stay there, whole and random.
func TestBenchPubOfATopic(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "named", "ch")
	code, stdout, stderr := execute(t, append(c.flags(), "bench", "pub", "named", "-n", "20", "--batch", "1", "--size", "30", "--jq", ".topic, .messages")...)
	if code != exitOK || stdout != "named\n20\n" {
		t.Fatalf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if st := c.stats(t, "named"); st.Depth != 20 {
		t.Errorf("%+v", st)
	}
}

// bench pub keeps to its rate, and ends after its duration with what was confirmed.
func TestBenchPubRate(t *testing.T) {
	c := startCluster(t, 1)
	code, stdout, stderr := execute(t, append(c.flags(), "bench", "pub", "--rate", "1000", "--batch", "10", "--duration", "500ms", "--json")...)
	r := result[benchPubResult](t, code, stdout, stderr)
	if r.Messages < 10 || float64(r.Messages) > r.Seconds*1000+10 { // the first batch is due at once
		t.Errorf("%d messages in %v s at 1000/s", r.Messages, r.Seconds)
	}
}

// An nsqd that fails ends a benchmark, which still says what was confirmed before.
func TestBenchPubFails(t *testing.T) {
	c := startCluster(t, 1)
	code, stdout, stderr := execute(t, append(c.flags(), "bench", "pub", "t", "--size", "1048576", "--batch", "1", "-n", "3", "--json")...)
	if code != exitOK { // 1 MiB is nsqd's limit
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	code, stdout, stderr = execute(t, append(c.flags(), "bench", "pub", "t", "--size", "1048576", "--batch", "1", "--set", "max_msg_size,1000", "--json")...)
	if code != exitFailure || !strings.Contains(stdout, `"messages":0`) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	expectOneLine(t, stderr)
	code, stdout, stderr = execute(t, "bench", "pub", "--nsqd", "127.0.0.1:1")
	if code != exitFailure || stdout != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	expectOneLine(t, stderr)
}

// bench sub drains a channel that is named, and no other.
func TestBenchSub(t *testing.T) {
	c := startCluster(t, 2)
	for i := range c.nsqds {
		c.publish(t, i, "full", "ch", "one", "two", "three")
		post(t, c.nsqds[i].HTTPAddr, "/channel/create?topic=full&channel=other", "")
	}
	code, stdout, stderr := execute(t, append(c.flags(), "bench", "sub", "full", "--channel", "ch", "--json")...)
	r := result[benchSubResult](t, code, stdout, stderr)
	if r.Messages != 6 || r.Bytes != 22 || r.NSQDCount != 2 || r.Channel != "ch" {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(stderr, "never get it") {
		t.Errorf("stderr %q", stderr)
	}
	if n := c.unfinished(t, "full"); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// bench sub -n takes that many messages from a channel and no more: others have not asked to
// lose theirs.
func TestBenchSubCount(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "full", "ch")
	post(t, c.nsqds[0].HTTPAddr, "/mpub?topic=full", strings.Repeat("m\n", 500))
	code, stdout, stderr := execute(t, append(c.flags(), "bench", "sub", "full", "--channel", "ch", "-n", "5", "--json")...)
	if r := result[benchSubResult](t, code, stdout, stderr); r.Messages != 5 || r.Bytes != 5 {
		t.Errorf("%+v", r)
	}
	if n := c.unfinished(t, "full"); n != 495 {
		t.Errorf("%d messages are left, want 495", n)
	}
}

// Without a channel bench sub reads from one of its own, beside the others.
func TestBenchSubBesidePub(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "both", "ch")
	sub := start(t, append(c.allFlags(), "bench", "sub", "both", "-n", "500", "--json")...)
	await(t, "a subscription", func() bool { return strings.Contains(c.channels(t, "both"), "rdy_bench_") })
	code, stdout, stderr := execute(t, append(c.flags(), "bench", "pub", "both", "-n", "500", "--json")...)
	result[benchPubResult](t, code, stdout, stderr)
	r := result[benchSubResult](t, sub.wait(t), sub.stdout.String(), sub.stderr.String())
	if r.Messages < 500 || !strings.HasPrefix(r.Channel, "rdy_bench_") {
		t.Errorf("%+v", r)
	}
	if st := c.stats(t, "both"); st.Depth != 500 {
		t.Errorf("the other channel: %+v", st)
	}
	await(t, "end of the channel", func() bool { return !strings.Contains(c.channels(t, "both"), "rdy_bench_") })
}

// channels returns nsqd's statistics of a topic.
func (c *cluster) channels(t *testing.T, topic string) string {
	t.Helper()
	_, stdout, _ := execute(t, "stat", topic, "--nsqd-http", c.nsqds[0].HTTPAddr)
	return stdout
}

// bench latency sees every message, and leaves no topic behind.
func TestBenchLatency(t *testing.T) {
	c := startCluster(t, 2)
	code, stdout, stderr := execute(t, "bench", "latency", "--lookupd", c.lookupds[0], "--rate", "500", "--duration", "400ms", "--warmup", "100ms", "--json")
	r := result[benchLatencyResult](t, code, stdout, stderr)
	if r.Messages == 0 || r.Messages > 250 || r.Missing != 0 || r.NSQDCount != 2 || r.Latency.Count != r.Publish.Count || r.Late.Count != r.Publish.Count {
		t.Errorf("%+v", r)
	}
	if !r.Latency.ordered(int(r.Latency.Count)) || r.Latency.Count > 200 || r.Latency.Max < r.Late.P50 {
		t.Errorf("%+v", r)
	}
	c.expectNoTopics(t)
}

// One of two nsqlookupds is enough, and that another one is missing is said.
func TestBenchLookupdMissing(t *testing.T) {
	c := startCluster(t, 2)
	code, stdout, stderr := execute(t, "bench", "pub", "--lookupd", c.lookupds[0], "--lookupd", unreachable, "-n", "10", "--json")
	if r := result[benchPubResult](t, code, stdout, stderr); r.Messages != 10 || r.NSQDCount != 2 {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(stderr, "nsqlookupd "+unreachable) {
		t.Errorf("stderr %q", stderr)
	}
	code, stdout, stderr = execute(t, "bench", "pub", "--lookupd", unreachable)
	if code != exitFailure || stdout != "" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	expectOneLine(t, stderr)
}

// An interrupted benchmark prints what it has.
func TestBenchInterrupted(t *testing.T) {
	c := startCluster(t, 1)
	for _, kind := range []string{"pub", "sub", "latency"} {
		flags := c.allFlags()
		if kind == "pub" {
			flags = c.flags()
		}
		p := start(t, append(flags, "bench", kind, kind+".topic")...)
		await(t, "a beginning", func() bool {
			n, connected := c.topics(t, 0)[kind+".topic"]
			return n > 0 || connected && kind == "sub"
		})
		p.interrupt(errInterrupted)
		if code := p.wait(t); code != exitOK || !strings.Contains(p.stdout.String(), "\nmessages/s ") {
			t.Errorf("%s: exit code %d, stdout %s, stderr %s", kind, code, p.stdout.String(), p.stderr.String())
		}
	}
}

// benchTimes neither loses nor invents.
func TestBenchTimes(t *testing.T) {
	times := newBenchTimes()
	for i := range 1000 {
		times.add(time.Duration(i+1) * time.Millisecond)
	}
	times.add(-time.Second)
	times.add(time.Hour)
	p := times.percentiles()
	near := func(got, want float64) bool { return got > want*0.998 && got < want*1.002 }
	if p.Count != 1002 || !near(p.P50, 500) || !near(p.P90, 901) || !near(p.P99, 991) || !near(p.Max, 60_000) {
		t.Errorf("%+v", p)
	}
	if row := p.row("x"); row[0] != "x" || len(row) != len(benchTimesHead()) {
		t.Errorf("%q", row)
	}
	for ms, want := range map[float64]string{0.1234: "0.12 ms", 12.34: "12.3 ms", 1234: "1234 ms"} {
		if got := benchMS(ms); got != want {
			t.Errorf("%v became %q, want %q", ms, got, want)
		}
	}
}
