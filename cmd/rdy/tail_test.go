package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// numbered returns n different bodies.
func numbered(prefix string, n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("%s%03d", prefix, i)
	}
	return bodies
}

// takesFrom is what tail tells the user of a channel that has other consumers.
func takesFrom(channel string, inFlight int) string {
	return fmt.Sprintf("rdy: what is printed here is finished: other consumers of channel %s never get it; tail holds at most %s\n",
		channel, figures.Things(inFlight, "message"))
}

// With -n, tail finishes exactly the messages that it printed. All others are back
// at nsqd when it ends, however many it had fetched.
func TestTailCount(t *testing.T) {
	const each = 60
	for _, n := range []int{1, 2, 7, 50, 2*each - 1, 2 * each} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := startCluster(t, 2)
			var published []string
			for i := range c.nsqds {
				bodies := numbered(fmt.Sprintf("nsqd%d-", i), each)
				c.publish(t, i, "count", "ch", bodies...)
				published = append(published, bodies...)
			}
			args := append([]string{"tail", "count", "--channel", "ch", "-n", fmt.Sprint(n)}, c.flags()...)
			code, stdout, stderr := execute(t, args...)
			if code != exitOK || stderr != takesFrom("ch", 1) {
				t.Errorf("exit code %d, stderr %q", code, stderr)
			}
			lines := strings.Fields(stdout)
			for _, line := range lines {
				if !slices.Contains(published, line) {
					t.Errorf("line %q is not a message", line)
				}
			}
			slices.Sort(lines)
			if distinct := len(slices.Compact(lines)); distinct != n || strings.Count(stdout, "\n") != n {
				t.Errorf("got %d different messages in %d lines, want %d", distinct, strings.Count(stdout, "\n"), n)
			}
			want := channelStats{Depth: 2*each - n, Messages: 2 * each}
			if got := c.stats(t, "count"); got != want {
				t.Errorf("nsqd has %+v, want %+v", got, want)
			}
		})
	}
}

// With -n below the number of nsqds, tail finds a message at whichever nsqd has
// it.
func TestTailCountBelowNSQDs(t *testing.T) {
	c := startCluster(t, 3)
	c.publish(t, 2, "few", "ch", "m", "m")
	code, stdout, stderr := execute(t, append(c.flags(), "tail", "few", "--channel", "ch", "-n", "1")...)
	if code != exitOK || stdout != "m\n" || stderr != takesFrom("ch", 1) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if got, want := c.stats(t, "few"), (channelStats{Depth: 1, Messages: 2}); got != want {
		t.Errorf("nsqd has %+v, want %+v", got, want)
	}
}

// The next reader gets what was not printed.
func TestTailGivesBackAtOnce(t *testing.T) {
	c := startCluster(t, 1)
	published := numbered("m", 20)
	c.publish(t, 0, "next", "ch", published...)
	args := append(c.flags(), "tail", "next", "--channel", "ch", "-n")
	_, first, _ := execute(t, append(args, "5")...)
	_, second, _ := execute(t, append(args, "15")...)
	read := strings.Fields(first + second)
	slices.Sort(read)
	if !slices.Equal(read, published) {
		t.Errorf("got %v", read)
	}
}

func TestTailJSON(t *testing.T) {
	c := startCluster(t, 1)
	before := time.Now()
	c.publish(t, 0, "json", "ch", "<text> & \"more\"\nsecond line", "\xff\x00binary")
	args := append(c.flags(), "tail", "json", "--channel", "ch", "-n", "2", "--json")
	code, stdout, stderr := execute(t, args...)
	if code != exitOK || strings.Count(stdout, "\n") != 2 {
		t.Fatalf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	got := make(map[string]map[string]any)
	for line := range strings.Lines(stdout) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		id, _ := m["id"].(string)
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(m["timestamp"]))
		if len(id) != 16 || err != nil || at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("id %q, timestamp %v", id, m["timestamp"])
		}
		if m["attempts"] != 1.0 || m["nsqd"] != c.nsqds[0].TCPAddr || m["topic"] != "json" || len(m) != 6 {
			t.Errorf("got %v", m)
		}
		got[fmt.Sprint(m["body"], m["body_base64"])] = m
	}
	for _, want := range []string{"<text> & \"more\"\nsecond line<nil>", "<nil>/wBiaW5hcnk="} {
		if got[want] == nil {
			t.Errorf("no message with body and body_base64 %q in %s", want, stdout)
		}
	}
}

