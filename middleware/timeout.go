package middleware

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rdyhq/nsq"
)

// TimeoutError is the cause of the end of a handler's context when the time of [Timeout] is
// over. It wraps [context.DeadlineExceeded].
type TimeoutError struct {
	Timeout time.Duration
}

// Error says how long the handler was allowed to take.
func (e *TimeoutError) Error() string { return fmt.Sprintf("handler took longer than %v", e.Timeout) }

// Unwrap returns context.DeadlineExceeded.
func (e *TimeoutError) Unwrap() error { return context.DeadlineExceeded }

// Timeout returns a middleware that ends the handler's context after d, with a
// [*TimeoutError] as its cause. The handler must watch its context, because Timeout waits until
// it returns. If it returns nil after the timeout, the message is acked.
//
// The context still ends with the message's lease, connection or Consumer. The cause is then
// that of [nsq.Message.Context], not a TimeoutError. If the context has ended and the handler
// returns an error, Timeout returns an error that wraps both the cause and the handler's error.
//
// Timeout panics if d is not above 0.
func Timeout(d time.Duration) nsq.Middleware {
	if d <= 0 {
		panic(fmt.Sprintf("timeout %v: want more than 0", d))
	}
	timedOut := &TimeoutError{Timeout: d}
	return func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			ctx, cancel := withTimeout(m.Context(), timedOut)
			defer cancel()
			return explain(ctx, next.HandleMessage(m.WithContext(ctx)))
		})
	}
}

// explain returns err together with the reason why ctx has ended. If the handler has acked, it
// returns err as it is.
func explain(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || cause == nil || cause == context.Canceled || errors.Is(err, cause) { //nolint:errorlint // a reason may wrap it
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// withTimeout is context.WithTimeoutCause, but sets a timer even if the parent's deadline is
// earlier, which package context does not. A message's deadline is not final: the lease goes
// on if the handler touches the message.
func withTimeout(parent context.Context, timedOut *TimeoutError) (context.Context, context.CancelFunc) {
	end, ok := parent.Deadline()
	if !ok || time.Until(end) >= timedOut.Timeout {
		return context.WithTimeoutCause(parent, timedOut.Timeout, timedOut)
	}
	ctx, cancel := context.WithTimeoutCause(&withDeadline{Context: parent}, timedOut.Timeout, timedOut)
	return &withDeadline{ctx, end}, cancel
}

// withDeadline is a context that reports another deadline, or none.
type withDeadline struct {
	context.Context
	end time.Time // zero: none
}

// Deadline returns the other deadline.
func (c *withDeadline) Deadline() (time.Time, bool) { return c.end, !c.end.IsZero() }
