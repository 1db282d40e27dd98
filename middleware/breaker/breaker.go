// Package breaker stops calling a handler that keeps failing, with the circuit breaker of
// github.com/failsafe-go/failsafe-go.
package breaker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/lease"
)

// New returns a middleware for the handlers of the Consumer c that calls them only while the
// breaker allows it.
//
// A message that meets an open breaker is requeued, which costs one of its max_attempts. So an
// open breaker also keeps messages from coming: the middleware sets max_in_flight of c to 0,
// and only the messages in hand are requeued, with what is left of the breaker's delay. When
// the delay is over, it sets max_in_flight to 1, so that messages come one at a time. When the
// breaker closes, it restores max_in_flight. It uses [nsq.Consumer.ChangeMaxInFlight], which
// the program should not call while the breaker is not closed. [nsq.Consumer.Pause] is left to
// the program.
//
// The breaker records nil as a success, and a panic as a failure. Which other errors are
// failures, its builder says: by default all are. Some errors say nothing about whether things
// go well, and are not recorded: those of a handler that has decided about its message
// ([nsq.Message.Decided]), and those of a handler whose context ended with the connection to
// nsqd or with the stop of the Consumer. While the breaker is half-open, they count as
// successes, because each try must have a result.
//
// Errors still make the Consumer back off. To leave that to the breaker, set
// max_backoff_duration to 0.
//
// Consumers may share a breaker, each with a middleware of its own. New panics if an argument
// is nil.
func New[R any](cb circuitbreaker.CircuitBreaker[R], c *nsq.Consumer) nsq.Middleware {
	if cb == nil || c == nil {
		panic("nil circuit breaker or Consumer")
	}
	g := &gate[R]{cb: cb, c: c, turn: make(chan struct{}, 1)}
	return func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error { return g.handle(next, m) })
	}
}

// gate is what the handlers of a Consumer share.
type gate[R any] struct {
	cb circuitbreaker.CircuitBreaker[R]
	c  *nsq.Consumer

	held atomic.Bool   // adjust has changed max_in_flight
	turn chan struct{} // has a token while adjust runs, which guards the fields below

	normal  int         // max_in_flight before, if held
	allowed int         // max_in_flight now, if held
	timer   *time.Timer // calls adjust when the breaker's delay is over; nil before the first
}

// handle calls the handler if the breaker allows it, and records the result. The message is
// requeued after adjust has returned: if the REQ went first, nsqd would send another message in
// its place.
func (g *gate[R]) handle(next nsq.Handler, m *nsq.Message) error {
	defer g.adjust()
	if !g.permitted(m.Context()) {
		err := fmt.Errorf("handler not called: %w", circuitbreaker.ErrOpen)
		return nsq.RetryAfter(g.cb.RemainingDelay(), err)
	}
	began := g.cb.State()
	record := g.cb.RecordFailure // if the handler panics
	defer func() {
		// The result of a handler that began before the breaker opened is no news.
		if g.cb.State() == began {
			record()
		}
	}()
	err := next.HandleMessage(m)
	record = func() { g.record(m, err) }
	return err
}

// poll is how often a message that waits for the results of others asks for a permit.
const poll = 100 * time.Millisecond

// permitted reports whether the handler may be called. While the breaker is half-open and
// other messages are being tried, it waits, for at most half of what is left of the lease. If
// it did not wait, messages would be requeued one after the other until those tries end.
func (g *gate[R]) permitted(ctx context.Context) bool {
	for left := lease.Half(ctx); ; left -= poll {
		switch {
		case g.cb.TryAcquirePermit():
			return true
		case g.cb.IsOpen() || left <= 0 || lease.Sleep(ctx, poll) != nil:
			return false
		}
	}
}

// record records what the handler returned.
func (g *gate[R]) record(m *nsq.Message, err error) {
	switch {
	case err == nil:
		g.cb.RecordSuccess()
	case !m.Decided(err) && !interrupted(m.Context()):
		g.cb.RecordError(err)
	case g.cb.IsHalfOpen():
		g.cb.RecordSuccess()
	}
}

// interrupted reports whether a handler's context ended with the connection or the Consumer.
func interrupted(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return errors.Is(cause, nsq.ErrConnectionLost) || errors.Is(cause, nsq.ErrStopped)
}

// adjust has max_in_flight follow the breaker's state. Call it after each change of the state.
// Goroutines take turns by a channel, not by a mutex, because adjust waits for the Consumer.
func (g *gate[R]) adjust() {
	if g.cb.IsClosed() && !g.held.Load() {
		return
	}
	g.turn <- struct{}{}
	defer func() { <-g.turn }()
	if g.cb.IsClosed() {
		g.release()
	} else {
		g.hold()
	}
}

// hold sets max_in_flight to 0 while the breaker's delay lasts, and to 1 after it.
func (g *gate[R]) hold() {
	if !g.held.Load() {
		g.normal, g.allowed = g.c.Snapshot().MaxInFlight, -1
		g.held.Store(true)
	}
	allowed := 1
	if again := g.cb.RemainingDelay(); again > 0 {
		allowed = 0
		g.adjustAfter(again)
	}
	if allowed == g.allowed {
		return
	}
	g.allowed = allowed
	g.c.ChangeMaxInFlight(allowed)
	if allowed == 0 {
		g.awaitQuiet()
	}
}

// release restores max_in_flight.
func (g *gate[R]) release() {
	if !g.held.Load() {
		return
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	g.c.ChangeMaxInFlight(g.normal)
	g.held.Store(false)
}

func (g *gate[R]) adjustAfter(d time.Duration) {
	if g.timer == nil {
		g.timer = time.AfterFunc(d, g.adjust)
	} else {
		g.timer.Reset(d)
	}
}

// awaitQuiet waits until the Consumer has sent RDY 0 over all connections, but for no more than
// a tenth of a second. The Consumer needs well under a millisecond.
func (g *gate[R]) awaitQuiet() {
	for range 100 {
		ready := slices.ContainsFunc(g.c.Snapshot().Connections, func(conn nsq.ConnectionSnapshot) bool {
			return conn.RDY > 0
		})
		if !ready || lease.Sleep(context.Background(), time.Millisecond) != nil {
			return
		}
	}
}
