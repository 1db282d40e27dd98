package nsq

import "context"

// A stop seals the queue on the goroutine that asks for it, before the run loop hears of
// the stop, which may take a while: from then on no handler begins a message. A sealed
// queue still accepts messages. If it refused them, they would be requeued before CLS,
// and nsqd would send them right back. The run loop closes the queue after CLS.

// seal makes every take return false from now on. If a reader is handling a message, another
// goroutine reads on at once: what nsqd has sent by now must be requeued, and CLS must leave.
func (d *deliveryQueue) seal() {
	d.mu.Lock()
	d.sealed = true
	d.unclaimAll() // a worker takes what it has claimed without asking
	d.wakeAll()
	recalled := d.loans.recall(func(*loan) bool { return true })
	d.mu.Unlock()
	readOnFor(recalled)
}

// isSealed reports whether the queue is sealed: a stop has begun or is about to begin.
func (d *deliveryQueue) isSealed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sealed
}

// giveBack ends a worker's batch and puts back the message that take has just returned,
// and with it those that the worker has not claimed. If the queue has been closed in the
// meantime, nobody takes them out again: giveBack returns them, and the caller requeues
// them. Only the worker calls it.
func (d *deliveryQueue) giveBack(w *worker) (unbegun []*Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	claimed, _ := unpack(w.claims.Load())
	taken := w.batch[claimed-1 : claimed : claimed]
	d.endBatch(w)
	if m := &taken[0]; m.is(timedOut) { // its lease or its connection has just ended
		m.conn.releaseBodies(m.weight.bytes())
	} else {
		d.lanes.putBack(taken)
	}
	if !d.closed {
		return nil
	}
	return d.extract(func(*Message) bool { return true })
}

// watch makes handlers begin no message once ctx has ended. The Consumer watches one
// context at a time, the first.
//
// The workers check a context before each message. A function that is called when ctx ends
// would run later, so the worker whose handler cancelled ctx could begin more messages.
// They check a child of ctx, whose Err costs a few nanoseconds. If package context made
// ctx, the child has ended when the cancel function returns.
func (c *Consumer) watch(ctx context.Context) (unwatch func()) {
	child, cancel := context.WithCancel(ctx)
	if !c.running.CompareAndSwap(nil, &child) {
		cancel()
		return func() {}
	}
	return func() {
		c.running.Store(nil)
		cancel()
	}
}

// runEnded reports whether the context of Run has ended.
func (c *Consumer) runEnded() bool {
	ctx := c.running.Load()
	return ctx != nil && (*ctx).Err() != nil
}