// tail does not give up on a message, however many attempts it had.
func TestTailPrintsWhateverTheAttempts(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "attempts", "ch", "m")
	args := append(c.flags(), "tail", "attempts", "--channel", "ch", "-n", "1")
	const failures = 7
	for range failures {
		if code := run(t.Context(), args, nil, brokenWriter{}, t.Output()); code != exitFailure {
			t.Fatalf("exit code %d", code)
		}
	}
	_, stdout, _ := execute(t, append(args, "--json")...)
	if want := fmt.Sprintf(`"attempts":%d,`, failures+1); !strings.Contains(stdout, want) {
		t.Errorf("stdout %q does not contain %s", stdout, want)
	}
}

func TestTailInterrupted(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "interrupt", "ch", "one", "two")
	p := start(t, append(c.flags(), "tail", "interrupt", "--channel", "ch")...)
	p.stdout.await(t, "two\n")
	c.publish(t, 0, "interrupt", "", "three")
	p.stdout.await(t, "three\n")
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK || p.stderr.String() != takesFrom("ch", 1) {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
	if got, want := c.stats(t, "interrupt"), (channelStats{Messages: 3}); got != want {
		t.Errorf("nsqd has %+v, want %+v", got, want)
	}
}

// The default channel is ephemeral and disappears when tail ends.
func TestTailDefaultChannel(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "fresh", "")
	p := start(t, append(c.flags(), "tail", "fresh", "-n", "1")...)
	await(t, "channel", func() bool { return strings.Contains(channels(t, c), "#ephemeral") })
	c.publish(t, 0, "fresh", "", "m")
	if code := p.wait(t); code != exitOK || p.stdout.String() != "m\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
	}
	await(t, "end of the channel", func() bool { return !strings.Contains(channels(t, c), "#ephemeral") })
}

