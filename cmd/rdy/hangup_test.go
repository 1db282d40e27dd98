//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func (p *process) hangUp(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// A closed terminal ends a broker as Ctrl-C does: the messages that its nsqd has
// confirmed are there again with the next broker.
func TestHangupKeepsTheBrokersMessages(t *testing.T) {
	// If this test runs under nohup, the broker would ignore the signal as well. A program
	// starts with the default for a signal that its parent handles.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	const messages = 100
	args := []string{"broker", "--data-dir", t.TempDir(), "--lookupds", "0", "--json"}
	var stdout output
	p := launch(t, &stdout, args...)
	stdout.await(t, "\n")
	var a addresses
	if err := json.Unmarshal([]byte(stdout.String()), &a); err != nil {
		t.Fatal(err)
	}
	post(t, a.NSQDs[0].HTTP, "/topic/create?topic=kept", "")
	post(t, a.NSQDs[0].HTTP, "/channel/create?topic=kept&channel=c", "")
	for range messages {
		post(t, a.NSQDs[0].HTTP, "/pub?topic=kept", "m")
	}
	p.hangUp(t)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr: %s", code, p.stderr.String())
	}

	c := start(t, args...)
	c.stdout.await(t, "\n")
	if err := json.Unmarshal([]byte(c.stdout.String()), &a); err != nil {
		t.Fatal(err)
	}
	if n, err := depth(t.Context(), a.NSQDs[0].HTTP, "kept", "c"); err != nil || n != messages {
		t.Errorf("the next broker has %d messages, want %d; error %v", n, messages, err)
	}
	c.interrupt(errInterrupted)
	c.wait(t)
}

// A hangup that was ignored at the start stays ignored, as nohup wants it.
func TestHangupIgnored(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "nohup", "ch", "one")
	var stdout output
	p := prepare(t, &stdout, append(c.flags(), "tail", "nohup", "--channel", "ch")...)
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	p.Path, p.Args = shell, slices.Concat([]string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}, p.Args)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	stdout.await(t, "one\n")
	p.hangUp(t)
	c.publish(t, 0, "nohup", "", "two")
	stdout.await(t, "two\n")
	p.signal(t)
	if code := p.wait(t); code != exitOK || !strings.HasSuffix(stdout.String(), "one\ntwo\n") {
		t.Errorf("exit code %d, stdout %q, stderr: %s", code, stdout.String(), p.stderr.String())
	}
}

// A hangup completes the files of to-file, which goes on. nsq_to_file dies of the next
// message if it has a work directory. The hangup counts under nohup as well.
func TestHangupCompletesFiles(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "rotated", "ch")
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	p := prepare(t, nil, append(c.flags(), "to-file", "rotated", "--channel", "ch", "--output-dir", out,
		"--work-dir", filepath.Join(dir, "work"))...)
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	p.Path, p.Args = shell, slices.Concat([]string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}, p.Args)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	complete := func() int {
		files, err := os.ReadDir(out)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return len(files)
	}
	bodies := []string{"one", "two", "three"}
	for i, body := range bodies {
		c.publish(t, 0, "rotated", "", body)
		// Before the shell has set its trap, a hangup would end it.
		await(t, "delivery", func() bool { return c.stats(t, "rotated").Depth == 0 })
		await(t, "complete file", func() bool {
			p.hangUp(t) // in vain until rdy has the message, and then without a wait for the interval
			return c.unfinished(t, "rotated") == 0 && complete() == i+1
		})
	}
	p.signal(t)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr: %s", code, p.stderr.String())
	}
	if got, want := readable(t, out), strings.Join(bodies, "\n")+"\n"; got != want {
		t.Errorf("the files have %q, want %q", got, want)
	}
}
