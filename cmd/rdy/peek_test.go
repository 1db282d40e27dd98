package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// peekStats returns what nsqds count of a channel, "absent" if there is none.
func (c *cluster) peekStats(t *testing.T, topic, channel string) string {
	t.Helper()
	args := append(c.httpFlags(), "stat", topic, channel, "--no-rates", "--jq",
		`.channels[] | "depth \(.depth), in flight \(.in_flight), requeued \(.requeued), timed out \(.timed_out)"`)
	code, stdout, _ := execute(t, args...)
	if code != exitOK {
		return "absent"
	}
	return strings.TrimSuffix(stdout, "\n")
}

func TestPeekNew(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing", "old")
	await(t, "nsqd to copy the message to the channel", func() bool {
		return strings.HasPrefix(c.peekStats(t, "orders", "billing"), "depth 1,")
	})
	p := start(t, append(c.allFlags(), "peek", "orders", "-n", "2", "--for", "10m")...)
	await(t, "subscription", func() bool {
		_, stdout, _ := execute(t, append(c.httpFlags(), "channel", "list", "orders")...)
		return strings.Contains(stdout, "peek")
	})
	c.publish(t, 0, "orders", "", "new1", "new2", "new3")
	if code := p.wait(t); code != exitOK || p.stdout.String() != "new1\nnew2\n" || p.stderr.String() != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
	}
	if got := c.peekStats(t, "orders", "billing"); got != "depth 4, in flight 0, requeued 0, timed out 0" {
		t.Error(got)
	}
}

// The HTTP API of an nsqd is enough: it tells the TCP address.
func TestPeekByHTTPAlone(t *testing.T) {
	c := startCluster(t, 1)
	p := start(t, append(c.httpFlags(), "peek", "orders", "-n", "1", "--for", "10m")...)
	await(t, "subscription", func() bool {
		_, stdout, _ := execute(t, append(c.httpFlags(), "channel", "list", "orders")...)
		return strings.Contains(stdout, "peek")
	})
	c.publish(t, 0, "orders", "", "new")
	if code := p.wait(t); code != exitOK || p.stdout.String() != "new\n" || p.stderr.String() != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
	}
	unix := fakeDaemon(t, map[string]string{"/stats": `{"version":"1.3.0","start_time":1}`, "/info": `{"tcp_port":-1,"start_time":1}`})
	code, stdout, stderr := execute(t, "peek", "orders", "--nsqd-http", unix)
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "listens on a Unix socket only") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestPeekNothingNew(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing", "old")
	code, stdout, stderr := execute(t, append(c.allFlags(), "peek", "orders", "--for", "100ms")...)
	if code != exitOK || stdout != "" || !strings.Contains(stderr, "no new message of topic orders in 100ms") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	expectOneLine(t, stderr)
}

