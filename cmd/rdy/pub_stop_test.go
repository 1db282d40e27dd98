package main

import (
	"context"
	"io"
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
