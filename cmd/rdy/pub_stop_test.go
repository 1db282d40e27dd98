package main

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// Lines that were sent without a reply when the command stops are unknown, not
// failed. A user who publishes the failed lines again must not create duplicates.
func TestPubStopsWithManyUnknown(t *testing.T) {
	_, lines := numberedLines(1000)
	inPubScene(t, lines, func(s *pubScene) {
		d := s.nsqd("a:1")
		d.Inject(nsqtest.Fault{Command: "MPUB", Mute: true})
		s.p.retryFor = 0
		time.AfterFunc(time.Second, d.Kill)
		r, err := s.run(s.Context())
		s.expectStopped(err)
		s.expect(r, 0, 0, 1000, 0)
		if n := len(stored(d)); n != 1000 {
			t.Errorf("nsqd has %d messages, want 1000", n)
		}
	})
}

// An nsqd that sends heartbeats but no replies cannot hold the command up for
// ever, whether the input has ended or not.
func TestPubNoAnswers(t *testing.T) {
	_, lines := numberedLines(1000)
	for name, open := range map[string]bool{"the input ended": false, "more may come": true} {
		inPubScene(t, lines, func(s *pubScene) {
			d := s.nsqd("a:1")
			d.Inject(nsqtest.Fault{Command: "MPUB", Mute: true})
			r, w := io.Pipe()
			go func() {
				_, _ = io.WriteString(w, lines)
				if !open {
					_ = w.Close()
				}
			}()
			s.p.stdin = r
			ctx, cancel := context.WithTimeout(s.Context(), time.Hour)
			defer cancel()
			start := time.Now()
			result, err := s.run(ctx)
			if took := time.Since(start); err == nil || took > s.p.retryFor+2*stopTimeout {
				t.Errorf("%s: stopped with %v after %v", name, err, took)
			}
			s.expect(result, 0, 0, 1000, 0)
			_ = r.Close()
		})
	}
}

// Replies that arrive while the command waits for its rate count as replies.
func TestPubSlowRateIsNoSilence(t *testing.T) {
	inPubScene(t, "one\ntwo\nthree\n", func(s *pubScene) {
		s.nsqd("a:1")
		s.p.rate = 0.001
		r, err := s.run(s.Context())
		if err != nil {
			t.Error(err)
		}
		s.expect(r, 3, 0, 0, 0)
	})
}

// An interruption also ends reading. The sender does not take that for the end of
// the input.
func TestPubInterruptedIsNeverTheEnd(t *testing.T) {
	inPubScene(t, "", func(s *pubScene) {
		s.nsqd("a:1")
		s.p.tally = newTally(&s.stderr)
		cfg, err := s.p.producerConfig()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(s.Context())
		cancel(errInterrupted)
		lines := make(chan []line)
		close(lines)
		for range 50 { // select may see either first
			to, err := s.p.publishers(s.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			s.expectStopped(newSender(s.p, to).run(ctx, lines), "before line 1: interrupted")
		}
	})
}

// After an interruption the command completes the publishes under way and
// reports where it stopped.
func TestPubInterrupted(t *testing.T) {
	inPubScene(t, "", func(s *pubScene) {
		d := s.nsqd("a:1")
		s.p.stdin = &endless{}
		d.Inject(nsqtest.Fault{Command: "MPUB", Delay: 50 * time.Millisecond})
		d.Inject(nsqtest.Fault{Command: "PUB", Delay: 50 * time.Millisecond})
		ctx, cancel := context.WithCancelCause(s.Context())
		time.AfterFunc(time.Second, func() { cancel(errInterrupted) })
		start := time.Now()
		r, err := s.run(ctx)
		s.expectStopped(err, "interrupted")
		if took := time.Since(start); took > time.Second+2*stopTimeout {
			t.Errorf("stopped after %v", took)
		}
		if n := len(stored(d)); r.Published == 0 || n < r.Published || n > r.Published+r.Unknown {
			t.Errorf("nsqd has %d messages, the result is %+v", n, r)
		}
	})
}

// An interruption ends the retries of an unreachable nsqd.
func TestPubInterruptedInTrouble(t *testing.T) {
	// The last line has a delimiter. Without it the splitter would return that line
	// on its own, and it might not have been sent when the interruption comes.
	inPubScene(t, "one\ntwo\n", func(s *pubScene) {
		s.nsqd("a:1").Kill()
		ctx, cancel := context.WithCancelCause(s.Context())
		time.AfterFunc(time.Second, func() { cancel(errInterrupted) })
		start := time.Now()
		r, err := s.run(ctx)
		s.expectStopped(err, "before line 1: interrupted")
		s.expect(r, 0, 2, 0, 0)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("stopped after %v, want 1s", took)
		}
	})
}

// An interruption does not wait for a blocked read.
func TestPubInterruptedWhileReading(t *testing.T) {
	c := startCluster(t, 1)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(); _ = w.Close() }()
	p := startWith(t, r, append(c.flags(), "pub", "--topic", "reading")...)
	_, _ = w.WriteString("one\n")
	await(t, "message", func() bool { return countMessages(t, c, "reading") == 1 })
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitFailure || !strings.Contains(p.stderr.String(), "rdy: stopped before line 2: interrupted") {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
}
