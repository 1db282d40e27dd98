package nsq

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Stop begins to stop the Consumer and returns at once; StopChan is closed when
// it has stopped. A second call does nothing.
//
// No more messages are taken. Those that no handler has begun are requeued at
// once, without backoff; handlers may finish theirs, for at most stop_timeout.
// Then the contexts of messages end, with [ErrStopped] as their cause; handlers
// that asked for one have another half a second. When StopChan closes all
// connections are closed, and no handler is running but those that exceeded
// that: nsqd will deliver their messages again.
func (c *Consumer) Stop() {
	c.post(func(now time.Time) { c.loop.machine.Stop(now, now.Add(c.cfg.StopTimeout)) })
}

// Shutdown is [Consumer.Stop] bounded by a context instead of stop_timeout, and
// waits until the Consumer has stopped. If the Consumer was stopped before, what
// ends first ends the wait for handlers.
//
// It returns nil if all handlers have returned, all messages they began are
// answered and all answers were sent, and a [*StopError] that also matches the
// context's cause if not. A handler must not call it: it would wait for itself.
func (c *Consumer) Shutdown(ctx context.Context) error {
	c.post(func(now time.Time) { c.loop.machine.Stop(now, time.Time{}) })
	select {
	case <-c.StopChan:
	case <-ctx.Done():
		c.post(func(now time.Time) { c.loop.machine.Hurry(now) })
		<-c.StopChan // which takes well under a second from here on
	}
	return c.stopError(context.Cause(ctx))
}

// Run waits until the context ends, stops the Consumer as [Consumer.Stop] does
// and waits until it has stopped; or until it was stopped in another way. It
// returns what [Consumer.Shutdown] does. Connect before, or meanwhile.
func (c *Consumer) Run(ctx context.Context) error {
	select {
	case <-c.StopChan:
	case <-ctx.Done():
		c.Stop()
		<-c.StopChan // bounded by stop_timeout
	}
	return c.stopError(errStopTimeout)
}

// stopError is what a stopped Consumer has left.
func (c *Consumer) stopError(cause error) error {
	left := c.loop.left // StopChan is closed: it does not change any more
	if left == nil {
		return nil
	}
	told := *left
	told.cause = cause
	return &told
}

// StopError says what a Consumer that had to stop in time left behind. nsqd
// delivers the messages again.
type StopError struct {
	Topic, Channel string
	Running        []Unfinished // handlers that had not returned
	Unanswered     []Unfinished // messages that handlers had left to be answered later
	Cut            []string     // addresses of nsqds that did not take the last answers in time

	cause error
}

// Unfinished is a message that a handler had begun.
type Unfinished struct {
	ID          MessageID
	NSQDAddress string
}

// Error names the messages and the nsqds.
func (e *StopError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "consumer of %s/%s stopped", e.Topic, e.Channel)
	for _, left := range []struct {
		what     string
		messages []Unfinished
	}{{"handlers running", e.Running}, {"messages unanswered", e.Unanswered}} {
		if n := len(left.messages); n > 0 {
			fmt.Fprintf(&b, ", %d %s:", n, left.what)
			for _, u := range left.messages[:min(n, 5)] {
				fmt.Fprintf(&b, " %s of %s", u.ID[:], u.NSQDAddress)
			}
			if n > 5 {
				b.WriteString(" ...")
			}
		}
	}
	if len(e.Cut) > 0 {
		fmt.Fprintf(&b, ", answers not taken by %s", strings.Join(e.Cut, " "))
	}
	if e.cause != nil {
		fmt.Fprintf(&b, ": %v", e.cause)
	}
	return b.String()
}

// Unwrap returns why it had to.
func (e *StopError) Unwrap() error { return e.cause }