func channels(t *testing.T, c *cluster) string {
	t.Helper()
	resp, err := statsClient.Get("http://" + c.nsqds[0].HTTPAddr + "/stats?format=text&include_mem=false")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var text strings.Builder
	if err := resp.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// When the reader of the pipe exits, messages that it has not read go back to
// nsqd. A body is larger than a pipe, so none was written whole.
func TestTailBrokenPipe(t *testing.T) {
	c := startCluster(t, 2)
	for i := range c.nsqds {
		c.publish(t, i, "pipe", "ch", slices.Repeat([]string{strings.Repeat("x", 1<<20)}, 3)...)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := launch(t, write, append(c.flags(), "tail", "pipe", "--channel", "ch")...)
	_ = write.Close() // the process has its own copy
	if _, err := read.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = read.Close()
	if code := p.wait(t); code != exitOK || p.stderr.String() != takesFrom("ch", 1) {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
	if got, want := c.stats(t, "pipe"), (channelStats{Depth: 6, Messages: 6}); got != want {
		t.Errorf("nsqd has %+v, want %+v", got, want)
	}
}

// brokenWriter fails every write, and not with EPIPE.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestTailCannotPrint(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "full", "ch", "m")
	var stderr output
	code := run(t.Context(), append(c.flags(), "tail", "full", "--channel", "ch"), nil, brokenWriter{}, &stderr)
	if code != exitFailure || !strings.Contains(stderr.String(), "standard output") {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
	expectOneLine(t, strings.TrimPrefix(stderr.String(), takesFrom("ch", 1)))
	if got, want := c.stats(t, "full"), (channelStats{Depth: 1, Messages: 1}); got != want {
		t.Errorf("nsqd has %+v, want %+v", got, want)
	}
}

// unreachable is an address on which nothing listens.
const unreachable = "127.0.0.1:1"

func TestTailUnreachable(t *testing.T) {
	code, stdout, stderr := execute(t, "tail", "t", "--nsqd", unreachable, "--nsqd", "127.0.0.1:2")
	if code != exitFailure || stdout != "" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	expectOneLine(t, stderr)
	for _, part := range []string{unreachable, "127.0.0.1:2", "refused"} {
		if !strings.Contains(stderr, part) {
			t.Errorf("stderr %q does not contain %q", stderr, part)
		}
	}
}

func TestTailPartlyReachable(t *testing.T) {
	c := startCluster(t, 1)
	p := start(t, append(c.flags(), "tail", "partly", "--nsqd", unreachable, "--channel", "ch", "-n", "1")...)
	p.stderr.await(t, "rdy: still trying: ["+unreachable+"]")
	c.publish(t, 0, "partly", "", "m")
	if code := p.wait(t); code != exitOK || p.stdout.String() != "m\n" {
		t.Errorf("exit code %d, stdout %q", code, p.stdout.String())
	}
}

// tail finds nsqds through an nsqlookupd, and waits while no nsqd has the topic.
func TestTailLookupd(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 0, "listed", "ch", "one", "two")
	c.publish(t, 1, "listed", "ch", "three")
	args := []string{"tail", "listed", "--lookupd", c.lookupds[0], "--channel", "ch", "-n", "3"}
	code, stdout, stderr := execute(t, args...)
	lines := strings.Fields(stdout)
	slices.Sort(lines)
	// A warning may follow: tail holds one message at a time, which is less than one for each nsqd.
	if code != exitOK || !strings.HasPrefix(stderr, takesFrom("ch", 1)) || !slices.Equal(lines, []string{"one", "three", "two"}) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if got, want := c.stats(t, "listed"), (channelStats{Messages: 3}); got != want {
		t.Errorf("nsqd has %+v, want %+v", got, want)
	}
}

// While tail has no nsqd it says why, and never that no nsqd has the topic when it
// cannot know that.
func TestTailLookupdSaysWhatIsTrue(t *testing.T) {
	c := startCluster(t, 1)
	const no = "rdy: nsqlookupd " + unreachable + " does not respond, still asking: "
	for _, tc := range []struct {
		name     string
		lookupds []string
		want     []string // parts of the lines, in order
	}{
		{"no topic", c.lookupds, []string{"rdy: no nsqd has the topic later yet; waiting"}},
		{"one dead", []string{c.lookupds[0], unreachable}, []string{no, "rdy: no nsqlookupd that responds knows an nsqd with the topic later yet; waiting"}},
		{"all dead", []string{unreachable}, []string{no}},
		{"an nsqd", []string{c.nsqds[0].HTTPAddr}, []string{"rdy: nsqlookupd " + c.nsqds[0].HTTPAddr + " does not respond, still asking: HTTP status 404"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := []string{"tail", "later"}
			for _, addr := range tc.lookupds {
				args = append(args, "--lookupd", addr)
			}
			p := start(t, args...)
			p.stderr.await(t, tc.want[len(tc.want)-1])
			p.interrupt(errInterrupted)
			if code := p.wait(t); code != exitOK {
				t.Errorf("exit code %d", code)
			}
			lines := strings.Split(strings.TrimSuffix(p.stderr.String(), "\n"), "\n")
			if !slices.EqualFunc(lines, tc.want, strings.Contains) {
				t.Errorf("stderr %q, want %q", lines, tc.want)
			}
		})
	}
}

// An nsqlookupd that responds at last is reported, and so is an nsqd that it lists and
// that cannot be reached.
func TestTailLookupdRecovers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	polls := 0
	lookupd := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/lookup" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if polls++; polls == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(`{"producers":[{"broadcast_address":"127.0.0.1","tcp_port":1}]}`))
	}))
	lookupd.Listener = l
	lookupd.Start()
	defer lookupd.Close()
	addr := l.Addr().String()
	args := []string{"tail", "t", "--lookupd", addr, "--set", "lookupd_poll_interval,10ms"}
	p := start(t, args...)
	p.stderr.await(t, "rdy: nsqlookupd "+addr+" does not respond, still asking: HTTP status 502")
	p.stderr.await(t, "rdy: nsqlookupd "+addr+" responds now\n")
	p.interrupt(errInterrupted)
	p.wait(t)

	p = start(t, args...)
	p.stderr.await(t, "rdy: still trying: ["+unreachable+"]")
	p.interrupt(errInterrupted)
	if p.wait(t); strings.Contains(p.stderr.String(), "has the topic") {
		t.Errorf("stderr %q", p.stderr.String())
	}
}

