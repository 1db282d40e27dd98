package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// waiting returns the depth and the number of channels of a topic on the first nsqd.
func (c *cluster) waiting(t *testing.T, topic string) string {
	t.Helper()
	_, stdout, _ := execute(t, "topic", "describe", topic, "--nsqd-http", c.nsqds[0].HTTPAddr, "--jq", `"\(.depth) in \(.channels | length) channels"`)
	return strings.TrimSuffix(stdout, "\n")
}

// A command with a channel of its own takes nothing that waits in a topic for its first one.
func TestOwnChannelTakesNothing(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "", "one", "two")
	lookupd := []string{"--lookupd", c.lookupds[0]}
	await(t, "the topic at nsqlookupd", func() bool {
		_, stdout, _ := execute(t, append(lookupd, "topic", "list")...)
		return strings.Contains(stdout, "orders")
	})
	code, stdout, stderr := execute(t, append(c.httpFlags(), "peek", "orders")...)
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "2 messages would go to peek") {
		t.Errorf("peek by --nsqd-http alone: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	for _, line := range []string{"tail orders", "tail none orders", "peek orders", "bench sub orders", "bench latency orders"} {
		for _, flags := range [][]string{c.allFlags(), lookupd, append(lookupd, c.flags()...)} {
			if len(flags) == 4 && strings.HasPrefix(flags[0], "--lookupd") && !strings.HasPrefix(line, "tail") {
				continue // without --nsqd-http only tail begins
			}
			code, stdout, stderr := execute(t, append(strings.Fields(line), flags...)...)
			if code != exitFailure || stdout != "" || !strings.Contains(stderr, "rdy: topic orders has no channel, and 2 messages would go to ") ||
				!strings.Contains(stderr, "(rdy channel create orders NAME)") ||
				strings.Contains(stderr, "--channel NAME") != (strings.HasPrefix(line, "tail") || strings.HasPrefix(line, "bench sub")) {
				t.Errorf("%s %q: exit code %d, stdout %q, stderr %q", line, flags, code, stdout, stderr)
			}
			expectOneLine(t, stderr)
			if got := c.waiting(t, "orders"); got != "2 in 0 channels" {
				t.Fatalf("%s %q left %s", line, flags, got)
			}
		}
	}
	code, stdout, stderr = execute(t, append(c.allFlags(), "tail", "orders", "--channel", "keep", "-n", "1")...)
	if code != exitOK || strings.Count(stdout, "\n") != 1 {
		t.Errorf("with --channel: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	await(t, "the other message", func() bool { return strings.HasPrefix(c.peekStats(t, "orders", "keep"), "depth 1, in flight 0") })
}

// On another nsqd the topic has a channel: what waits on the first one would still be taken.
func TestOwnChannelOnOneOfTwo(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 0, "orders", "", "m")
	post(t, c.nsqds[1].HTTPAddr, "/topic/create?topic=orders", "")
	post(t, c.nsqds[1].HTTPAddr, "/channel/create?topic=orders&channel=ch", "")
	code, _, stderr := execute(t, append(c.allFlags(), "tail", "orders")...)
	if code != exitFailure || !strings.Contains(stderr, "has no channel, and 1 message would go to tail and be gone") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if got := c.waiting(t, "orders"); !strings.HasPrefix(got, "1 in 0 ") {
		t.Error(got)
	}
}

// A topic that does not exist yet is read from its first message on, and only tail begins
// without knowing what its channel takes.
func TestOwnChannelUnknown(t *testing.T) {
	c := startCluster(t, 1)
	silent := fakeDaemon(t, nil)
	listed := func(topic string) string {
		host, port, _ := strings.Cut(silent, ":")
		return fakeDaemon(t, map[string]string{"/nodes": fmt.Sprintf(
			`{"producers":[{"broadcast_address":%q,"tcp_port":1,"http_port":%s,"topics":[%q]}]}`, host, port, topic)})
	}
	const caution = "if topic new has no channel, its waiting messages have come to tail"
	tcp := c.flags()
	for _, tc := range []struct {
		name  string
		flags []string
		tail  string // what tail says; empty for nothing
		peek  string // why peek does not begin; empty if it does
	}{
		{"known", c.allFlags(), "", ""},
		{"TCP only", tcp, "without --nsqd-http tail cannot ask", "--nsqd-http is missing"},
		{"an nsqd that does not respond", append(tcp, "--nsqd-http", unreachable), "nsqd " + unreachable + ": ", "cannot ask whether messages of topic new would be lost: nsqd " + unreachable + ": "},
		{"an nsqd with an error", append(tcp, "--nsqd-http", silent), "nsqd " + silent + ": ", "nsqd " + silent + ": "},
		{"a listed nsqd with an error", append(c.allFlags(), "--lookupd", listed("new")), "nsqd " + silent + ": ", "nsqd " + silent + ": "},
		{"a listed nsqd without the topic", append(c.allFlags(), "--lookupd", listed("old")), "", ""},
		{"no nsqlookupd", append(c.allFlags(), "--lookupd", unreachable), "", "nsqlookupd " + unreachable + ": "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := execute(t, append(tc.flags, "peek", "new", "--for", "100ms")...)
			if tc.peek != "" {
				if code == exitOK || stdout != "" || !strings.Contains(stderr, tc.peek) {
					t.Errorf("peek: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
				}
				expectOneLine(t, stderr)
			} else if code != exitOK {
				t.Errorf("peek: exit code %d, stderr %q", code, stderr)
			}
			p := start(t, append(tc.flags, "tail", "new")...)
			await(t, "subscription", func() bool { return strings.Contains(c.waiting(t, "new"), "in 1 channels") })
			c.publish(t, 0, "new", "", "first")
			p.stdout.await(t, "first\n")
			if tc.tail != "" {
				p.stderr.await(t, tc.tail)
				p.stderr.await(t, caution)
			}
			p.interrupt(errInterrupted)
			if code := p.wait(t); code != exitOK || strings.Contains(p.stderr.String(), caution) != (tc.tail != "") {
				t.Errorf("tail: exit code %d, stderr %q", code, p.stderr.String())
			}
			execute(t, append(c.httpFlags(), "topic", "delete", "new", "--yes")...)
		})
	}
}

// Ctrl-C during the question ends the command before it makes a channel.
func TestOwnChannelInterrupted(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "", "one")
	for _, line := range []string{"tail orders", "peek orders", "bench sub orders", "bench latency orders"} {
		silent, asked := silentDaemon(t)
		p := start(t, append(append(strings.Fields(line), c.flags()...), "--nsqd-http", silent)...)
		<-asked
		p.interrupt(errInterrupted)
		p.wait(t)
		if got := c.waiting(t, "orders"); got != "1 in 0 channels" {
			t.Errorf("%s left %s", line, got)
		}
	}
}

// silentDaemon starts a server that never responds. asked receives when it has a request.
func silentDaemon(t *testing.T) (addr string, asked <-chan struct{}) {
	t.Helper()
	got := make(chan struct{}, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case got <- struct{}{}:
		default:
		}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), got
}