// peek shows the first messages of a channel and requeues them. Each has lost an attempt and
// its place, and nothing else has happened.
func TestPeekBacklog(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing", "m0", "m1", "m2", "m3", "m4")
	args := append(c.httpFlags(), "peek", "orders", "billing", "--backlog", "--yes", "-n", "3", "--jq", `"\(.body) \(.attempts) \(.nsqd)"`)
	await(t, "messages in the channel", func() bool { return strings.HasPrefix(c.peekStats(t, "orders", "billing"), "depth 5") })
	code, stdout, stderr := execute(t, args...)
	addr := c.nsqds[0].TCPAddr
	if want := fmt.Sprintf("m0 1 %[1]s\nm1 1 %[1]s\nm2 1 %[1]s\n", addr); code != exitOK || stdout != want {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	expectOneLine(t, stderr)
	for _, part := range []string{"takes 3 messages of channel billing of topic orders", "an attempt and its place", "after 25s"} {
		if !strings.Contains(stderr, part) {
			t.Errorf("stderr %q does not contain %q", stderr, part)
		}
	}
	if got := c.peekStats(t, "orders", "billing"); got != "depth 5, in flight 0, requeued 3, timed out 0" {
		t.Error(got)
	}
	_, stdout, _ = execute(t, append(c.flags(), "tail", "orders", "--channel", "billing", "-n", "5", "--jq", `"\(.body) \(.attempts)"`)...)
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	slices.Sort(lines[min(2, len(lines)):]) // those that peek has requeued come last, in any order
	if got, want := strings.Join(lines, " "), "m3 1 m4 1 m0 2 m1 2 m2 2"; got != want {
		t.Errorf("consumers get %q, want %q", got, want)
	}
}

// peek takes no more than there is, from all nsqds that have some.
func TestPeekWholeBacklog(t *testing.T) {
	c := startCluster(t, 3)
	c.publish(t, 0, "orders", "billing", "a")
	c.publish(t, 2, "orders", "billing", "b")
	args := []string{"peek", "orders", "billing", "--backlog", "--yes", "-n", "1000", "--lookupd", c.lookupds[0]}
	await(t, "messages in the channel", func() bool { return strings.HasPrefix(c.peekStats(t, "orders", "billing"), "depth 2") })
	code, stdout, stderr := execute(t, args...)
	if code != exitOK || stdout != "a\nb\n" && stdout != "b\na\n" || !strings.Contains(stderr, "takes 2 messages") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if got := c.peekStats(t, "orders", "billing"); got != "depth 2, in flight 0, requeued 2, timed out 0" {
		t.Error(got)
	}
}

// With --backlog a name that does not exist is an error, and nothing is created.
func TestPeekUnknownChannel(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing", "m")
	for _, args := range [][]string{{"orders", "biling"}, {"order", "billing"}} {
		line := append([]string{"peek", "--backlog", "--yes"}, args...)
		code, stdout, stderr := execute(t, append(line, c.httpFlags()...)...)
		if code != exitFailure || stdout != "" || !strings.Contains(stderr, "not found") {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
		if got := c.peekStats(t, args[0], args[1]); got != "absent" {
			t.Errorf("%v: %s", args, got)
		}
	}
}

func TestPeekEmptyOrPausedChannel(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing")
	args := append(c.httpFlags(), "peek", "orders", "billing", "--backlog", "--yes")
	code, stdout, stderr := execute(t, args...)
	if code != exitOK || stdout != "" || !strings.Contains(stderr, "no message waits in channel billing of topic orders; 0 in flight, 0 deferred") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	post(t, c.nsqds[0].HTTPAddr, "/channel/pause?topic=orders&channel=billing", "")
	c.publish(t, 0, "orders", "", "m")
	await(t, "message in the channel", func() bool { return strings.HasPrefix(c.peekStats(t, "orders", "billing"), "depth 1") })
	code, _, stderr = execute(t, args...)
	if code != exitFailure || !strings.Contains(stderr, "is paused") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

// exaggerated returns the HTTP address of a daemon that says it is the first nsqd, and that
// many messages wait in a channel of it, whatever there is.
func (c *cluster) exaggerated(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(c.nsqds[0].TCPAddr)
	if err != nil {
		t.Fatal(err)
	}
	return fakeDaemon(t, map[string]string{
		"/stats": `{"version":"1.3.0","health":"OK","start_time":1,"topics":[{"topic_name":"orders","channels":[{"channel_name":"billing","depth":1000}]}]}`,
		"/info":  `{"version":"1.3.0","broadcast_address":"unknown.invalid","tcp_port":` + port + `,"http_port":1,"start_time":1}`,
	})
}

// If other consumers get the messages first, peek ends soon after the last one that it got.
func TestPeekFewerThanExpected(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing", "a", "b")
	code, stdout, stderr := execute(t, "peek", "orders", "billing", "--backlog", "--yes", "--for", "10m", "--nsqd-http", c.exaggerated(t))
	if code != exitOK || stdout != "a\nb\n" || !strings.Contains(stderr, "\nrdy: 2 of them came; ") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if got := c.peekStats(t, "orders", "billing"); got != "depth 2, in flight 0, requeued 2, timed out 0" {
		t.Error(got)
	}
}

func TestPeekInterrupted(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing")
	p := start(t, "peek", "orders", "billing", "--backlog", "--yes", "--for", "10m", "--nsqd-http", c.exaggerated(t))
	await(t, "subscription", func() bool {
		_, stdout, _ := execute(t, append(c.httpFlags(), "stat", "orders", "--no-rates", "--jq", ".channels[].client_count")...)
		return stdout == "1\n"
	})
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK || p.stdout.String() != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
	}
	if strings.Contains(p.stderr.String(), "no message came") {
		t.Errorf("stderr %q", p.stderr.String())
	}
}

func TestPeekUnreachable(t *testing.T) {
	stats := `{"version":"1.3.0","health":"OK","start_time":1,"topics":[{"topic_name":"t","channels":[{"channel_name":"c","depth":1}]}]}`
	addr := fakeDaemon(t, map[string]string{"/stats": stats, "/info": `{"tcp_port":1,"start_time":1}`})
	code, stdout, stderr := execute(t, "peek", "t", "c", "--backlog", "--yes", "--nsqd-http", addr)
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, "rdy: nsqd 127.0.0.1:1: ") || strings.Contains(stderr, "no message came") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestPeekAsks(t *testing.T) {
	for _, tc := range []struct{ typed, want string }{
		{"billing\n", ""},
		{" billing \n", ""},
		{"orders\n", "nothing taken"},
		{"\n", "nothing taken"},
		{"billing", "nothing taken"}, // the terminal was closed
	} {
		typed, want := tc.typed, tc.want
		var stderr output
		p := &peek{app: &app{stdin: strings.NewReader(typed), stderr: &stderr}, topic: "orders", channel: "billing"}
		err := p.agree(t.Context(), 1, time.Minute)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", typed, err)
		}
		if !strings.Contains(stderr.String(), "takes 1 message of channel billing of topic orders and requeues it: ") ||
			!strings.Contains(stderr.String(), "type the name billing") {
			t.Errorf("stderr %q", stderr.String())
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	never, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() }) // ends the goroutine that reads
	p := &peek{app: &app{stdin: never, stderr: &output{}}, channel: "billing"}
	if err := p.agree(ctx, 1, time.Minute); !errors.Is(err, errInterrupted) {
		t.Errorf("got %v", err)
	}
}

// Whatever options are set, peek acks nothing, and has the bodies after the requeue.
func TestPeekConfig(t *testing.T) {
	p := &peek{app: &app{}, timeLimit: time.Second}
	if err := errors.Join(p.client.settings.Set("max_attempts,1"), p.client.settings.Set("recycle_bodies,true")); err != nil {
		t.Fatal(err)
	}
	cfg, err := p.backlogConfig()
	if err != nil || cfg.MaxAttempts != 0 || cfg.RecycleBodies || cfg.MsgTimeout != time.Second+peekGrace {
		t.Errorf("max_attempts %d, recycle_bodies %t, msg_timeout %v, error %v", cfg.MaxAttempts, cfg.RecycleBodies, cfg.MsgTimeout, err)
	}
}