// --jq shapes each message. What it drops is finished, and does not count for -n.
func TestTailShaped(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "shaped", "ch", `{"id":1}`, "no JSON", `{"id":"two\u001b"}`, `{"id":3}`)
	args := append(c.flags(), "tail", "shaped", "--channel", "ch", "--jq", ".body | fromjson? | .id", "-n", "2")
	code, stdout, stderr := execute(t, args...)
	if code != exitOK || stdout != "1\ntwo\x1b\n" || stderr != takesFrom("ch", 1) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if got, want := c.stats(t, "shaped"), (channelStats{Depth: 1, Messages: 4}); got != want {
		t.Errorf("nsqd has %+v, want %+v", got, want)
	}
}

// A message at which --jq fails ends tail, and goes back to nsqd.
func TestTailCannotShape(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "unshaped", "ch", "no JSON")
	code, stdout, stderr := execute(t, append(c.flags(), "tail", "unshaped", "--channel", "ch", "--jq", ".body | fromjson")...)
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "rdy: message ") || !strings.Contains(stderr, "fromjson") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if got, want := c.stats(t, "unshaped"), (channelStats{Depth: 1, Messages: 1}); got != want {
		t.Errorf("nsqd has %+v, want %+v", got, want)
	}
}

// Several topics are printed together. Each line is whole, and says its topic.
func TestTailTopics(t *testing.T) {
	c := startCluster(t, 2)
	const each = 40
	want := make(map[string]bool)
	for i, topic := range []string{"a", "b", "c"} {
		var bodies []string
		for j := range each {
			body := strings.Repeat(fmt.Sprint(j), 1000)
			bodies = append(bodies, body)
			want[topic+" | "+body] = true
		}
		c.publish(t, i%2, topic, "ch", bodies...)
	}
	args := append(c.flags(), "tail", "a", "b", "c", "--channel", "ch", "-n")
	code, stdout, stderr := execute(t, append(args, fmt.Sprint(3*each-10))...)
	if code != exitOK || stderr != takesFrom("ch", 1) {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if n := strings.Count(stdout, "\n"); n != 3*each-10 {
		t.Errorf("%d lines", n)
	}
	for line := range strings.Lines(stdout) {
		if line = strings.TrimSuffix(line, "\n"); !want[line] {
			t.Errorf("line %.30q is not expected, or came twice", line)
		}
		delete(want, line)
	}
	left := channelStats{}
	for _, topic := range []string{"a", "b", "c"} {
		s := c.stats(t, topic)
		left.Depth, left.InFlight = left.Depth+s.Depth, left.InFlight+s.InFlight
	}
	if left != (channelStats{Depth: 10}) {
		t.Errorf("nsqd has %+v, want 10 messages and none in flight", left)
	}
	_, stdout, _ = execute(t, append(args, "10", "--jq", `.topic + " | " + .body`)...)
	for line := range strings.Lines(stdout) {
		delete(want, strings.TrimSuffix(line, "\n"))
	}
	if len(want) != 0 {
		t.Errorf("%d messages were not printed", len(want))
	}
}

// The topic is printed for one topic only if asked for, and for several unless it is not.
func TestTailPrintTopic(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "one", "ch", "x", "y")
	c.publish(t, 0, "two", "ch", "z")
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"one"}, "x\n"},
		{[]string{"one", "--print-topic"}, "one | y\n"},
		{[]string{"one", "two", "--print-topic=false"}, "z\n"},
	} {
		_, stdout, _ := execute(t, append(append(c.flags(), "tail", "--channel", "ch", "-n", "1"), tc.args...)...)
		if stdout != tc.want {
			t.Errorf("%v: got %q, want %q", tc.args, stdout, tc.want)
		}
	}
}

