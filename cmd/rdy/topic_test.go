package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

// What is listed and described is what the nsqds have, as text and as JSON.
func TestListAndDescribe(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 0, "orders", "billing", "1", "2")
	c.publish(t, 1, "orders", "billing", "3")
	p := start(t, append(c.flags(), "tail", "orders", "--channel", "live", "-n", "1")...)
	p.stderr.await(t, "other consumers of channel live")
	await(t, "two clients", func() bool {
		_, stdout, _ := execute(t, append(c.httpFlags(), "channel", "describe", "orders", "live", "--jq", ".client_count")...)
		return stdout == "2\n"
	})
	for _, tc := range []struct {
		line string
		jq   string   // true of the JSON
		text []string // parts of the text
	}{
		{"topic list", `[.topics[0] | .topic, .messages, (.nsqds | length), (.channels | length)] == ["orders", 3, 2, 2]`,
			[]string{"topic   depth  channels  in channels  published  nsqds  paused\norders      0         2 "}},
		{"topic describe orders", `[.topic, .messages, .nsqds[1].messages, .channels[0].channel] == ["orders", 3, 1, "billing"]`,
			[]string{"nsqd ", c.nsqds[0].HTTPAddr, "\nall  ", "\nchannel  depth  in flight", "\nbilling "}},
		{"channel list orders", `[.channels[].channel] == ["billing", "live"]`, []string{"channel  depth ", "\nbilling ", "\nlive "}},
		{"channel describe orders billing", `[.topic, .channel, .messages, (.nsqds | length)] == ["orders", "billing", 3, 2]`,
			[]string{c.nsqds[1].HTTPAddr, "\nall  "}},
		{"channel describe orders live", `(.clients | length) == 2`, []string{"\n\nclient ", "rdy/", " 0/"}},
	} {
		args := append(strings.Fields(tc.line), c.httpFlags()...)
		if code, stdout, stderr := execute(t, append(args, "--jq", tc.jq)...); code != exitOK || stdout != "true\n" || stderr != "" {
			t.Errorf("%s: exit code %d, %s is %q, stderr %q", tc.line, code, tc.jq, stdout, stderr)
		}
		_, stdout, _ := execute(t, args...)
		for _, part := range tc.text {
			if !strings.Contains(stdout, part) {
				t.Errorf("%s: no %q in\n%s", tc.line, part, stdout)
			}
		}
	}
	p.interrupt(errInterrupted)
	p.wait(t)
}

// A name may begin with "-": rdy takes it after "--", and that is how it suggests commands.
func TestNamesThatBeginWithADash(t *testing.T) {
	c := startCluster(t, 1)
	for _, line := range []string{"topic create -- -x", "channel create -- -x -y", "channel describe -- -x -y", "topic describe -- -x", "stat -- -x -y"} {
		if code, _, stderr := execute(t, append(c.httpFlags(), strings.Fields(line)...)...); code != exitOK {
			t.Errorf("%s: exit code %d, stderr %q", line, code, stderr)
		}
	}
	c.publish(t, 0, "-x", "", "1", "2")
	await(t, "two messages", func() bool { return c.depthOf(t, "-x", "-y") == 2 })
	code, stdout, stderr := execute(t, append(c.httpFlags(), "doctor", "--for", "1s", "--json")...)
	r := decode[doctorReport](t, stdout)
	if code != exitFailure || len(r.Findings) != 1 || r.Findings[0].Rule != "orphan" {
		t.Fatalf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	suggested := slices.Insert(r.Findings[0].Command[1:], 2, "--yes")
	if code, _, stderr := execute(t, suggested...); code != exitOK {
		t.Errorf("%q: exit code %d, stderr %q", suggested, code, stderr)
	}
	if code, _, stderr := execute(t, append(c.httpFlags(), "topic", "delete", "--yes", "--", "-x")...); code != exitOK {
		t.Errorf("delete: exit code %d, stderr %q", code, stderr)
	}
	if _, stdout, _ := execute(t, append(c.httpFlags(), "topic", "list", "--jq", ".topics | length")...); stdout != "0\n" {
		t.Errorf("%q topics are left", stdout)
	}
}

// What does not exist is an error, and still JSON of the same shape.
func TestDescribeNotFound(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing")
	for _, line := range []string{"topic describe nope", "channel list nope", "channel describe orders nope", "channel describe nope nope"} {
		args := append(strings.Fields(line), c.httpFlags()...)
		code, stdout, stderr := execute(t, args...)
		if code != exitFailure || stdout != "" || !strings.Contains(stderr, "not found on nsqd "+c.nsqds[0].HTTPAddr) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", line, code, stdout, stderr)
		}
		expectOneLine(t, stderr)
		code, stdout, _ = execute(t, append(args, "--json")...)
		r := decode[struct {
			Topic  string
			Errors []nodeError
		}](t, stdout)
		if code != exitFailure || r.Topic == "" || len(r.Errors) != 1 {
			t.Errorf("%s: exit code %d, stdout %q", line, code, stdout)
		}
	}
}

func TestAge(t *testing.T) {
	now := time.Unix(1000, 0)
	if got := age(time.Unix(922, 0), now); got != "1 min 18 s" {
		t.Errorf("got %q", got)
	}
	if got := age(time.Time{}, now); got != noFigure {
		t.Errorf("got %q", got)
	}
}

// Names and hosts from a hostile nsqd reach no terminal as they are.
func TestDescriptionIsVisible(t *testing.T) {
	d := channelDescription{Topic: "t", Channel: admin.Channel{Clients: []admin.Client{
		{Connection: admin.Connection{ID: "\x1b[2J", Hostname: "\u009b", UserAgent: "a\nb"}},
	}}}
	text := string(d.table(false, time.Now()))
	if strings.ContainsFunc(text, func(r rune) bool { return visible.Steers(r, "\n") }) || !strings.Contains(text, `a\nb`) {
		t.Errorf("%q", text)
	}
}
