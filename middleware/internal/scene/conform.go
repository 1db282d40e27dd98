package scene

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

var errBoom = errors.New("boom")

type testKey struct{}

// Conform checks what every middleware must do: pass on the message and its context, leave
// the handler's verdict as it is, and keep working when a handler fails, panics or ends its
// goroutine. newMiddleware returns the middleware under test, set up so that it neither
// delays messages nor turns them away.
func Conform(t *testing.T, newMiddleware func(t *testing.T, c *nsq.Consumer) nsq.Middleware) {
	for name, check := range map[string]func(*Scene, func(*nsq.Consumer) nsq.Middleware){
		"message":  message,
		"failures": failures,
		"panics":   panics,
		"verdicts": verdicts,
		"acked":    acked,
		"given up": givenUp,
	} {
		t.Run(name, func(t *testing.T) {
			Run(t, nsqtest.Options{}, func(s *Scene) {
				check(s, func(c *nsq.Consumer) nsq.Middleware { return newMiddleware(s.T, c) })
			})
		})
	}
}

// message checks that the handler receives the message, the values of its context and the
// end of its lease.
func message(s *Scene, middleware func(*nsq.Consumer) nsq.Middleware) {
	c := s.Consumer()
	outer := func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			return next.HandleMessage(m.WithContext(context.WithValue(m.Context(), testKey{}, "value")))
		})
	}
	c.Use(outer, middleware(c))
	handled := 0
	s.Handle(c, 1, nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		handled++
		if string(m.Body) != "pen" || m.Topic() != "orders" || m.Attempts != 1 {
			s.Errorf("handled %s of %s, attempt %d", m.Body, m.Topic(), m.Attempts)
		}
		if value := ctx.Value(testKey{}); value != "value" {
			s.Errorf("the context's value is %v", value)
		}
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > time.Minute {
			s.Errorf("the context's deadline is %v, %v", end, ok)
		}
		return nil
	}))
	s.Publish("pen")
	After(time.Second)
	if st := s.Stats(); handled != 1 || st.Finished != 1 {
		s.Errorf("handled %d times, %+v", handled, st)
	}
}

// failures checks that a handler that fails three times is called four times in all, and
// that its message is acked once.
func failures(s *Scene, middleware func(*nsq.Consumer) nsq.Middleware) {
	s.Config.MaxAttempts = 4
	c := s.Consumer()
	c.Use(middleware(c))
	calls := 0
	s.Handle(c, 1, nsq.HandlerFunc(func(*nsq.Message) error {
		if calls++; calls <= 3 {
			return errBoom
		}
		return nil
	}))
	s.Publish("pen")
	After(time.Minute)
	if st := s.Stats(); calls != 4 || st.Finished != 1 || st.Delivered > 4 || st.InFlight+st.Depth+st.Deferred != 0 {
		s.Errorf("handled %d times, want 4; %+v", calls, st)
	}
}

// panics checks that a panic and the end of the handler's goroutine requeue the message, and
// that the next ones are handled.
func panics(s *Scene, middleware func(*nsq.Consumer) nsq.Middleware) {
	s.Config.MaxAttempts = 4
	c := s.Consumer()
	c.Use(middleware(c))
	calls := 0
	s.Handle(c, 1, nsq.HandlerFunc(func(m *nsq.Message) error {
		switch calls++; calls {
		case 1:
			panic(errBoom)
		case 2:
			m.DisableAutoResponse()
			panic("boom")
		case 3:
			runtime.Goexit()
		}
		return nil
	}))
	s.Publish("pen")
	After(time.Second)
	s.Publish("ink")
	After(time.Second)
	if st := s.Stats(); calls != 5 || st.Finished != 2 || st.Requeued != 3 {
		s.Errorf("handled %d times, want 5; %+v", calls, st)
	}
	if n := c.Snapshot().Panicked; n != 3 {
		s.Errorf("%d panics counted, want 3", n)
	}
}

// verdicts checks that the errors with which a handler decides about its message decide, and
// that the handler is not called again before its time.
func verdicts(s *Scene, middleware func(*nsq.Consumer) nsq.Middleware) {
	c := s.Consumer()
	c.Use(middleware(c))
	var calls []string
	start := time.Now()
	s.Handle(c, 1, nsq.HandlerFunc(func(m *nsq.Message) error {
		calls = append(calls, string(m.Body)+" "+time.Since(start).Round(time.Second).String())
		switch {
		case string(m.Body) == "bad":
			return nsq.Discard(errBoom)
		case m.Attempts == 1:
			return nsq.RetryAfter(10*time.Second, errBoom)
		}
		return nil
	}))
	s.Publish("bad", "later")
	After(time.Minute)
	if want := []string{"bad 0s", "later 0s", "later 10s"}; !slices.Equal(calls, want) {
		s.Errorf("calls %q, want %q", calls, want)
	}
	if st := s.Stats(); st.Finished != 2 || st.Requeued != 1 {
		s.Errorf("%+v, want 2 finished and 1 requeued", st)
	}
	if counts := c.Snapshot().Counts; counts.Discarded != 1 {
		s.Errorf("%+v, want 1 discarded", counts)
	}
}

// acked checks that a handler that acks or requeues its message by itself is not called again
// for it, whatever it returns.
func acked(s *Scene, middleware func(*nsq.Consumer) nsq.Middleware) {
	c := s.Consumer()
	c.Use(middleware(c))
	calls := 0
	s.Handle(c, 1, nsq.HandlerFunc(func(m *nsq.Message) error {
		calls++
		if m.Attempts == 1 {
			m.Requeue(time.Second)
			return nil
		}
		m.Finish()
		return errBoom
	}))
	s.Publish("pen")
	After(time.Minute)
	if st := s.Stats(); calls != 2 || st.Finished != 1 || st.Requeued != 1 {
		s.Errorf("handled %d times, want 2; %+v", calls, st)
	}
}

// givenUp checks that a handler hears of a message that is given up, through three layers of
// the middleware.
func givenUp(s *Scene, middleware func(*nsq.Consumer) nsq.Middleware) {
	s.Config.MaxAttempts = 2
	c := s.Consumer()
	c.Use(middleware(c), middleware(c), middleware(c))
	h := &failing{}
	s.Handle(c, 1, h)
	s.Publish("pen")
	After(time.Minute)
	if !slices.Equal(h.failed, []string{"pen"}) || s.Stats().Finished != 1 {
		s.Errorf("given up: %q; %+v", h.failed, s.Stats())
	}
}

// failing is a handler that always fails, and hears of messages that are given up.
type failing struct{ failed []string }

func (*failing) HandleMessage(*nsq.Message) error { return errBoom }

func (h *failing) LogFailedMessage(m *nsq.Message) { h.failed = append(h.failed, string(m.Body)) }
