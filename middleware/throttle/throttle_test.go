package throttle

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConform(t *testing.T) {
	scene.Conform(t, func(*testing.T, *nsq.Consumer) nsq.Middleware { return New(rate.NewLimiter(rate.Inf, 0)) })
}

func TestNilLimiter(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New does not panic")
		}
	}()
	New(nil)
}

// Two Consumers share a rate of ten messages a second, with a burst of five. No message is
// requeued, and no lease ends.
func TestRate(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		mw := New(rate.NewLimiter(10, 5))
		for range 2 {
			s.Consume(10, func(*nsq.Message) error { return nil }, mw)
		}
		s.Publish(slices.Repeat([]string{"pen"}, 1000)...)
		start := time.Now()
		for _, at := range []time.Duration{0, time.Second, 10 * time.Second, 90 * time.Second} {
			scene.After(at - time.Since(start) + 50*time.Millisecond) // between two messages
			if got, want := s.Stats().Finished, 5+10*int(at/time.Second); got != want {
				t.Errorf("%d handled after %v, want %d", got, at, want)
			}
		}
		scene.After(20 * time.Second)
		if st := s.Stats(); st.Finished != 1000 || st.Requeued+st.TimedOut != 0 {
			t.Errorf("%+v, want 1000 finished", st)
		}
	})
}

// A message whose turn is too far away waits for half of its lease, and is then requeued with a
// delay until its turn, without backoff.
func TestTooSlowARate(t *testing.T) {
	scene.Run(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene.Scene) {
		s.Config.MaxBackoffDuration = time.Minute
		var results scene.Errors
		c := s.Consume(2, func(*nsq.Message) error { return nil }, results.Middleware, New(rate.NewLimiter(rate.Every(time.Minute), 1)))
		s.Publish("pen", "ink")
		scene.After(4900 * time.Millisecond)
		if errs := results.All(); len(errs) != 1 || errs[0] != nil || len(s.Requeues()) != 0 {
			t.Fatalf("before half of the lease: %v, requeued with %q", errs, s.Requeues())
		}
		scene.After(200 * time.Millisecond)
		if errs := results.All(); len(errs) != 2 || !errors.Is(errs[1], ErrThrottled) {
			t.Fatalf("after half of the lease: %v", errs)
		}
		if want := []string{"55000"}; !slices.Equal(s.Requeues(), want) {
			t.Errorf("requeued with %q, want %q", s.Requeues(), want)
		}
		if level := c.Snapshot().BackoffLevel; level != 0 {
			t.Errorf("backoff level %d", level)
		}
		scene.After(time.Minute)
		if st := s.Stats(); st.Finished != 2 || st.Requeued != 1 || st.TimedOut != 0 {
			t.Errorf("%+v, want 2 finished and 1 requeued", st)
		}
	})
}

// A rate far below what handlers take does not use up the attempts of the channel's messages:
// each message in hand stays there for half of its lease, so no more than max_in_flight are
// requeued in that time.
func TestThrottledHandlersDoNotChurn(t *testing.T) {
	scene.Run(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene.Scene) {
		s.Consume(4, func(*nsq.Message) error { return nil }, New(rate.NewLimiter(rate.Every(time.Hour), 1)))
		s.Publish(slices.Repeat([]string{"pen"}, 1000)...)
		scene.After(time.Minute)
		if n := len(s.Requeues()); n > 10*12 {
			t.Errorf("%d messages requeued in a minute, want 120 at most", n)
		}
	})
}

// A limiter that lets nothing pass has messages come back, and passes them when it is changed.
func TestZeroBurst(t *testing.T) {
	scene.Run(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene.Scene) {
		limiter := rate.NewLimiter(1, 0)
		s.Consume(1, func(*nsq.Message) error { return nil }, New(limiter))
		s.Publish("pen")
		scene.After(time.Minute)
		limiter.SetBurst(1)
		scene.After(2 * time.Hour) // nsqd's longest delay is an hour
		if st := s.Stats(); st.Finished != 1 || st.Requeued < 1 {
			t.Errorf("%+v, want 1 finished after it was requeued", st)
		}
	})
}

// A message that waits for its turn when the Consumer's time to stop is over is requeued.
func TestThrottleWhileStopping(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.StopTimeout = time.Second
		limiter := rate.NewLimiter(rate.Every(20*time.Second), 1)
		c := s.Consume(2, func(*nsq.Message) error { return nil }, New(limiter))
		s.Publish("pen", "ink")
		scene.After(time.Second)
		c.Stop()
		scene.After(1100 * time.Millisecond)
		if st := s.Stats(); !slices.Equal(s.Requeues(), []string{"0"}) || st.Finished != 1 {
			t.Errorf("requeued with %q, %+v", s.Requeues(), st)
		}
	})
}
