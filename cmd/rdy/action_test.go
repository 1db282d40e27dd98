package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

// resultsOn returns the results of an action, by "daemon addr".
func resultsOn(r actionResult) map[string]string {
	results := make(map[string]string)
	for _, d := range r.Results {
		results[d.Daemon+" "+d.Addr] = d.Result
	}
	return results
}

// Each action does on the daemons what it says.
func TestActions(t *testing.T) {
	c := startCluster(t, 2)
	flags := append(c.httpFlags(), "--lookupd", c.lookupds[0])
	both := []string{"nsqd " + c.nsqds[0].HTTPAddr, "nsqd " + c.nsqds[1].HTTPAddr}
	lookupd := "nsqlookupd " + c.lookupds[0]
	for _, step := range []struct {
		line  string
		want  []string // the daemons that have done it
		check string   // a jq expression on "rdy stat" that is true afterwards
	}{
		{"topic create t", append(both, lookupd), `.topics[0].topic == "t"`},
		{"channel create t c", append(both, lookupd), `.channels[0].channel == "c"`},
		{"topic pause t", both, `.topics[0].paused`},
		{"topic unpause t", both, `.topics[0].paused | not`},
		{"channel pause t c", both, `.channels[0].paused`},
		{"channel unpause t c", both, `.channels[0].paused | not`},
		{"topic empty t --yes", both, `.topics[0].depth == 0`},
		{"channel empty t c --yes", both, `.channels[0].depth == 0`},
		{"channel delete t c --yes", append(both, lookupd), `.channels == []`},
		{"topic delete t --yes", append(both, lookupd), `.topics == []`},
	} {
		code, stdout, stderr := execute(t, append(strings.Fields(step.line+" --json"), flags...)...)
		r := decode[actionResult](t, stdout)
		results := resultsOn(r)
		for _, daemon := range step.want {
			if results[daemon] != resultDone {
				t.Errorf("%s: %s has the result %q", step.line, daemon, results[daemon])
			}
		}
		words := strings.Fields(step.line)
		if code != exitOK || r.Action != words[1] || r.Topic != "t" || r.Errors == nil || strings.Contains(step.line, "--yes") == (stderr == "") {
			t.Errorf("%s: exit code %d, stdout %s, stderr %q", step.line, code, stdout, stderr)
		}
		if _, holds, _ := execute(t, append([]string{"stat", "--no-rates", "--jq", step.check}, flags...)...); holds != "true\n" {
			t.Errorf("%s: not %s", step.line, step.check)
		}
	}
}

// What is lost is said before, and the result as text afterwards.
func TestDestructiveActionSaysWhatIsLost(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing", "1", "2", "3")
	await(t, "the messages in the channel", func() bool {
		_, stdout, _ := execute(t, append(c.httpFlags(), "stat", "--no-rates", "--jq", ".channels[0].depth")...)
		return stdout == "3\n"
	})
	code, stdout, stderr := execute(t, append(c.httpFlags(), "channel", "empty", "orders", "billing", "--yes")...)
	const lost = "rdy: empty channel billing of topic orders: 3 messages on 1 nsqd will be lost\n"
	if code != exitOK || stderr != lost || stdout != "nsqd  "+c.nsqds[0].HTTPAddr+"  emptied\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// An action goes on if a daemon fails, and says which.
func TestActionOnPartOfACluster(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing", "1")
	args := append(c.httpFlags(), "--nsqd-http", unreachable, "--json")
	for _, line := range []string{"topic pause orders", "channel empty orders billing --yes"} {
		code, stdout, _ := execute(t, append(strings.Fields(line), args...)...)
		r := decode[actionResult](t, stdout)
		want := []daemonResult{{"nsqd", c.nsqds[0].HTTPAddr, resultDone}, {"nsqd", unreachable, resultFailed}}
		slices.SortFunc(want, func(a, b daemonResult) int { return strings.Compare(a.Addr, b.Addr) })
		if code != exitFailure || !slices.Equal(r.Results, want) || len(r.Errors) != 1 || r.Errors[0].Addr != unreachable {
			t.Errorf("%s: exit code %d, stdout %s", line, code, stdout)
		}
	}
	_, _, stderr := execute(t, append(strings.Fields("topic delete orders --yes"), args...)...)
	if !strings.Contains(stderr, "at least ") || !strings.Contains(stderr, "rdy: not counted: "+unreachable) {
		t.Errorf("stderr %q", stderr)
	}
}

func TestActionOnNothing(t *testing.T) {
	c := startCluster(t, 1)
	empty := fakeDaemon(t, map[string]string{"/nodes": `{"producers":[]}`})
	for _, tc := range []struct {
		line   string
		stderr string // a part
	}{
		{"topic pause nope --nsqd-http " + c.nsqds[0].HTTPAddr, "pause topic nope: not found on any nsqd"},
		{"topic pause nope --lookupd " + empty, "the nsqlookupds list no nsqd"},
		{"topic pause nope --lookupd " + unreachable, "refused"},
		{"channel delete nope c --yes --nsqd-http " + c.nsqds[0].HTTPAddr, "not found on any nsqd"},
		{"topic delete nope --yes --lookupd " + unreachable, "nothing deleted"},
		{"topic tombstone nope 127.0.0.1:2 --yes --lookupd " + empty, "do not list this nsqd; they list none"},
	} {
		code, stdout, stderr := execute(t, append(strings.Fields(tc.line), "--json")...)
		r := decode[actionResult](t, stdout)
		if code != exitFailure || len(r.Errors) == 0 || !strings.Contains(stderr, tc.stderr) {
			t.Errorf("%s: exit code %d, stdout %s, stderr %q", tc.line, code, stdout, stderr)
		}
	}
}

func TestTombstone(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 0, "orders", "billing", "1")
	c.publish(t, 1, "orders", "billing", "2")
	args := []string{"--lookupd", c.lookupds[0], "--json"}
	await(t, "registration of the topics", func() bool {
		_, stdout, _ := execute(t, append(args, "node", "list", "--jq", `[.lookupds[].registered[] | select(.topics == ["orders"])] | length`)...)
		return stdout == "2\n"
	})
	code, stdout, stderr := execute(t, append(args, "topic", "tombstone", "orders", c.nsqds[1].HTTPAddr, "--yes")...)
	r := decode[actionResult](t, stdout)
	want := []daemonResult{{"nsqlookupd", c.lookupds[0], resultDone}, {"nsqd", c.nsqds[1].HTTPAddr, resultDone}}
	if code != exitOK || !slices.Equal(r.Results, want) || !strings.Contains(stderr, "1 message on 1 nsqd will be lost") {
		t.Errorf("exit code %d, stdout %s, stderr %q", code, stdout, stderr)
	}
	_, stdout, _ = execute(t, append(args, "topic", "describe", "orders", "--jq", ".nsqds[].nsqd")...)
	if stdout != c.nsqds[0].HTTPAddr+"\n" {
		t.Errorf("the topic is on %q", stdout)
	}
}

