package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

// httpFlags returns the --nsqd-http flags for all nsqds.
func (c *cluster) httpFlags() []string {
	var flags []string
	for _, n := range c.nsqds {
		flags = append(flags, "--nsqd-http", n.HTTPAddr)
	}
	return flags
}

// fakeDaemon starts a server that responds as a daemon does, by path.
func fakeDaemon(t *testing.T, responses map[string]string) (addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := responses[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// decode decodes a JSON document, which must be all of the text.
func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

func TestStat(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 0, "orders", "billing", "1", "2")
	c.publish(t, 1, "orders", "billing", "3")
	c.publish(t, 1, "waiting", "", "4")
	await(t, "the messages in the channel", func() bool {
		_, stdout, _ := execute(t, append(c.httpFlags(), "stat", "--no-rates", "--jq", ".channels[0].depth")...)
		return stdout == "3\n"
	})
	const header = "topic    channel  depth  in flight  deferred  requeued  timed out  clients  paused\n"
	const waiting = "waiting  –            1          –         –         –          –        –\n"
	const billing = "orders   billing      3          0         0         0          0        0\n"
	code, stdout, stderr := execute(t, append(c.httpFlags(), "stat", "--no-rates")...)
	if code != exitOK || stdout != header+billing+waiting || stderr != "" {
		t.Errorf("exit code %d, stdout\n%s, stderr %q", code, stdout, stderr)
	}
	code, stdout, stderr = execute(t, append(c.httpFlags(), "stat", "orders", "billing", "--interval", "100ms", "--json")...)
	r := decode[statReport](t, stdout)
	want := statChannel{Topic: "orders", Channel: "billing", ChannelCounts: admin.ChannelCounts{Depth: 3, Messages: 3}, Rates: &channelRates{}}
	if code != exitOK || stderr != "" || r.Interval < 0.1 || len(r.Topics) != 1 || len(r.Channels) != 1 || r.Errors == nil || len(r.Errors) != 0 {
		t.Fatalf("exit code %d, stdout %s, stderr %q", code, stdout, stderr)
	}
	if got := r.Channels[0]; *got.Rates != *want.Rates || got.ChannelCounts != want.ChannelCounts || got.Topic != want.Topic || got.Channel != want.Channel {
		t.Errorf("got %+v", got)
	}
	// The nsqlookupd lists the same nsqds.
	await(t, "registration of the topics", func() bool {
		code, stdout, _ := execute(t, "stat", "orders", "--no-rates", "--lookupd", c.lookupds[0])
		return code == exitOK && stdout == strings.ReplaceAll(header, "topic  ", "topic ")+strings.ReplaceAll(billing, "orders  ", "orders ")
	})
}

func TestStatNotFound(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 0, "orders", "billing")
	for _, args := range [][]string{{"payments"}, {"orders", "fraud"}, {"payments", "--watch"}} {
		code, stdout, stderr := execute(t, append(c.httpFlags(), append([]string{"stat"}, args...)...)...)
		if code != exitFailure || stdout != "" {
			t.Errorf("%v: exit code %d, stdout %q", args, code, stdout)
		}
		expectOneLine(t, stderr)
		for _, part := range []string{"not found", c.nsqds[0].HTTPAddr, c.nsqds[1].HTTPAddr} {
			if !strings.Contains(stderr, part) {
				t.Errorf("%v: stderr %q does not contain %q", args, stderr, part)
			}
		}
	}
	code, stdout, _ := execute(t, append(c.httpFlags(), "stat", "payments", "--json")...)
	if r := decode[statReport](t, stdout); code != exitFailure || len(r.Errors) != 1 || !strings.Contains(r.Errors[0].Error, "not found") {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
}

// What the daemons that respond have said is printed, and what is missing is said.
func TestStatOfPartOfACluster(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing")
	args := append(c.httpFlags(), "stat", "--no-rates", "--nsqd-http", unreachable)
	code, stdout, stderr := execute(t, args...)
	if code != exitFailure || !strings.Contains(stdout, "≥ 0") || !strings.Contains(stderr, unreachable) {
		t.Errorf("exit code %d, stdout\n%s, stderr %q", code, stdout, stderr)
	}
	expectOneLine(t, stderr)
	code, stdout, _ = execute(t, append(args, "--json")...)
	r := decode[statReport](t, stdout)
	if code != exitFailure || len(r.Channels) != 1 || len(r.Errors) != 1 || r.Errors[0].Addr != unreachable || r.Errors[0].Request != "GET /stats" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	code, stdout, _ = execute(t, "stat", "orders", "--lookupd", unreachable, "--json")
	if r := decode[statReport](t, stdout); code != exitFailure || len(r.Channels) != 0 || len(r.Errors) != 2 {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
}

// --watch goes on while daemons do not respond, and says once that they do not.
func TestStatWatch(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing")
	args := append(c.httpFlags(), "stat", "--watch", "--interval", "100ms")
	code, stdout, stderr := execute(t, append(args, "-n", "3", "--nsqd-http", unreachable)...)
	if code != exitFailure || strings.Count(stdout, "\norders ") != 3 || strings.Count(stderr, "refused") != 2 { // the last is why it failed
		t.Errorf("exit code %d, stdout\n%s, stderr %q", code, stdout, stderr)
	}
	p := start(t, append(args, "--jq", ".channels[0].rates.in")...)
	p.stdout.await(t, "0\n0\n0\n")
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK || p.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
}

// The end of the program that reads the tables is a success.
func TestStatBrokenPipe(t *testing.T) {
	c := startCluster(t, 1)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := launch(t, write, append(c.httpFlags(), "stat", "--watch", "--interval", "100ms", "--no-rates")...)
	_ = write.Close() // the process has its own copy
	if _, err := read.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = read.Close()
	if code := p.wait(t); code != exitOK || p.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
}

// What is missing for some polls is told once, and so is that it is back.
func TestStatTellsOnce(t *testing.T) {
	var stderr output
	m := missingDaemons{app: &app{stderr: &stderr}}
	failed := func(text string) error { return &admin.Error{Addr: "a:1", Op: "GET /stats", Err: errors.New(text)} }
	absent := errors.New("topic t not found")
	for _, p := range []polled{
		{}, {missing: failed("ref\x1bused")}, {missing: failed("reset")}, {}, {}, {absent: absent}, {absent: absent, missing: failed("reset")},
	} {
		m.tell(p.absent, p.missing)
	}
	const want = `rdy: figures are missing: a:1: GET /stats: ref\x1bused
rdy: all figures are complete again
rdy: topic t not found
rdy: topic t not found; figures are missing: a:1: GET /stats: reset
`
	if stderr.String() != want {
		t.Errorf("got %q", stderr.String())
	}
}

// A topic that is deleted meanwhile does not end --watch either.
func TestStatWatchOfDeletedTopic(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing")
	p := start(t, append(c.httpFlags(), "stat", "orders", "--watch", "--interval", "100ms", "--json")...)
	p.stdout.await(t, "\n")
	post(t, c.nsqds[0].HTTPAddr, "/topic/delete?topic=orders", "")
	p.stdout.await(t, `"errors":[{"error":"topic orders not found on nsqd `)
	p.stderr.await(t, "rdy: topic orders not found on nsqd ")
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
}

// Names that no nsqd would accept do not reach the terminal as they are.
func TestStatOfHostileDaemon(t *testing.T) {
	hostile := fakeDaemon(t, map[string]string{
		"/stats": `{"version":"1.3.0","start_time":1,"topics":[{"topic_name":"a\u001b[2J\nb","channels":[{"channel_name":"\u202ec\u009b"}]}]}`,
		"/info":  `{"start_time":1}`,
	})
	refusing := fakeDaemon(t, map[string]string{"/stats": "\x1b[2J"})
	for _, format := range []string{"--no-rates", "--json"} {
		_, stdout, stderr := execute(t, "stat", format, "--no-rates", "--nsqd-http", hostile, "--nsqd-http", refusing)
		if !strings.Contains(stdout, "2J") || strings.ContainsFunc(stdout+stderr, func(r rune) bool { return visible.Steers(r, "\n") }) {
			t.Errorf("stdout %q, stderr %q", stdout, stderr)
		}
	}
}

// A daemon, or a proxy before it, may tell of topics and channels that it was not asked for.
func TestStatOfMoreThanAsked(t *testing.T) {
	nsqd := fakeDaemon(t, map[string]string{
		"/stats": `{"version":"1.3.0","start_time":1,"topics":[
			{"topic_name":"a","channels":[{"channel_name":"x"}]},
			{"topic_name":"t","channels":[{"channel_name":"b"},{"channel_name":"c"}]}]}`,
		"/info": `{"start_time":1}`,
	})
	for _, tc := range []struct {
		args     []string
		channels []string
	}{
		{[]string{"t"}, []string{"b", "c"}},
		{[]string{"t", "c"}, []string{"c"}},
	} {
		args := append([]string{"stat", "--json", "--interval", "100ms", "--nsqd-http", nsqd}, tc.args...)
		code, stdout, stderr := execute(t, args...)
		r := decode[statReport](t, stdout)
		var channels []string
		for _, c := range r.Channels {
			if c.Rates == nil {
				t.Errorf("%v: channel %s has no rates", tc.args, c.Channel)
			}
			channels = append(channels, c.Topic+" "+c.Channel)
		}
		want := []string{}
		for _, c := range tc.channels {
			want = append(want, "t "+c)
		}
		if code != exitOK || len(r.Topics) != 1 || !slices.Equal(channels, want) {
			t.Errorf("%v: code %d, got %d topics, channels %q, stderr %q", tc.args, code, len(r.Topics), channels, stderr)
		}
	}
}

func TestStatRates(t *testing.T) {
	view := func(at int64, counts admin.ChannelCounts) *admin.View {
		return &admin.View{
			At:    time.Unix(at, 0),
			NSQDs: []admin.NSQD{{Addr: "a:1"}},
			Topics: []admin.Topic{{Name: "t", NSQDs: []admin.TopicOn{{NSQD: "a:1"}}, Channels: []admin.Channel{{
				Name: "c", ChannelCounts: counts, NSQDs: []admin.ChannelOn{{NSQD: "a:1", ChannelCounts: counts}},
			}}}},
		}
	}
	for _, tc := range []struct {
		name          string
		before, after admin.ChannelCounts
		want          []string // in/s, finished/s, drains in
	}{
		{"empty", admin.ChannelCounts{}, admin.ChannelCounts{ClientCount: 1}, []string{"0", "0", "empty"}},
		{"drains", admin.ChannelCounts{Depth: 1200}, admin.ChannelCounts{Depth: 1000, ClientCount: 1}, []string{"0", "20", "50 s"}},
		{"grows", admin.ChannelCounts{}, admin.ChannelCounts{Depth: 100, Messages: 200, ClientCount: 1}, []string{"20", "10", "never"}},
		{"slow", admin.ChannelCounts{Depth: 10_000_000}, admin.ChannelCounts{Depth: 9_999_999, ClientCount: 1}, []string{"0", "0.1", "> 30 d"}},
		{"few", admin.ChannelCounts{}, admin.ChannelCounts{Depth: 30, Messages: 200, ClientCount: 1}, []string{"20", "17", "keeps up"}},
		{"paused", admin.ChannelCounts{Depth: 9}, admin.ChannelCounts{Depth: 9, ClientCount: 1, Paused: true}, []string{"0", "0", "paused"}},
		{"orphan", admin.ChannelCounts{Depth: 9}, admin.ChannelCounts{Depth: 9}, []string{"0", "0", "no clients"}},
	} {
		r := newStatReport(view(0, tc.before), view(10, tc.after), nil)
		if row := r.rows(true, false)[1]; !slices.Equal(row[9:], tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, row[9:], tc.want)
		}
		if row := r.rows(true, true)[1]; row[11] != noFigure || row[9] != "≥ "+tc.want[0] || !strings.HasPrefix(row[2], "≥ ") {
			t.Errorf("%s: got %q of a partial view", tc.name, row)
		}
	}
	restarted := view(10, admin.ChannelCounts{})
	restarted.NSQDs[0].Started = time.Unix(5, 0)
	if r := newStatReport(view(0, admin.ChannelCounts{}), restarted, nil); r.Channels[0].Rates != nil || !slices.Equal(r.rows(true, false)[1][9:], []string{noFigure, noFigure, noFigure}) {
		t.Errorf("rates across a restart: %+v", r.Channels[0])
	}
	// An nsqd that was missing from the poll before is not in the rates.
	joined := view(10, admin.ChannelCounts{})
	joined.NSQDs = append(joined.NSQDs, admin.NSQD{Addr: "b:1"})
	joined.Topics[0].NSQDs = append(joined.Topics[0].NSQDs, admin.TopicOn{NSQD: "b:1"})
	joined.Topics[0].Channels[0].NSQDs = append(joined.Topics[0].Channels[0].NSQDs, admin.ChannelOn{NSQD: "b:1"})
	missing := view(0, admin.ChannelCounts{})
	missing.NSQDs = append(missing.NSQDs, admin.NSQD{Addr: "b:1", Error: "refused"})
	for _, before := range []*admin.View{view(0, admin.ChannelCounts{}), missing} {
		r := newStatReport(before, joined, nil)
		if r.Channels[0].Rates != nil || r.Topics[0].Rates != nil || r.rows(true, false)[1][9] != noFigure {
			t.Errorf("rates without an nsqd: %+v, %+v", r.Topics[0], r.Channels[0])
		}
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if start := time.Now(); !waited(t.Context(), time.Minute) || time.Since(start) != time.Minute {
			t.Errorf("slept for %v", time.Since(start))
		}
	})
}
