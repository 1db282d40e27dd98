// Package retry calls a handler again after a failure, with the waits of
// github.com/cenkalti/backoff. It is for blips that are over in a second: nsqd does not hear
// of them, and they cost no attempt.
package retry

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/lease"
)

// Option is an option of [New].
type Option func(*policy)

type policy struct {
	tries int
	waits func() backoff.BackOff
}

// Tries sets the largest number of calls of the handler for one delivery. The default is 3.
// Tries panics if n is below 1.
func Tries(n int) Option {
	if n < 1 {
		panic(fmt.Sprintf("%d tries: want 1 or more", n))
	}
	return func(p *policy) { p.tries = n }
}

// Waits sets how long to wait between tries. f is called once for each message, by several
// goroutines at a time, and must return a new BackOff each time, because a BackOff has state.
// The default is an exponential one that begins with about 100 ms and doubles. Waits panics if
// f is nil.
func Waits(f func() backoff.BackOff) Option {
	if f == nil {
		panic("nil function for waits")
	}
	return func(p *policy) { p.waits = f }
}

func defaultWaits() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 100 * time.Millisecond
	b.Multiplier = 2
	return b
}

// New returns a middleware that calls a handler again, a few times, if it returns an error.
// Meanwhile the message occupies the handler's goroutine. If the last try fails, or if the next
// wait would end after half of what was left of the lease, the middleware returns the handler's
// last error.
//
// It does not call the handler again if the handler has panicked or has decided about the
// message: with [nsq.RetryAfter], [nsq.DeadLetter] or [nsq.Discard], by an ack or requeue, or
// with [nsq.Message.DisableAutoResponse]. It heeds backoff.Permanent and backoff.RetryAfter.
// Each try has a context of its own, which ends with the try, and a copy of the message with
// the fields as they were.
//
// Each retry is logged at level Debug by the logger of [nsq.LoggerFromContext].
func New(opts ...Option) nsq.Middleware {
	p := &policy{tries: 3, waits: defaultWaits}
	for _, opt := range opts {
		opt(p)
	}
	return func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error { return p.handle(next, m) })
	}
}

// handle calls the handler until it succeeds or must not be called again. It returns the
// handler's last error, and not that of Retry, which may say that the context has ended.
func (p *policy) handle(next nsq.Handler, m *nsq.Message) error {
	var last error
	attempt := func() (struct{}, error) {
		last = try(next, m)
		if m.Decided(last) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}
	ctx := m.Context()
	_, _ = backoff.Retry(ctx, attempt,
		backoff.WithBackOff(p.waits()),
		backoff.WithMaxTries(uint(p.tries)),                 // #nosec G115 -- above 0
		backoff.WithMaxElapsedTime(max(lease.Half(ctx), 1)), // 0 means no limit
		backoff.WithNotify(func(err error, wait time.Duration) {
			nsq.LoggerFromContext(ctx).DebugContext(ctx, "handler failed, calling it again", "err", err, "wait", wait)
		}))
	return last
}

// try calls the handler once.
func try(next nsq.Handler, m *nsq.Message) error {
	ctx, cancel := context.WithCancel(m.Context())
	defer cancel()
	return next.HandleMessage(m.WithContext(ctx))
}
