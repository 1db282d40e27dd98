package nsq

import (
	"context"
	"time"
)

// Stop begins to stop the Consumer and returns at once. StopChan is closed when the
// Consumer has stopped. A second call does nothing.
//
// Once Stop has returned, handlers begin no more messages: with one handler goroutine, a
// handler that calls Stop is called for the last time. With more, those on other
// goroutines that have just taken a message still handle it. The Consumer requeues what
// no handler has begun, without backoff.
//
// Handlers have stop_timeout to finish the messages that they have begun. Then the
// contexts of messages end with cause [ErrStopped], and handlers that asked for one get
// another half a second. An nsqd that is frozen delays the stop by about a second if no
// message of its connection is in flight. When StopChan closes, all connections are
// closed. The only handlers still running are those that took longer; nsqd delivers
// their messages again.
func (c *Consumer) Stop() { c.stopBy(time.Now().Add(c.cfg.StopTimeout)) }

// stopBy is Stop with a deadline. If a stop was begun before, the earlier deadline counts.
func (c *Consumer) stopBy(deadline time.Time) {
	c.queue.seal()
	c.post(func(now time.Time) { c.loop.machine.Stop(now, deadline) })
}

// Stopped returns a channel that is closed when the Consumer has stopped, as StopChan is.
// Unlike the field, it can be part of an interface, and a program cannot close its channel.
func (c *Consumer) Stopped() <-chan struct{} { return c.stopped }

// Shutdown stops the Consumer as [Consumer.Stop] does, but bounded by ctx instead of
// stop_timeout, and waits until it has stopped. If a stop was begun before, the
// earlier of the two bounds counts.
//
// It returns nil if all handlers have returned, the messages that they began are acked
// or requeued, and all acks and requeues were sent. Otherwise it returns a
// [*StopError], which wraps the context's cause. A handler must not call Shutdown, nor a
// hook: it would wait for itself.
func (c *Consumer) Shutdown(ctx context.Context) error {
	c.queue.seal()
	c.post(func(now time.Time) { c.loop.machine.Stop(now, time.Time{}) })
	select {
	case <-c.StopChan:
	case <-ctx.Done():
		c.post(c.loop.hurry)
		<-c.StopChan // well under a second from here on
	}
	return c.stopError(context.Cause(ctx))
}

// Run waits until ctx ends, stops the Consumer as [Consumer.Stop] does and waits until
// it has stopped. If the Consumer is stopped in another way, it waits for that. It
// returns what [Consumer.Shutdown] returns. Connect before Run or during it.
//
// Handlers begin no more messages once ctx has ended, with the same exception as for
// Stop: a handler may end the Consumer by cancelling ctx. That holds for contexts of
// package context and those that embed one. For others, and for the contexts of further
// calls of Run at the same time, handlers may begin messages until Run has noticed the
// end. A handler that cancels ctx before Run is called may begin more messages until then.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.watch(ctx)()
	select {
	case <-c.StopChan:
	case <-ctx.Done():
		c.Stop()
		<-c.StopChan // bounded by stop_timeout
	}
	return c.stopError(errStopTimeout)
}

// stopError returns the Consumer's StopError with a cause, nil if nothing was left
// unfinished.
func (c *Consumer) stopError(cause error) error {
	left := c.loop.left // StopChan is closed, so it no longer changes
	if left == nil {
		return nil
	}
	e := *left
	e.cause = cause
	return &e
}
