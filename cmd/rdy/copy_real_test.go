package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// depth returns the number of messages that a topic has at the nsqds of a cluster, in its
// channel "ch".
func (c *cluster) depth(t *testing.T, topic string) int { return c.stats(t, topic).Depth }

// copies consumes a topic, and returns how often each body came.
func (c *cluster) copies(t *testing.T, topic string) map[string]int {
	t.Helper()
	code, stdout, stderr := execute(t, "tail", topic, "--nsqd", c.nsqds[0].TCPAddr, "--channel", "ch",
		"--max-in-flight", "500", "-n", fmt.Sprint(c.depth(t, topic)))
	if code != exitOK {
		t.Fatalf("exit code %d, stderr %s", code, stderr)
	}
	found := make(map[string]int)
	for body := range strings.Lines(stdout) {
		found[strings.TrimSuffix(body, "\n")]++
	}
	return found
}

// rdy is killed at any moment, again and again. Each message is copied.
func TestCopyKilled(t *testing.T) {
	const messages = 20_000
	from, to := startCluster(t, 1), startCluster(t, 1)
	from.publish(t, 0, "killed", "ch")
	to.publish(t, 0, "killed", "ch")
	all := copyBodies(messages)
	for chunk := range slices.Chunk(all, 5000) {
		post(t, from.nsqds[0].HTTPAddr, "/mpub?topic=killed", strings.Join(chunk, "\n"))
	}
	args := []string{
		"copy", "killed", "--nsqd", from.nsqds[0].TCPAddr, "--channel", "ch", "--to", to.nsqds[0].TCPAddr,
		"--max-in-flight", "100", "--rate", "20000", "--set", "msg_timeout,1s", "--json",
	}
	left := messages
	for range 5 {
		p := launch(t, nil, args...)
		left -= messages / 10
		await(t, "progress", func() bool { return from.unfinished(t, "killed") <= left })
		_ = p.Process.Kill()
		p.wait(t)
		left = from.unfinished(t, "killed")
	}
	if left == 0 {
		t.Fatal("rdy was never killed in the middle")
	}
	var stdout output
	p := launch(t, &stdout, args...)
	await(t, "end", func() bool { return from.unfinished(t, "killed") == 0 })
	p.signal(t)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr: %s", code, p.stderr.String())
	}
	var r copyReport
	if err := json.Unmarshal([]byte(stdout.String()), &r); err != nil || !r.Final || r.Copied == 0 {
		t.Errorf("stdout %q, error %v", stdout.String(), err)
	}
	found := to.copies(t, "killed")
	for _, body := range all {
		if found[body] == 0 {
			t.Errorf("%s was not copied", body)
		}
	}
}

// The examples of the help do what they say.
func TestCopyExamples(t *testing.T) {
	from, to := startCluster(t, 1), startCluster(t, 1)
	for i, example := range strings.Split(strings.ReplaceAll(copyExamples, "\\\n", ""), "\n") {
		dest := to.nsqds[0].TCPAddr
		example = strings.NewReplacer(
			"--to 127.0.0.1:4150", "--to "+dest, "--nsqd 127.0.0.1:4150", "--nsqd "+from.nsqds[0].TCPAddr, "staging:4150", dest,
			"nsqlookupd:4161", from.lookupds[0], "backup:4161", to.lookupds[0], "--channel staging", "--channel ch",
			"--channel mirror", "--channel ch", "--channel paid", "--channel ch", "--sample 0.01", "--sample 1",
		).Replace(example)
		topic := []string{"orders", "audit.logins", "orders"}[i]
		dests := []string{"orders", "audit.logins", "orders.paid"}[i]
		body := []string{"one", "two", `{"id":3,"total":1.50,"state":"paid","secret":4}`}[i]
		want := []string{"one", "two", `{"id":3,"total":1.50}`}[i]
		to.publish(t, 0, dests, "ch")
		from.publish(t, 0, topic, "ch", body)
		p := start(t, shellWords(example)[1:]...)
		await(t, "end", func() bool { return from.unfinished(t, topic) == 0 && to.depth(t, dests) > 0 })
		p.interrupt(errInterrupted)
		if code := p.wait(t); code != exitOK || p.stdout.String() != "" {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", example, code, p.stdout.String(), p.stderr.String())
		}
		if got := to.copies(t, dests); got[want] != 1 || len(got) != 1 {
			t.Errorf("%s: the copies are %v", example, got)
		}
	}
}

// shellWords splits a line at its spaces outside single quotes.
func shellWords(line string) (words []string) {
	var word strings.Builder
	quoted, begun := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, begun = !quoted, true
		case r == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

// Topics of a pattern are copied, also those that come later, but not in a loop.
func TestCopyPatternIntoItself(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "loop.a", "ch", "one")
	code, stdout, stderr := execute(t, "copy", "--topic-pattern", "^loop", "--lookupd", c.lookupds[0], "--channel", "ch",
		"--to", c.nsqds[0].TCPAddr, "--to-topic", "<TOPIC>.x")
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "would never end") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if n := c.unfinished(t, "loop.a"); n != 1 {
		t.Errorf("%d messages are left, want 1", n)
	}
}

// shellWords of an example are what a shell makes of it.
func TestShellWords(t *testing.T) {
	got := shellWords(`a  --b 'c d' e'f'`)
	if want := []string{"a", "--b", "c d", "ef"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
