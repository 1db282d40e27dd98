package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nsqio/nsq/nsqd"
	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/broker"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/rdyhq/nsq/envelope"
)

const deadOf = "orders.billing.dead"

// sealed returns a dead letter of channel billing of topic orders.
func sealed(body, why string) string {
	return string(envelope.Seal(envelope.Header{
		nsq.HeaderOriginTopic: "orders", nsq.HeaderOriginChannel: "billing", nsq.HeaderOriginNSQD: "nsqd:4150",
		nsq.HeaderOriginID: "0123456789abcdef", nsq.HeaderOriginAttempts: "3", nsq.HeaderFailedHost: "h",
		nsq.HeaderOriginPublished: "2026-11-01T09:00:00Z", nsq.HeaderFailedAt: "2026-11-01T10:00:00Z", nsq.HeaderFailedError: why,
	}, []byte(body)))
}

// deadCluster is a cluster with the topic orders, with channel billing, on each nsqd.
func deadCluster(t *testing.T, nsqds int) *cluster {
	t.Helper()
	c := startCluster(t, nsqds)
	for i := range c.nsqds {
		c.publish(t, i, "orders", "billing")
	}
	return c
}

// dead runs a command under "rdy dead" on the cluster.
func (c *cluster) dead(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return execute(t, append(append([]string{"dead"}, args...), c.httpFlags()...)...)
}

// listed returns what "rdy dead list" prints of the letters of deadOf.
func (c *cluster) listed(t *testing.T) deadListResult {
	t.Helper()
	code, stdout, stderr := c.dead(t, "list", deadOf, "-n", "0", "--json")
	if code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	return decode[deadListResult](t, stdout)
}

// bodiesIn takes n messages from a channel of topic orders and returns their bodies, sorted.
func (c *cluster) bodiesIn(t *testing.T, channel string, n int) []string {
	t.Helper()
	args := append(c.flags(), "tail", "orders", "--channel", channel, "-n", fmt.Sprint(n), "--jq", ".body // (.body_base64 | @base64d)")
	_, stdout, _ := execute(t, args...)
	bodies := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	slices.Sort(bodies)
	return bodies
}

// depthOf returns how many messages a channel holds on all nsqds.
func (c *cluster) depthOf(t *testing.T, topic, channel string) (n int) {
	t.Helper()
	for _, node := range c.nsqds {
		one, err := depth(t.Context(), node.HTTPAddr, topic, channel)
		if err != nil {
			t.Fatal(err)
		}
		n += one
	}
	return n
}

const created = "rdy: creating channel rdy-dead of topic orders.billing.dead: from now on all letters wait there\n"

