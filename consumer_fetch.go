package nsq

import (
	"context"
	"fmt"
)

// Fetch waits for messages and returns them. It is for programs that take a number of
// messages now and then, and for those with a loop of their own. Answer each message with
// [Message.Answer] or one of its other methods, before its lease ends. Connect with
// [Consumer.Connect] or [Consumer.Discover].
//
// Fetch has nsqds send limits.Messages messages and no more, whatever max_in_flight is; only
// max_bytes_in_flight bounds how many are in flight. Calls may run at the same time, and their
// numbers add up. Between calls no messages come. While a loop over [Consumer.Messages] runs
// as well, max_in_flight applies instead. If only some of many nsqds have messages, it takes a
// fraction of a second to find them. Calls that ask for fewer messages than there are nsqds
// take turns with these: one that has messages serves calls for up to 0.25 s. About once in
// 0.3 s a call also looks at nsqds that had no message, and may take some 50 ms longer.
//
// Fetch returns at the first of these:
//
//   - It has limits.Messages messages, or limits.Bytes bytes.
//   - limits.Wait is over since the first message came.
//   - Half of the lease of one of the messages is over.
//   - No more messages can come, because max_bytes_in_flight are in hand.
//   - ctx ends, or the Consumer stops.
//
// It returns at least one message, or none and an error. The error is the cause of ctx if ctx
// ends before a message comes, and wraps [ErrStopped] if the Consumer stops. Fetch also fails
// if the limits are invalid, or if the Consumer has handlers or middleware. It waits even
// without a connection, during a [Consumer.Pause] and a backoff, and while max_in_flight is 0.
//
// Messages that come too late for a Fetch, because its ctx has just ended for instance, wait
// a second for the next Fetch. Then they are requeued. A message that was delivered more than
// max_attempts times is given up, as with a handler, and not returned. With Config.DeadLetter
// Fetch waits while the Consumer stores the dead letter.
func (c *Consumer) Fetch(ctx context.Context, limits BatchLimits) ([]*Message, error) {
	if err := limits.check(); err != nil {
		return nil, err
	}
	if limits.Wait == 0 {
		limits.Wait = c.fetchRound()
	}
	if err := c.mayTake(); err != nil {
		return nil, err
	}
	for {
		switch {
		case c.queue.isSealed():
			return nil, errConsumerStopped
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		if messages := c.fetchOnce(ctx, limits); len(messages) > 0 {
			return messages, nil
		}
	}
}

// check returns an error if the limits are out of range.
func (l BatchLimits) check() error {
	if l.Messages < 1 || l.Bytes < 0 || l.Wait < 0 {
		return fmt.Errorf("batch limits of %d messages, %d bytes, wait %v: want 1 message or more, and nothing negative",
			l.Messages, l.Bytes, l.Wait)
	}
	return nil
}

// mayTake returns an error if messages cannot be taken without a handler.
func (c *Consumer) mayTake() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.handlers) > 0:
		return errHasHandlers
	case len(c.middleware) > 0:
		return errMiddleware
	}
	c.taken = true
	return nil
}

// fetchOnce gathers messages once. It returns none if the queue was sealed, if ctx has ended
// before a message came, or if all messages were given up.
func (c *Consumer) fetchOnce(ctx context.Context, limits BatchLimits) []*Message {
	col := c.queue.newCollector(limits)
	col.fetch = true
	c.queue.beginFetch(col)
	if !c.post(c.loop.setTakers) {
		c.queue.cancelCollecting(col)
	}
	stop := context.AfterFunc(ctx, func() { c.queue.cancelCollecting(col) })
	c.queue.awaitComplete(col, nil)
	stop()
	if c.runEnded() {
		c.queue.seal()
	}
	messages, late := c.queue.endFetch(col)
	c.reportTakers()
	c.dropExpired(late)
	return c.beginAll(messages, nil)
}

// beginFetch begins the collector of a Fetch.
func (d *deliveryQueue) beginFetch(c *collector) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addCollector(c)
	d.fetches++
}

// endFetch ends the collector of a Fetch, and returns its messages, those apart whose leases
// have ended.
func (d *deliveryQueue) endFetch(c *collector) (messages, late []*Message) {
	messages, late, _ = d.endCollecting(c, nil)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fetches--
	return messages, late
}