// A proxy that responds 404 to anything is a failure, not the absence of a topic. Its page
// does not steer the terminal.
func TestActionOnWrongServer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"message":"\u001b[2J\u009b"}`)
	}))
	defer s.Close()
	code, stdout, stderr := execute(t, "topic", "pause", "t", "--nsqd-http", s.URL+"/nsq/")
	if code != exitFailure || stdout != "nsqd  "+s.URL+"/nsq  failed\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	expectOneLine(t, stderr)
	if strings.ContainsFunc(stderr, func(r rune) bool { return visible.Steers(r, "\n") }) {
		t.Errorf("stderr %q", stderr)
	}
}

// An action that is redirected has failed, whatever a GET of the new address gives.
func TestActionIsNotRedirected(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Redirect(w, r, "/", http.StatusFound)
		}
	}))
	defer s.Close()
	code, stdout, stderr := execute(t, "topic", "pause", "t", "--json", "--nsqd-http", s.URL)
	r := decode[actionResult](t, stdout)
	if code != exitFailure || len(r.Results) != 1 || r.Results[0].Result != resultFailed || len(r.Errors) != 1 || !strings.Contains(stderr, "HTTP status 302") {
		t.Errorf("exit code %d, stdout %s, stderr %q", code, stdout, stderr)
	}
}

func TestLosses(t *testing.T) {
	counts := admin.ChannelCounts{Depth: 1, InFlight: 2, Deferred: 3, ClientCount: 4}
	v := &admin.View{
		Lookupds: []admin.Lookupd{{Registered: []admin.Registration{{Broadcast: "a.example", HTTPPort: 4151}}}},
		NSQDs:    []admin.NSQD{{Addr: "127.0.0.1:4151", Broadcast: "a.example", HTTPPort: 4151}},
		Topics: []admin.Topic{{
			Name: "t", TopicCounts: admin.TopicCounts{Depth: 10},
			NSQDs:    []admin.TopicOn{{NSQD: "127.0.0.1:4151", TopicCounts: admin.TopicCounts{Depth: 10}}},
			Channels: []admin.Channel{{Name: "c", ChannelCounts: counts, NSQDs: []admin.ChannelOn{{NSQD: "127.0.0.1:4151", ChannelCounts: counts}}}},
		}},
	}
	for _, tc := range []struct {
		loses func(*admin.View, names) (loss, error)
		n     names
		want  loss
	}{
		{topicLoss, names{topic: "t"}, loss{16, 1, 4}},
		{topicDepthLoss, names{topic: "t"}, loss{10, 1, 0}},
		{channelLoss, names{topic: "t", channel: "c"}, loss{6, 1, 4}},
		{channelBacklogLoss, names{topic: "t", channel: "c"}, loss{6, 1, 0}},
		{tombstoneLoss, names{topic: "t", nsqd: "a.example:4151"}, loss{16, 1, 4}},
		{topicLoss, names{topic: "s"}, loss{}},
		{channelLoss, names{topic: "t", channel: "d"}, loss{}},
	} {
		if l, err := tc.loses(v, tc.n); l != tc.want || err != nil {
			t.Errorf("%v: got %+v, error %v", tc.n, l, err)
		}
	}
	for _, tc := range []struct {
		l       loss
		partial bool
		want    string
	}{
		{loss{1, 1, 1}, false, "1 message on 1 nsqd will be lost, and 1 client will lose its connection"},
		{loss{8412, 2, 4}, true, "at least 8,412 messages on 2 nsqds will be lost, and 4 clients will lose their connections"},
		{loss{}, false, "no nsqd has it"},
		{loss{}, true, "none of the nsqds that responded has it"},
	} {
		if got := tc.l.sentence(tc.partial); got != tc.want {
			t.Errorf("got %q", got)
		}
	}
}
