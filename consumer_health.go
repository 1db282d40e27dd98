package nsq

import (
	"errors"
	"fmt"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// loopStuckAfter is how long the run loop may take to respond. It waits for nothing but
// Config.Logger, BackoffStrategy and the lock of a queue; a machine that is short of CPU
// may delay it by a second or so.
const loopStuckAfter = 10 * time.Second

// HealthCause is why a Consumer is not healthy. It is fit for a metric's label.
type HealthCause string

// The causes.
const (
	// CauseLoopStuck: the goroutine that makes the Consumer's decisions has not responded
	// for ten seconds. Most likely Config.Logger or BackoffStrategy blocks.
	CauseLoopStuck HealthCause = "loop_stuck"
	// CauseHandlerStuck: a handler has ignored the end of its message's context for longer
	// than stuck_after: see Config.StuckAfter.
	CauseHandlerStuck HealthCause = "handler_stuck"
	// CauseNotConnected: there is no connection to an nsqd, though there should be one.
	CauseNotConnected HealthCause = "not_connected"
	// CauseStopping: the Consumer is stopping, or has stopped.
	CauseStopping HealthCause = "stopping"
)

// NeedsRestart reports whether nothing but a restart of the process helps.
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

// Health returns nil if the Consumer works, and otherwise one [*HealthError] for each
// cause, joined. Package health serves it to the probes of an orchestrator.
//
// A Consumer is healthy if it is not stopping, none of its handlers and its own run loop
// are stuck, and it is connected to an nsqd. Without a connection it is healthy as well if
// an nsqlookupd responds and none lists an nsqd: nothing was ever published. Whether
// messages come makes no difference, nor do failing handlers, backoff and
// [Consumer.Pause].
//
// Health returns at once, even if the Consumer is stuck. A run loop that is stuck is
// noticed by a call that comes more than ten seconds after another one, so call Health
// regularly. Hooks, loggers and handlers may call it.
func (c *Consumer) Health() error {
	var errs []error
	for _, check := range []func() (HealthCause, error){c.checkLoop, c.checkHandlers, c.checkConnected} {
		if cause, err := check(); err != nil {
			errs = append(errs, &HealthError{Topic: c.topic, Channel: c.channel, Cause: cause, Err: err})
		}
	}
	return errors.Join(errs...)
}

// checkLoop reports a run loop that has not run the last probe, and posts one if there is
// none.
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
	return CauseHandlerStuck, fmt.Errorf("handlers ignore the end of their contexts: %d, the longest for %v, with message %s of nsqd %s",
		n, since.Round(time.Second), wire.Printable(string(first.ID[:])), first.NSQDAddress)
}

// stuckHandlers returns how many handlers work on a message whose lease ended more than
// limit ago, and of the one that does so for the longest time its message and since when.
//
// The lease, and not the end of the context, is what counts, because the context may end
// sooner, when the connection is lost: that must not shorten the time that a handler which
// takes no notice of contexts may need. With auto_touch the lease is taken to its latest
// end, for the same reason. A handler that has acked its message may take as long as it
// likes.
func (d *deliveryQueue) stuckHandlers(now, limit time.Duration) (n int, first Unfinished, since time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.busy {
		m := w.current()
		if m.is(responded | detached) {
			continue
		}
		over := now - m.lastLeaseEnds(time.Duration(w.begun.Load()))
		if over <= limit {
			continue
		}
		n++
		if over > since {
			first, since = Unfinished{ID: m.ID, NSQDAddress: m.conn.addr}, over
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
	case len(c.connected.Load().open) > 0:
		return "", nil
	}
	seen := c.discovery.seen.Load()
	switch {
	case seen == nil:
		return CauseNotConnected, errUnconnected
	case seen.listed > 0:
		return CauseNotConnected, fmt.Errorf("%w of the %d that nsqlookupds list", errUnconnected, seen.listed)
	case seen.responding:
		return "", nil
	case seen.failed != nil:
		return CauseNotConnected, fmt.Errorf("%w, and nsqlookupds fail: %w", errUnconnected, seen.failed)
	}
	return CauseNotConnected, errUnconnected
}

// lookupdsSeen is what nsqlookupds have said last.
type lookupdsSeen struct {
	listed     int   // how many nsqds they list, usable or not, of those that pass the filter
	responding bool  // the last request to one of them had a response
	failed     error // of those whose last request failed
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
