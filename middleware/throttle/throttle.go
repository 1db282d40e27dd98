// Package throttle bounds the rate at which handlers are called, with a limiter of
// golang.org/x/time/rate.
package throttle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/lease"
)

// ErrThrottled is why the handler was not called: the rate would have let the message wait for
// too long. It comes wrapped in an [nsq.RetryAfter].
var ErrThrottled = errors.New("rate exceeded")

// New returns a middleware that calls handlers at the rate of the limiter, over all handlers
// and Consumers that share it. The limiter's rate and burst may be changed at any time. New
// panics if the limiter is nil.
//
// Messages wait for their turn, in the order in which they came. If a message would have to
// wait for more than half of what is left of its lease, it leaves its turn to others. It still
// waits for that half, and is then requeued with a delay for the rest. If it were requeued at
// once, idle handlers would requeue the whole channel as fast as they can, and each time would
// cost one of max_attempts.
//
// So keep max_in_flight, over all Consumers that share the limiter, below half of the lease
// times the rate: with the default lease of a minute, below 30 for one message a second. Then no
// message is requeued. If that is not possible, set max_attempts to 0.
func New(limiter *rate.Limiter) nsq.Middleware {
	if limiter == nil {
		panic("nil limiter")
	}
	return func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			if err := wait(m.Context(), limiter); err != nil {
				return err
			}
			return next.HandleMessage(m)
		})
	}
}

// wait returns nil when it is the message's turn, or the error for the Consumer.
func wait(ctx context.Context, limiter *rate.Limiter) error {
	turn := limiter.Reserve()
	delay, most := turn.Delay(), lease.Half(ctx)
	if delay > most {
		turn.Cancel()
		return notCalled(delay-most, lease.Sleep(ctx, most))
	}
	if err := lease.Sleep(ctx, delay); err != nil {
		turn.Cancel()
		return notCalled(0, err)
	}
	return nil
}

// notCalled returns the error for the Consumer. ended is why the message's context has ended,
// or nil. If it has ended, the Consumer is stopping, or nsqd delivers the message again anyway.
func notCalled(delay time.Duration, ended error) error {
	if ended != nil {
		return nsq.RetryAfter(0, fmt.Errorf("handler not called: %w: %w", ErrThrottled, ended))
	}
	return nsq.RetryAfter(delay, fmt.Errorf("handler not called: %w", ErrThrottled))
}
