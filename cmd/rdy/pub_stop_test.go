package main

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// What was sent and not answered when it stops is unknown, and not failed: who
// publishes the failed lines again must not double any.
func TestPubStopsWithManyUnknown(t *testing.T) {
	_, lines := count(1000)
	inPublishing(t, lines, func(s *publishing) {
		d := s.nsqd("a:1")
		d.Inject(nsqtest.Fault{Command: "MPUB", Mute: true})
		s.p.retryFor = 0
		time.AfterFunc(time.Second, d.Kill)
		r, err := s.run(s.Context())
		s.expectStopped(err)
		s.expect(r, 0, 0, 1000, 0)
		if n := len(stored(d)); n != 1000 {
			t.Errorf("%d stored", n)
		}
	})
}

// An nsqd that sends heartbeats and answers nothing does not hold it up for ever,
// whether more lines come or not.
func TestPubNoAnswers(t *testing.T) {
	_, lines := count(1000)
	for name, open := range map[string]bool{"the input ended": false, "more may come": true} {
		inPublishing(t, lines, func(s *publishing) {
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
				t.Errorf("%s: %v after %v", name, err, took)
			}
			s.expect(result, 0, 0, 1000, 0)
			_ = r.Close()
		})
	}
}

// The answers that came while it waited for its rate are answers.
func TestPubSlowRateIsNoSilence(t *testing.T) {
	inPublishing(t, "one\ntwo\nthree\n", func(s *publishing) {
		s.nsqd("a:1")
		s.p.rate = 0.001
		r, err := s.run(s.Context())
		if err != nil {
			t.Error(err)
		}
		s.expect(r, 3, 0, 0, 0)
	})
}

// The reading ends at an interruption, too. That is not the end of the input.
func TestPubInterruptedIsNeverTheEnd(t *testing.T) {
	inPublishing(t, "", func(s *publishing) {
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
		for range 50 { // which of the two it sees first is a matter of chance
			to, err := s.p.publishers(cfg)
			if err != nil {
				t.Fatal(err)
			}
			s.expectStopped(newSender(s.p, to).run(ctx, lines), "before line 1: interrupted")
		}
	})
}