// A list shows the letters of all nsqds, and leaves them where they are. The first one says
// that it creates the channel.
func TestDeadList(t *testing.T) {
	c := deadCluster(t, 2)
	c.publish(t, 0, deadOf, "", sealed("one", "timeout"), "raw")
	c.publish(t, 1, deadOf, "", sealed("three", strings.Repeat("a very long error ", 10)))
	code, stdout, stderr := c.dead(t, "list", deadOf, "--json")
	r := decode[deadListResult](t, stdout)
	if code != exitOK || stderr != created || r.Topic != deadOf || r.Channel != "rdy-dead" || r.Waiting != 3 || len(r.Letters) != 3 || len(r.Errors) != 0 {
		t.Fatalf("exit code %d, stdout %s, stderr %q", code, stdout, stderr)
	}
	for _, l := range r.Letters {
		switch {
		case l.Raw:
			if l.Size != 3 || l.Origin != nil || l.Failed != nil || l.NSQD != c.nsqds[0].TCPAddr {
				t.Errorf("got %+v", l)
			}
		case l.Origin.Topic != "orders" || l.Origin.Channel != "billing" || l.Origin.Attempts != 3 || l.Failed.Host != "h" || l.Attempts != 1 ||
			l.Failed.At.Format("15:04") != "10:00" || l.Origin.Published.Format("15:04") != "09:00":
			t.Errorf("got %+v, %+v, %+v", l, l.Origin, l.Failed)
		}
	}
	code, stdout, stderr = c.dead(t, "list", deadOf)
	for _, want := range []string{
		"id                nsqd             failed ago  origin          attempts  size  error\n",
		"orders/billing  3         3     timeout\n",
		"a very long error a very long error a ver…\n",
		"–           (raw)           –         3     –\n",
		"\n3 of 3 letters in channel rdy-dead of topic orders.billing.dead\n",
	} {
		if code != exitOK || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, stderr %q, stdout lacks %q:\n%s", code, stderr, want, stdout)
		}
	}
	for _, l := range c.listed(t).Letters {
		if l.Attempts != 3 {
			t.Errorf("letter %s has %d attempts after three looks", l.ID, l.Attempts)
		}
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--error", "timeout"}, "1"},
		{[]string{"--origin", "orders"}, "2"},
		{[]string{"--origin", "orders/billing", "--error", "long"}, "1"},
		{[]string{"--origin", "orders/audit"}, "0"},
		{[]string{"--origin", "order"}, "0"},
		{[]string{"-n", "2"}, "2"},
		{[]string{"-n", "1", "--origin", "orders"}, "1"},
	} {
		_, stdout, stderr := c.dead(t, append([]string{"list", deadOf, "--jq", ".letters | length"}, tc.args...)...)
		if stdout != tc.want+"\n" || stderr != "" {
			t.Errorf("%v: got %q, stderr %q", tc.args, stdout, stderr)
		}
	}
	if n := c.depthOf(t, deadOf, "rdy-dead"); n != 3 {
		t.Errorf("%d letters are left", n)
	}
}

// Without a topic the topics of dead letters are listed, and no letter is touched.
func TestDeadTopics(t *testing.T) {
	c := deadCluster(t, 2)
	if _, stdout, _ := c.dead(t, "list"); stdout != "no topic has a name that ends in .dead\n" {
		t.Errorf("stdout %q", stdout)
	}
	c.publish(t, 0, deadOf, "", "a", "b")
	c.publish(t, 1, deadOf, "", "c")
	c.publish(t, 1, "t.c.dead", "replay")
	const want = "topic                channel  letters  in flight  deferred  clients\n" +
		"orders.billing.dead  –              3          –         –        –\n" +
		"t.c.dead             replay         0          0         0        0\n"
	code, stdout, stderr := c.dead(t, "list")
	if code != exitOK || stdout != want || stderr != "" {
		t.Errorf("exit code %d, stderr %q, stdout\n%s", code, stderr, stdout)
	}
	if _, stdout, _ = c.dead(t, "list", "--jq", ".topics[].topic"); stdout != deadOf+"\nt.c.dead\n" {
		t.Errorf("stdout %q", stdout)
	}
	code, _, _ = execute(t, "dead", "list", "--nsqd-http", unreachable)
	if code != exitFailure {
		t.Errorf("exit code %d", code)
	}
}

// Which channel has the letters is clear, or the user says it.
func TestDeadChannel(t *testing.T) {
	c := deadCluster(t, 1)
	c.publish(t, 0, deadOf, "replay", sealed("one", "x"))
	code, _, stderr := c.dead(t, "list", deadOf)
	if code != exitFailure || stderr != "rdy: the letters of topic orders.billing.dead are in the channel replay: name one with --channel\n" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	code, stdout, stderr := c.dead(t, "list", deadOf, "--channel", "replay", "--jq", ".waiting")
	if code != exitOK || stdout != "1\n" || stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	post(t, c.nsqds[0].HTTPAddr, "/channel/pause?topic="+deadOf+"&channel=replay", "")
	code, _, stderr = c.dead(t, "list", deadOf, "--channel", "replay")
	if code != exitFailure || !strings.Contains(stderr, "rdy channel unpause orders.billing.dead replay") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	code, _, stderr = c.dead(t, "list", deadOf, "--channel", "reply")
	if code != exitFailure || !strings.Contains(stderr, "are in the channel replay: name one") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	code, stdout, stderr = c.dead(t, "list", "nothing.dead")
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "topic nothing.dead not found") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// nsqd deletes an ephemeral channel when its last client leaves, and the letters in it. So no
// command takes letters into one.
func TestDeadEphemeralChannel(t *testing.T) {
	c := deadCluster(t, 1)
	c.publish(t, 0, deadOf, "", sealed("one", "x"))
	code, _, stderr := c.dead(t, "list", deadOf, "--channel", "look#ephemeral")
	if code != exitUsage || !strings.Contains(stderr, "--channel look#ephemeral: ") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if n := c.listed(t).Waiting; n != 1 {
		t.Errorf("%d letters are left", n)
	}
}

