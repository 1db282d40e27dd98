package middleware

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

// await waits for the end of a context, and returns how long that took.
func await(ctx context.Context) time.Duration {
	start := time.Now()
	<-ctx.Done()
	return time.Since(start)
}

// The context ends when the time is over, and says so to the handler and to what is outside.
func TestTimeout(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		var results scene.Errors
		calls := 0
		s.Consume(1, func(m *nsq.Message) error {
			if calls++; calls == 2 {
				return nil
			}
			ctx := m.Context()
			if took := await(ctx); took != 5*time.Second || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				s.Errorf("the context ended after %v: %v", took, ctx.Err())
			}
			if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) || cause == ctx.Err() { //nolint:errorlint // it must not be the plain error
				s.Errorf("the cause is %v", cause)
			}
			return ctx.Err()
		}, results.Middleware, Timeout(5*time.Second))
		s.Publish("pen")
		scene.After(time.Minute)
		err := results.All()[0]
		timeout, ok := errors.AsType[*TimeoutError](err)
		if !ok || timeout.Timeout != 5*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
		if want := "handler took longer than 5s: context deadline exceeded"; err.Error() != want {
			t.Errorf("the error is %q, want %q", err, want)
		}
		if st := s.Stats(); calls != 2 || st.Finished != 1 || st.Requeued != 1 {
			t.Errorf("handled %d times, %+v", calls, st)
		}
	})
}

// A handler that succeeds too late has succeeded, and one that discards its message has
// decided.
func TestTimeoutLeavesTheVerdict(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		c := s.Consume(2, func(m *nsq.Message) error {
			await(m.Context())
			if string(m.Body) == "bad" {
				return nsq.Discard(errors.New("boom"))
			}
			return nil
		}, Timeout(5*time.Second))
		s.Publish("pen", "bad")
		scene.After(time.Minute)
		if st := s.Stats(); st.Finished != 2 || st.Requeued != 0 {
			s.Errorf("%+v, want 2 finished", st)
		}
		if n := c.Snapshot().Discarded; n != 1 {
			s.Errorf("%d discarded, want 1", n)
		}
	})
}

// If the lease ends first, that is the reason, not the timeout.
func TestTimeoutAfterTheLease(t *testing.T) {
	scene.Run(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene.Scene) {
		var results scene.Errors
		calls := 0
		s.Consume(1, func(m *nsq.Message) error {
			if calls++; calls > 1 {
				return nil
			}
			if took := await(m.Context()); took > 10*time.Second {
				s.Errorf("the context ended after %v", took)
			}
			return m.Context().Err()
		}, results.Middleware, Timeout(20*time.Second))
		s.Publish("pen")
		scene.After(time.Minute)
		err := results.All()[0]
		if _, ok := errors.AsType[*TimeoutError](err); ok || !errors.Is(err, nsq.ErrMessageTimedOut) {
			t.Errorf("the error is %v, want that the message timed out", err)
		}
		if st := s.Stats(); st.Finished != 1 || st.Requeued != 0 || st.TimedOut != 1 {
			t.Errorf("%+v, want 1 timed out and finished", st)
		}
	})
}

// The timeout also ends a handler that keeps the lease alive beyond the deadline that it began
// with. The context never shows a deadline beyond the lease.
func TestTimeoutOfATouchingHandler(t *testing.T) {
	scene.Run(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene.Scene) {
		var took time.Duration
		var cause error
		s.Consume(1, func(m *nsq.Message) error {
			ctx, start := m.Context(), time.Now()
			if end, ok := ctx.Deadline(); !ok || time.Until(end) > 10*time.Second {
				s.Errorf("deadline in %v, %v", time.Until(end), ok)
			}
			for ctx.Err() == nil {
				m.Touch()
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
			took, cause = time.Since(start), context.Cause(ctx)
			return nil
		}, Timeout(25*time.Second))
		s.Publish("pen")
		scene.After(time.Minute)
		if _, ok := errors.AsType[*TimeoutError](cause); !ok || took != 25*time.Second {
			t.Errorf("ended after %v by %v, want 25s and the timeout", took, cause)
		}
		if st := s.Stats(); st.Finished != 1 || st.TimedOut != 0 {
			t.Errorf("%+v, want 1 finished", st)
		}
	})
}

// The error of a handler that acked its message is its own.
func TestTimeoutAfterAnAck(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		boom := errors.New("boom")
		var results scene.Errors
		s.Consume(1, func(m *nsq.Message) error { m.Finish(); return boom }, results.Middleware, Timeout(time.Second))
		s.Publish("pen")
		scene.After(time.Second)
		if errs := results.All(); len(errs) != 1 || errs[0] != boom { //nolint:errorlint // not wrapped
			t.Errorf("the errors are %v", errs)
		}
	})
}
