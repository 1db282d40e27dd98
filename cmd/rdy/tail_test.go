package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// numbered returns n different bodies.
func numbered(prefix string, n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("%s%03d", prefix, i)
	}
	return bodies
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
			if code != exitOK || stderr != "" {
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
	if code != exitOK || stdout != "m\n" || stderr != "" {
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
		if m["attempts"] != 1.0 || m["nsqd"] != c.nsqds[0].TCPAddr || len(m) != 5 {
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
	broken, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = broken.Close()
	defer func() { _ = write.Close() }()
	args := append(c.flags(), "tail", "attempts", "--channel", "ch", "-n", "1")
	const failures = 7
	for range failures {
		if code := run(t.Context(), args, nil, write, t.Output()); code != exitOK {
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
	if code := p.wait(t); code != exitOK || p.stderr.String() != "" {
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
	if code := p.wait(t); code != exitOK || p.stderr.String() != "" {
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
	expectOneLine(t, stderr.String())
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
	if code != exitOK || stderr != "" || !slices.Equal(lines, []string{"one", "three", "two"}) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if got, want := c.stats(t, "listed"), (channelStats{Messages: 3}); got != want {
		t.Errorf("nsqd has %+v, want %+v", got, want)
	}
	p := start(t, "tail", "later", "--lookupd", c.lookupds[0], "--lookupd", unreachable)
	p.stderr.await(t, "no nsqd has the topic later yet")
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
}