// A command that finds no letters prints JSON with the reason nonetheless: what reads it gets no
// empty input.
func TestDeadJSONOfFailures(t *testing.T) {
	c := deadCluster(t, 1)
	for _, args := range [][]string{
		{"list", "nothing.dead"}, {"replay", "nothing.dead", "--all"}, {"drop", "nothing.dead", "--all", "--yes"},
	} {
		code, stdout, stderr := c.dead(t, append(args, "--json")...)
		var r struct {
			Topic  string      `json:"topic"`
			Errors []nodeError `json:"errors"`
		}
		if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitFailure || r.Topic != "nothing.dead" || len(r.Errors) != 1 {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q, error %v", args, code, stdout, stderr, err)
		}
		expectOneLine(t, stderr)
	}
}

// What a letter holds cannot steer the terminal, and --raw prints it byte for byte.
func TestDeadShow(t *testing.T) {
	c := deadCluster(t, 1)
	const hostile = "\x1b[2Jline\n\tbad \xff\x00 \u202e end"
	c.publish(t, 0, deadOf, "", sealed(hostile, "\x1b]0;title\x07\nrdy: all is well"), sealed("plain", "x"))
	var ids []string
	for _, l := range c.listed(t).Letters {
		ids = append(ids, l.ID)
	}
	code, stdout, stderr := c.dead(t, "show", deadOf, ids[0])
	if code != exitOK || stderr != "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	for _, want := range []string{
		"id           " + ids[0] + "\n", "origin       orders/billing\n", "delivered    3 times\n", "published    2026-11-01T09:00:00Z\n",
		`error        \x1b]0;title\x07\nrdy: all is well` + "\n", "\n\n" + `\x1b[2Jline` + "\n\t" + `bad \xff\x00 \u202e end` + "\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("lacks %q:\n%s", want, stdout)
		}
	}
	if _, stdout, _ = c.dead(t, "show", deadOf, ids[0], "--raw"); stdout != hostile {
		t.Errorf("got %q", stdout)
	}
	_, stdout, _ = c.dead(t, "show", deadOf, ids[0]+"@"+c.nsqds[0].TCPAddr, "--json")
	if r := decode[deadShowResult](t, stdout); string(r.BodyBase64) != hostile || r.Body != "" || r.ID != ids[0] {
		t.Errorf("got %+v", r)
	}
	if _, stdout, _ = c.dead(t, "show", deadOf, ids[1], "--jq", ".body"); stdout != "plain\n" {
		t.Errorf("got %q", stdout)
	}
	code, stdout, stderr = c.dead(t, "show", deadOf, "ffffffffffffffff")
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "no letter has the id ffffffffffffffff") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if n := c.depthOf(t, deadOf, "rdy-dead"); n != 2 {
		t.Errorf("%d letters are left", n)
	}
}

