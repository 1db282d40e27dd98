package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchSignals(t *testing.T) {
	for _, tc := range []struct {
		name   string
		second time.Duration // after the first
		signal os.Signal     // the second
		exits  bool
		notice bool
	}{
		{"no second signal", time.Hour, nil, false, true},
		{"the same signal twice", sameSignal / 2, os.Interrupt, false, true},
		{"second signal at once", sameSignal + time.Millisecond, os.Interrupt, true, false},
		{"second signal before the notice", noticeDelay - time.Millisecond, os.Interrupt, true, false},
		{"second signal after the notice", noticeDelay + time.Second, os.Interrupt, true, true},
		{"the kernel's hangup after the shell's", noticeDelay / 2, syscall.SIGHUP, false, true},
		{"SIGTERM after a hangup", noticeDelay / 2, syscall.SIGTERM, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signals := make(chan os.Signal, 2)
				ctx, cancel := context.WithCancelCause(t.Context())
				var stderr bytes.Buffer
				code := -1
				done := make(chan struct{})
				go func() {
					watchSignals(signals, newHangups(signals), &stderr, cancel, func(c int) { code = c })
					close(done)
				}()
				signals <- os.Interrupt
				synctest.Wait()
				if !errors.Is(context.Cause(ctx), errInterrupted) {
					t.Fatalf("after the first signal the context has cause %v", context.Cause(ctx))
				}
				time.Sleep(tc.second) //nolint:forbidigo // inside a synctest bubble
				if tc.signal != nil {
					signals <- tc.signal
				}
				time.Sleep(time.Minute) //nolint:forbidigo // inside a synctest bubble
				synctest.Wait()
				if exited := code == exitInterrupted; exited != tc.exits {
					t.Errorf("exited is %v, want %v", exited, tc.exits)
				}
				if notice := strings.Contains(stderr.String(), "Ctrl-C again"); notice != tc.notice {
					t.Errorf("stderr is %q", stderr.String())
				}
				if !tc.exits {
					signals <- os.Interrupt
				}
				<-done
			})
		})
	}
}

// A second signal ends a process that is still stopping: here it is blocked in
// writing a line that no one reads.
func TestSecondSignal(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "signal", "ch", strings.Repeat("x", 1<<20))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	p := launch(t, write, append(c.flags(), "tail", "signal", "--channel", "ch")...)
	_ = write.Close() // the process has its own copy
	// Once a byte has arrived, the process is in the middle of the line.
	if _, err := read.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	p.signal(t)
	p.stderr.await(t, "still stopping")
	p.signal(t)
	if code := p.wait(t); code != exitInterrupted {
		t.Errorf("exit code %d, want %d; stderr: %s", code, exitInterrupted, p.stderr.String())
	}
}

func TestSignalEndsDemo(t *testing.T) {
	var stdout output
	p := launch(t, &stdout, "demo", "--keep", "--messages", "500", "--fail-rate", "0.1")
	p.stderr.await(t, "500 messages are handled")
	p.signal(t)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr: %s", code, p.stderr.String())
	}
	if !strings.HasPrefix(stdout.String(), "published") {
		t.Errorf("no table: %q", stdout.String())
	}
}

// Ctrl-C ends a command that waits for an nsqd to respond. Without it the handshake would take
// five minutes here.
func TestInterruptedHandshake(t *testing.T) {
	for _, line := range []string{"tail t", "tail t --channel c", "bench sub t --channel c", "to-http t http://127.0.0.1:1/ --channel c"} {
		connected := make(chan struct{}, 1)
		nsqd := silentListener(t, func() {
			select {
			case connected <- struct{}{}:
			default:
			}
		})
		p := start(t, append(strings.Fields(line), "--nsqd", nsqd, "--set", "dial_timeout,5m", "--set", "read_timeout,5m")...)
		<-connected
		p.interrupt(errInterrupted)
		if code := p.wait(t); code != exitOK || strings.Contains(p.stderr.String(), "reachable") {
			t.Errorf("%s: exit code %d, stderr %q", line, code, p.stderr.String())
		}
	}
}