// What is wrong with an address is told once for all topics.
func TestTailTopicsTellOnce(t *testing.T) {
	c := startCluster(t, 1)
	p := start(t, append(c.flags(), "tail", "a", "b", "c", "--nsqd", unreachable, "--lookupd", unreachable)...)
	await(t, "channels", func() bool { return strings.Count(channels(t, c), "#ephemeral") == 3 })
	p.stderr.await(t, "does not respond")
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK || strings.Count(p.stderr.String(), "still trying") != 1 || strings.Count(p.stderr.String(), "does not respond") != 1 {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
}

// splits reports whether a delimiter after a body is the first one there.
func splits(body, delimiter string) bool {
	return strings.Index(body+delimiter, delimiter) == len(body)
}

// What tail prints, pub reads: byte for byte, with the same delimiter, unless that occurs in
// a message. Then tail says so.
func FuzzTailIntoPub(f *testing.F) {
	f.Add("a", "b", "\n")
	f.Add("a\nb", "\x00\xff", "\x00\x00")
	f.Add("xa", "y", "aa")
	f.Add("line\r", "line\n", "\r\n")
	f.Add("\x1b[0m", "\u202e", "\x1e\n")
	f.Fuzz(func(t *testing.T, first, second, delimiter string) {
		if first == "" || second == "" || delimiter == "" {
			return // nsqd accepts no empty messages, the flag no empty delimiter
		}
		var flag delimiterFlag
		var quoted strings.Builder
		for _, b := range []byte(delimiter) {
			fmt.Fprintf(&quoted, `\x%02x`, b)
		}
		if err := flag.Set(quoted.String()); err != nil || string(flag) != delimiter {
			t.Fatalf("delimiter %q, error %v", flag, err)
		}
		var stdout, stderr output
		p := &printer{app: &app{stdout: &stdout, stderr: &stderr}, delimiter: flag, exact: true, turn: make(chan struct{}, 1)}
		for _, body := range []string{first, second} {
			if err := p.HandleMessage(nsq.NewMessage(nsq.MessageID{}, []byte(body))); err != nil {
				t.Fatal(err)
			}
		}
		whole := splits(first, delimiter) && splits(second, delimiter)
		if told := stderr.String() != ""; told == whole {
			t.Errorf("stderr %q", stderr.String())
		}
		if !whole {
			return
		}
		want := []string{fmt.Sprintf("%q", first), fmt.Sprintf("%q", second)}
		if got := splitAll(t, strings.NewReader(stdout.String()), delimiter, maxSize); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// The same through real nsqds: any bytes, with a delimiter that they do not contain.
func TestTailIntoPub(t *testing.T) {
	c := startCluster(t, 2)
	bodies := []string{"plain", "\x00", "\n", "a\nb\r\n", "\xff\xfe", "\x1b[2J", strings.Repeat("x", 1<<20)}
	c.publish(t, 0, "from", "ch", bodies...)
	const delimiter = `\x1e\n\0`
	code, stdout, stderr := execute(t, append(c.flags(), "tail", "from", "--channel", "ch", "-n", fmt.Sprint(len(bodies)), "--delimiter", delimiter)...)
	if code != exitOK || stderr != takesFrom("ch", 1) {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if code, _, stderr = executeWith(t, stdout, "pub", "to", "--nsqd", c.nsqds[1].TCPAddr, "--delimiter", delimiter, "-q"); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	c.publish(t, 1, "to", "ch")
	_, stdout, _ = execute(t, "tail", "to", "--nsqd", c.nsqds[1].TCPAddr, "--channel", "ch", "-n", fmt.Sprint(len(bodies)), "--json")
	var got []string
	for line := range strings.Lines(stdout) {
		l := decode[tailLine](t, line)
		got = append(got, l.Body+string(l.BodyBase64))
	}
	slices.Sort(got)
	slices.Sort(bodies)
	if !slices.Equal(got, bodies) {
		t.Errorf("got %d messages, or others", len(got))
	}
}