// Replay publishes the bodies as they were, and removes the letters.
func TestDeadReplay(t *testing.T) {
	c := deadCluster(t, 2)
	var bodies []string
	for i := range 250 {
		bodies = append(bodies, fmt.Sprintf("message %03d", i))
		c.publish(t, i%2, deadOf, "", sealed(bodies[i], fmt.Sprintf("error %d", i%5)))
	}
	code, stdout, stderr := c.dead(t, "replay", deadOf, "--all", "--error", "error 3", "--json")
	r := decode[deadReplayResult](t, stdout)
	if code != exitOK || stderr != created || r.Replayed != 50 || r.Left+r.Failed+r.Unknown+r.Doubtful != 0 {
		t.Fatalf("exit code %d, stdout %s, stderr %q", code, stdout, stderr)
	}
	letters := c.listed(t).Letters
	if len(letters) != 200 || slices.ContainsFunc(letters, func(l deadLetter) bool { return l.Failed.Error == "error 3" }) {
		t.Errorf("%d letters are left", len(letters))
	}
	code, stdout, _ = c.dead(t, "replay", deadOf, letters[0].ID, letters[199].ID, letters[0].ID)
	if code != exitOK || stdout != "replayed  2\nleft      0\nfailed    0\nunknown   0\ndoubtful  0\n" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	code, stdout, stderr = c.dead(t, "replay", deadOf, "--all", "--jq", ".replayed")
	if code != exitOK || stdout != "198\n" || stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if n := c.depthOf(t, deadOf, "rdy-dead"); n != 0 {
		t.Errorf("%d letters are left", n)
	}
	if got := c.bodiesIn(t, "billing", 250); !slices.Equal(got, bodies) {
		t.Errorf("got %d messages: %q", len(got), got)
	}
}

// A letter is not replayed to channels that have handled its message, unless the user says so.
func TestDeadReplayChannels(t *testing.T) {
	c := deadCluster(t, 1)
	c.publish(t, 0, deadOf, "", sealed("body", "x"), "raw")
	replay := func(want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := c.dead(t, append([]string{"replay", deadOf, "--all", "--json"}, args...)...)
		r := decode[deadReplayResult](t, stdout)
		if (code == exitOK) != (r.Failed == 0) || r.Replayed != want {
			t.Errorf("%v: exit code %d, stdout %s, stderr %q", args, code, stdout, stderr)
		}
		return stderr
	}
	post(t, c.nsqds[0].HTTPAddr, "/channel/create?topic=orders&channel=audit", "")
	for _, want := range []string{"topic orders has the channels audit, billing: each of them gets a message; --all-channels replays anyway", "the letter is raw"} {
		if stderr := replay(0); !strings.Contains(stderr, want) {
			t.Errorf("stderr %q lacks %q", stderr, want)
		}
	}
	post(t, c.nsqds[0].HTTPAddr, "/channel/delete?topic=orders&channel=billing", "")
	if stderr := replay(0); !strings.Contains(stderr, "topic orders has only the channel audit, and the letter comes from billing") {
		t.Errorf("stderr %q", stderr)
	}
	if stderr := replay(1, "--all-channels"); !strings.Contains(stderr, "topic orders has only the channel audit") {
		t.Errorf("stderr %q", stderr)
	}
	replay(1, "--to", "again")
	if n := c.depthOf(t, "again", ""); n != 1 {
		t.Errorf("%d messages in the other topic", n)
	}
	if got := c.bodiesIn(t, "audit", 1); got[0] != "body" {
		t.Errorf("got %q", got)
	}
}

// A letter does not go where nsqd would drop it, even with --all-channels.
func TestDeadReplayToEphemeral(t *testing.T) {
	c := deadCluster(t, 1)
	c.publish(t, 0, deadOf, "", string(envelope.Seal(envelope.Header{nsq.HeaderOriginTopic: "gone#ephemeral", nsq.HeaderOriginChannel: "billing"}, []byte("body"))))
	code, stdout, stderr := c.dead(t, "replay", deadOf, "--all", "--all-channels", "--json")
	if r := decode[deadReplayResult](t, stdout); code != exitFailure || r.Failed != 1 || !strings.Contains(stderr, "topic gone#ephemeral has no channel, and nsqd drops") {
		t.Errorf("exit code %d, stdout %s, stderr %q", code, stdout, stderr)
	}
	if n := len(c.listed(t).Letters); n != 1 {
		t.Errorf("%d letters are left", n)
	}
}

