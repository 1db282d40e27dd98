package nsq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// D46: a publish stops waiting for the reply when its context ends. A reply that
// comes later is dropped, and the next publish gets its own.
func TestPublishContextEnds(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Delay: 10 * time.Second})
		s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Reply: nsqtest.ErrorFrame("E_PUB_FAILED", ""), Close: true})
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		start := time.Now()
		body := []byte("late")
		err := s.p.PublishContext(ctx, "t", body)
		if d := time.Since(start); d != time.Second {
			s.Errorf("took %v", d)
		}
		if !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrNotConnected) {
			s.Errorf("%v", err)
		}
		if want := `[a:1] publish to "t": `; !strings.HasPrefix(fmt.Sprint(err), want) {
			s.Errorf("%q, want it to begin with %q", err, want)
		}
		copy(body, "over")
		if err := s.p.PublishContext(s.Context(), "t", []byte("m")); err == nil || err.Error() != "E_PUB_FAILED" {
			s.Errorf("not its own reply: %v", err)
		}
		if d := time.Since(start); d != 10*time.Second {
			s.Errorf("reply after %v, want 10s", d)
		}
		if got := s.stored(); !slices.Equal(got, []string{"late"}) {
			s.Errorf("stored %q", got)
		}
	})
}

// After a publish returned, its caller may change the body, even if it is not written
// yet.
func TestPublishCopiesTheBody(t *testing.T) {
	produce(t, func(s *producing) {
		if err := s.p.Ping(); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		s.d.StopReading()
		first := make([]byte, 100)
		body, many := []byte("one"), [][]byte{[]byte("two")}
		ctx, cancel := context.WithTimeout(s.Context(), time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		for _, publish := range []func() error{
			func() error { return s.p.PublishContext(ctx, "t", first) },
			func() error { return s.p.PublishContext(ctx, "t", body) },
			func() error { return s.p.MultiPublishContext(ctx, "t", many) },
		} {
			wg.Go(func() {
				if err := publish(); !errors.Is(err, ErrUnknownOutcome) {
					s.Errorf("%v", err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		copy(body, "xxx")
		copy(many[0], "xxx")
		s.d.StartReading()
		synctest.Wait()
		if got := s.stored(); !slices.Equal(got, []string{string(first), "one", "two"}) {
			s.Errorf("stored %q", got)
		}
	}, func(s *scene) { s.net.Capacity = 50 })
}

// With a context that has ended nothing is dialled or sent.
func TestPublishContextEndedBefore(t *testing.T) {
	produce(t, func(s *producing) {
		reason := errors.New("a reason")
		ctx, cancel := context.WithCancelCause(s.Context())
		cancel(reason)
		for _, connected := range []bool{false, true} {
			for range 10 {
				err := errors.Join(s.p.PublishContext(ctx, "t", []byte("m")), s.p.MultiPublishContext(ctx, "t", [][]byte{[]byte("m")}))
				if !errors.Is(err, ErrNotSent) || !errors.Is(err, reason) || errors.Is(err, ErrUnknownOutcome) {
					s.Errorf("%v", err)
				}
			}
			if n := s.net.Attempts("a:1"); n > 0 && !connected {
				s.Errorf("%d dials", n)
			}
			if err := s.p.Ping(); err != nil {
				s.Error(err)
			}
		}
		synctest.Wait()
		if got := commands(s.d, "PUB", "MPUB"); len(got) != 0 {
			s.Errorf("sent %q", got)
		}
	})
}

// A reply that arrived before the context ended counts, even if the caller sees both
// at the same time.
func TestReplyBeforeContextEnds(t *testing.T) {
	produce(t, func(s *producing) {
		if err := s.p.Ping(); err != nil {
			s.Fatal(err)
		}
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		for range 30 {
			if err := s.p.PublishContext(endsAfter{ctx}, "t", []byte("m")); err != nil {
				s.Error(err)
			}
		}
	})
}

// D51: all publishes wait for the same attempt to connect, each until its own context
// ends.
func TestBlackHole(t *testing.T) {
	produce(t, func(s *producing) {
		s.net.Blackhole("a:1")
		start := time.Now()
		var patient, impatient sync.WaitGroup
		for i := range 50 {
			wait := time.Duration(i+1) * time.Second
			impatient.Go(func() {
				ctx, cancel := context.WithTimeout(s.Context(), wait)
				defer cancel()
				err := s.p.PublishContext(ctx, "t", []byte("m"))
				if !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
					s.Errorf("%v", err)
				}
				if d := time.Since(start); d != wait {
					s.Errorf("waited %v, want %v", d, wait)
				}
			})
			patient.Go(func() {
				if err := s.p.PublishContext(s.Context(), "t", []byte("m")); !errors.Is(err, ErrStopped) {
					s.Errorf("stopped: %v", err)
				}
			})
		}
		impatient.Wait()
		if n := s.net.Attempts("a:1"); n != 1 {
			s.Errorf("%d dials", n)
		}
		s.p.Stop()
		patient.Wait()
		if d := time.Since(start); d != 50*time.Second {
			s.Errorf("Stop took %v", d-50*time.Second)
		}
	}, func(s *scene) { s.cfg.DialTimeout = 0 })
}

// D51: publishes without contexts wait for one dial_timeout, all for the same.
func TestBlackHoleTimesOut(t *testing.T) {
	produce(t, func(s *producing) {
		s.net.Blackhole("a:1")
		start := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				err := s.p.PublishContext(s.Context(), "t", []byte("m"))
				if d := time.Since(start); err == nil || d != s.cfg.DialTimeout {
					s.Errorf("%v after %v", err, d)
				}
			})
		}
		wg.Wait()
		if n := s.net.Attempts("a:1"); n != 1 {
			s.Errorf("%d dials", n)
		}
	})
}
