package nsq

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// loopStuckAfter is how long the run loop may take to run an event. It waits for nothing
// but Config.Logger, BackoffStrategy and the lock of a queue. A machine that is short of
// CPU may delay it by a second or so.
const loopStuckAfter = 10 * time.Second

// HealthCause is why a Consumer is not healthy. The set of values is small and fixed, so a
// HealthCause can be a metric's label.
type HealthCause string

// The causes.
const (
	// CauseLoopStuck: the goroutine that makes the Consumer's decisions has not responded
	// for more than ten seconds. Most likely Config.Logger or BackoffStrategy blocks.
	CauseLoopStuck HealthCause = "loop_stuck"
	// CauseHandlerStuck: the lease of a message ended more than stuck_after ago, and its
	// handler is still at work: see Config.StuckAfter.
	CauseHandlerStuck HealthCause = "handler_stuck"
	// CauseNotConnected: there is no connection to an nsqd, although there should be one.
	CauseNotConnected HealthCause = "not_connected"
	// CauseStopping: the Consumer is stopping, or has stopped.
	CauseStopping HealthCause = "stopping"
)

// NeedsRestart reports whether only a restart of the process helps.
func (c HealthCause) NeedsRestart() bool { return c == CauseLoopStuck || c == CauseHandlerStuck }

// HealthError is one reason why a Consumer is not healthy: see [Consumer.Health].
type HealthError struct {
	Topic, Channel string
	Cause          HealthCause
	Err            error // the details
}

// Error names the Consumer and says what is wrong.
func (e *HealthError) Error() string {
	return fmt.Sprintf("consumer of %s/%s: %v", e.Topic, e.Channel, e.Err)
}

// Unwrap returns the details.
func (e *HealthError) Unwrap() error { return e.Err }

// Health returns nil if the Consumer works. Otherwise it returns one [*HealthError] for
// each cause, joined. Package health serves the result to the probes of an orchestrator.
//
// A Consumer is healthy if all of this holds:
//
//   - It is neither stopping nor stopped.
//   - Its run loop responds, and no handler is stuck.
//   - It is connected to an nsqd, or an nsqlookupd responds and none lists an nsqd, which
//     means that nothing was ever published.
//
// It makes no difference whether messages come, handlers fail, or the Consumer backs off
// or is paused.
//
// Health returns at once, even if the Consumer is stuck. It notices a stuck run loop only
// if an earlier call was more than ten seconds ago, so call it regularly. Hooks, loggers
// and handlers may call it, from any goroutine.
func (c *Consumer) Health() error {
	var errs []error
	for _, check := range []func() (HealthCause, error){c.checkLoop, c.checkHandlers, c.checkConnected} {
		if cause, err := check(); err != nil {
			errs = append(errs, &HealthError{Topic: c.topic, Channel: c.channel, Cause: cause, Err: err})
		}
	}
	return errors.Join(errs...)
}

// checkLoop posts a probe, an event for the run loop, unless one is pending already. It
// reports a run loop that has left a probe pending for too long.
func (c *Consumer) checkLoop() (HealthCause, error) {
	now := c.elapsed()
	if sent := time.Duration(c.probed.Load()); sent != 0 {
		if silent := now - sent; silent > loopStuckAfter {
			return CauseLoopStuck, fmt.Errorf("the run loop has not responded for %v: does Logger or BackoffStrategy block?", silent.Round(time.Second))
		}
		return "", nil
	}
	if c.probed.CompareAndSwap(0, int64(max(now, 1))) && !c.post(func(time.Time) { c.probed.Store(0) }) {
		c.probed.Store(0) // the loop has ended
	}
	return "", nil
}

// checkHandlers reports handlers that are stuck.
func (c *Consumer) checkHandlers() (HealthCause, error) {
	if c.cfg.StuckAfter == 0 {
		return "", nil
	}
	n, first, since := c.queue.stuckHandlers(c.elapsed(), c.cfg.StuckAfter)
	if n == 0 {
		return "", nil
	}
	return CauseHandlerStuck, fmt.Errorf("stuck handlers: %d, the longest for %v beyond its lease, with message %s of nsqd %s",
		n, since.Round(time.Second), wire.Printable(string(first.ID[:])), first.NSQDAddress)
}

// stuckHandlers returns how many handlers work on a message whose lease ended more than
// limit ago, and of the lease that ended first the message and how long ago that was.
//
// The end of the lease counts, and not that of the context. The context ends sooner if the
// connection is lost, and that must not shorten the time for a handler that ignores
// contexts. With auto_touch the latest end that the lease can have counts, for the same
// reason. A handler that has acked its message may take as long as it likes.
func (d *deliveryQueue) stuckHandlers(now, limit time.Duration) (n int, first Unfinished, since time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stuck := func(m *Message, begun time.Duration) bool {
		if m.is(responded | detached) {
			return false
		}
		over := now - m.lastLeaseEnds(begun)
		if over > max(since, limit) {
			first, since = Unfinished{ID: m.ID, NSQDAddress: m.conn.addr}, over
		}
		return over > limit
	}
	for _, w := range d.busy {
		if stuck(w.current(), time.Duration(w.begun.Load())) {
			n++
		}
	}
	for _, b := range d.batches {
		if slices.ContainsFunc(b.messages, func(m *Message) bool { return stuck(m, b.begun) }) {
			n++
		}
	}
	return n, first, since
}

var (
	errStopping    = errors.New("stopping")
	errUnconnected = errors.New("connected to no nsqd")
)

// checkConnected reports a Consumer that is stopping, or that has no connection.
func (c *Consumer) checkConnected() (HealthCause, error) {
	switch {
	case c.queue.isSealed():
		select {
		case <-c.stopped:
			return CauseStopping, ErrStopped
		default:
			return CauseStopping, errStopping
		}
	case slices.ContainsFunc(c.connected.Load().open, func(cc *consumerConn) bool { return !cc.draining.Load() }):
		return "", nil
	}
	seen := c.discovery.seen.Load()
	switch {
	case seen == nil:
		return CauseNotConnected, errUnconnected
	case seen.listed > 0:
		return CauseNotConnected, fmt.Errorf("%w, although nsqlookupds list %d", errUnconnected, seen.listed)
	case seen.responding:
		return "", nil
	case seen.failed != nil:
		return CauseNotConnected, fmt.Errorf("%w, and no nsqlookupd responds: %w", errUnconnected, seen.failed)
	}
	return CauseNotConnected, errUnconnected
}

// lookupdsSeen is what the last requests to nsqlookupds have shown.
type lookupdsSeen struct {
	listed     int   // how many nsqds they list, unusable ones included, that pass the filter
	responding bool  // the last request to at least one of them had a response
	failed     error // the errors of those whose last request failed, joined
}

func newLookupdsSeen(lookupds []LookupdSnapshot, listed int) *lookupdsSeen {
	seen := &lookupdsSeen{listed: listed}
	for _, l := range lookupds {
		switch {
		case l.LastError != nil:
			seen.failed = errors.Join(seen.failed, fmt.Errorf("nsqlookupd %s: %w", l.Addr, l.LastError))
		case !l.LastResponse.IsZero():
			seen.responding = true
		}
	}
	return seen
}