// --max-retries counts in the message's own envelope, and leaves what it cannot count.
func TestDeadReplayMaxRetries(t *testing.T) {
	c := deadCluster(t, 1)
	inner := string(envelope.Seal(envelope.Header{"traceparent": "x"}, []byte("inner")))
	c.publish(t, 0, deadOf, "", sealed(inner, "x"), sealed("plain", "x"))
	for round, want := range []string{"1 1\n", "1 1\n", "0 2\n"} {
		await(t, "both letters", func() bool { return c.depthOf(t, deadOf, "rdy-dead") == 2 })
		_, stdout, _ := c.dead(t, "replay", deadOf, "--all", "--max-retries", "2", "--jq", `"\(.replayed) \(.left)"`)
		if stdout != want {
			t.Fatalf("round %d: got %q, want %q", round, stdout, want)
		}
		if round == 2 {
			break
		}
		_, stdout, _ = execute(t, append(c.flags(), "tail", "orders", "--channel", "billing", "-n", "1", "--jq", ".body")...)
		body := strings.TrimSuffix(stdout, "\n")
		h, got, ok := envelope.Open([]byte(body))
		if !ok || h.Get("retries") != fmt.Sprint(round+1) || h.Get("traceparent") != "x" || string(got) != "inner" {
			t.Fatalf("round %d: got %q", round, body)
		}
		c.publish(t, 0, deadOf, "", sealed(body, "again"))
	}
}

