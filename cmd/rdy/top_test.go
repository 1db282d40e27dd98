package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/top"
)

// A channel without clients is told as a problem, on a line of its own and as JSON.
func TestTopPlain(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "ch", "a", "b")
	await(t, "messages in the channel", func() bool { return c.stats(t, "orders").Depth == 2 }) // otherwise the channel may be seen to grow
	text := start(t, append(c.httpFlags(), "top", "--plain", "--interval", "500ms", "--name", "prod-eu")...)
	lines := start(t, append(c.httpFlags(), "top", "--plain", "--interval", "500ms", "--json")...)
	shaped := start(t, append(c.httpFlags(), "top", "--plain", "--interval", "500ms", "--jq", `select(.event == "began") | .problem.text`)...)
	text.stdout.await(t, "orphan: orders/ch: no clients, 2 wait.\n")
	lines.stdout.await(t, `"event":"began"`)
	shaped.stdout.await(t, "no clients, 2 wait\n")
	for _, p := range []*command{text, lines, shaped} {
		p.interrupt(errInterrupted)
		if code := p.wait(t); code != exitOK || p.stderr.String() != "" {
			t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
		}
	}
	if first, _, _ := strings.Cut(text.stdout.String(), "\n"); !strings.HasSuffix(first, " prod-eu: judging. Waiting 2. In 0/s. Finished 0/s. nsqd 1 of 1.") {
		t.Errorf("got %q", first)
	}
	for line := range strings.Lines(lines.stdout.String()) {
		var e top.Event
		if err := json.Unmarshal([]byte(line), &struct{ Event *string }{&e.Event}); err != nil || e.Event == "" {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// Daemons that do not respond are told on standard error, once.
func TestTopPlainWithoutDaemons(t *testing.T) {
	refusing := fakeDaemon(t, map[string]string{})
	p := start(t, "top", "--plain", "--interval", "500ms", "--nsqd-http", refusing)
	p.stdout.await(t, "nsqd 0 of 1.")
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	expectOneLine(t, p.stderr.String())
}

// The actions of the screen do what the commands do, and say so for each nsqd that has the channel.
func TestTopAct(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 0, "orders", "ch", "a", "b")
	target := &admin.Cluster{Lookupds: c.lookupds}
	target.Client = statsClient
	act := func(verb, channel string) []top.Result {
		t.Helper()
		results, err := topAct(t.Context(), target, top.Action{Verb: verb, Topic: "orders", Channel: channel})
		if err != nil {
			t.Errorf("%s %s: %v", verb, channel, err)
		}
		return results
	}
	paused := func() (topic, channel bool) {
		v, err := target.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return v.Topic("orders").Paused, v.Topic("orders").Channel("ch").Paused
	}
	for _, on := range []bool{true, false} {
		verb := map[bool]string{true: top.Pause, false: top.Unpause}[on]
		if r := act(verb, "ch"); len(r) != 1 || r[0] != (top.Result{Daemon: "nsqd", Addr: c.nsqds[0].HTTPAddr}) {
			t.Errorf("%s: %+v", verb, r)
		}
		act(verb, "")
		if topic, channel := paused(); topic != on || channel != on {
			t.Errorf("after %s: topic %v, channel %v", verb, topic, channel)
		}
	}
	act(top.Empty, "ch")
	if s := c.stats(t, "orders"); s.Depth != 0 {
		t.Errorf("depth %d after empty", s.Depth)
	}
	act(top.Empty, "")
	if r := act(top.Delete, "ch"); len(r) != 2 || r[0].Daemon != "nsqlookupd" && r[1].Daemon != "nsqlookupd" {
		t.Errorf("delete: %+v", r)
	}
	act(top.Delete, "")
	if results, err := topAct(t.Context(), target, top.Action{Verb: top.Pause, Topic: "orders", Channel: "ch"}); !errors.Is(err, admin.ErrNotFound) || len(results) > 0 {
		t.Errorf("a channel that is gone: %+v, %v", results, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := topAct(ctx, target, top.Action{Verb: top.Empty, Topic: "orders"}); err == nil {
		t.Error("no error after the end of the context")
	}
}