// Only the letters that are chosen are dropped.
func TestDeadDrop(t *testing.T) {
	c := deadCluster(t, 2)
	for i := range 20 {
		c.publish(t, i%2, deadOf, "", sealed(fmt.Sprint(i), fmt.Sprintf("error %d", i%4)))
	}
	all := c.listed(t).Letters
	code, stdout, stderr := c.dead(t, "drop", deadOf, all[0].ID, all[19].ID, "--yes")
	if code != exitOK || stdout != "dropped  2\n" ||
		stderr != fmt.Sprintf("rdy: drop dead letters of topic %s: 2 letters will be lost: %s, %s\n", deadOf, all[0].ID, all[19].ID) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	code, _, stderr = c.dead(t, "drop", deadOf, all[1].ID, all[0].ID, "--yes")
	if code != exitFailure || !strings.Contains(stderr, "no letter has the id "+all[0].ID) || len(c.listed(t).Letters) != 18 {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	code, stdout, stderr = c.dead(t, "drop", deadOf, "--all", "--error", "error 1", "--yes", "--json")
	if r := decode[deadDropResult](t, stdout); code != exitOK || r.Dropped != 5 || !strings.Contains(stderr, "of 18 letters, those that the filters choose will be lost") {
		t.Errorf("exit code %d, stdout %s, stderr %q", code, stdout, stderr)
	}
	for _, l := range c.listed(t).Letters {
		if l.Failed.Error == "error 1" {
			t.Errorf("%+v is left", l)
		}
	}
	code, _, stderr = c.dead(t, "drop", deadOf, "--all", "--yes")
	if code != exitOK || !strings.Contains(stderr, "13 letters will be lost\n") || c.depthOf(t, deadOf, "rdy-dead") != 0 {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

// If rdy is killed during a replay, each message is published or still a letter.
func TestDeadReplayKilled(t *testing.T) {
	c := deadCluster(t, 1)
	const n = 300
	for i := range n {
		c.publish(t, 0, deadOf, "", sealed(fmt.Sprintf("%03d", i), "x"))
	}
	out, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	p := launch(t, out, append(c.httpFlags(), "dead", "replay", deadOf, "--all", "--rate", "100", "--set", "msg_timeout,1s")...)
	await(t, "half of the messages", func() bool { return c.depthOf(t, "orders", "billing") >= n/2 })
	_ = p.Process.Kill()
	_ = p.Wait()
	replayed := c.depthOf(t, "orders", "billing")
	if left := c.depthOf(t, deadOf, "rdy-dead"); left == 0 || left+replayed < n || left+replayed > n+1 {
		t.Errorf("%d messages replayed, %d letters left", replayed, left)
	}
	seen := make(map[string]bool)
	for _, body := range c.bodiesIn(t, "billing", replayed) {
		seen[body] = true
	}
	await(t, "the ends of the leases", func() bool {
		_, stdout, _ := execute(t, append(c.httpFlags(), "channel", "describe", deadOf, "rdy-dead", "--jq", ".in_flight")...)
		return stdout == "0\n"
	})
	_, stdout, _ := c.dead(t, "replay", deadOf, "--all", "--jq", ".replayed")
	var left int
	if _, err := fmt.Sscan(stdout, &left); err != nil {
		t.Fatal(err)
	}
	for _, body := range c.bodiesIn(t, "billing", left) {
		seen[body] = true
	}
	if len(seen) != n {
		t.Errorf("%d different messages of %d", len(seen), n)
	}
}

func TestDeadBase64(t *testing.T) {
	c := deadCluster(t, 1)
	binary := "\xff\x00\n"
	c.publish(t, 0, deadOf, "", sealed(binary, "x"))
	if code, _, stderr := c.dead(t, "replay", deadOf, "--all"); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	_, stdout, _ := execute(t, append(c.flags(), "tail", "orders", "--channel", "billing", "-n", "1", "--jq", ".body_base64")...)
	if want := base64.StdEncoding.EncodeToString([]byte(binary)) + "\n"; stdout != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
}

// The address for clients is the one that is broadcast, unless the user has named the nsqd.
func TestDeadAddr(t *testing.T) {
	for _, tc := range []struct {
		n     admin.NSQD
		named []string
		want  string
	}{
		{admin.NSQD{Addr: "a:4151", Broadcast: "b", TCPPort: 4150}, nil, "b:4150"},
		{admin.NSQD{Addr: "a:4151", Broadcast: "b", TCPPort: 4150}, []string{"a:4151"}, "a:4150"},
		{admin.NSQD{Addr: "https://a:443/nsq", Broadcast: "b", TCPPort: 4150}, []string{"https://a:443/nsq"}, "a:4150"},
		{admin.NSQD{Addr: "[::1]:4151", Broadcast: "b", TCPPort: 4150}, []string{"[::1]:4151"}, "[::1]:4150"},
		{admin.NSQD{Addr: "a:4151", Broadcast: "b", TCPPort: -1}, []string{"a:4151"}, ""},
	} {
		if got := letters.ClientAddr(tc.n, tc.named); got != tc.want {
			t.Errorf("%+v: got %q, want %q", tc.n, got, tc.want)
		}
	}
}

// nsqd takes messages from memory and from disk as they come. Yet each of more letters than
// can be held is read once, and none is lost.
func TestDeadListFromDisk(t *testing.T) {
	const n = 2300
	b, err := broker.Start(t.Context(), broker.Options{Configure: func(_ int, o *nsqd.Options) { o.MemQueueSize, o.MaxRdyCount = 100, 500 }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	}()
	c := &cluster{nsqds: b.NSQDs()}
	var lines []string
	for i := range n {
		lines = append(lines, strconv.Itoa(i))
	}
	if code, _, stderr := executeWith(t, strings.Join(lines, "\n"), append(c.flags(), "pub", deadOf, "-q")...); code != exitOK {
		t.Fatal(stderr)
	}
	r := c.listed(t)
	ids := make(map[string]bool)
	for _, l := range r.Letters {
		ids[l.ID] = true
	}
	if len(ids) != n || len(r.Letters) != n || r.Waiting != n {
		t.Errorf("%d different letters, %d in all, %d waiting", len(ids), len(r.Letters), r.Waiting)
	}
	code, stdout, stderr := c.dead(t, "drop", deadOf, "--all", "--yes")
	if code != exitOK || stdout != fmt.Sprintf("dropped  %d\n", n) || c.depthOf(t, deadOf, "rdy-dead") != 0 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}
