package nsq

import (
	"slices"
	"sync"
	"time"
)

// BatchLimits says when a batch of messages is complete. See [Consumer.AddBatchHandler] and
// [Consumer.Fetch].
type BatchLimits struct {
	// Messages is the largest number of messages, at least 1.
	Messages int
	// Bytes is the largest total size of bodies, unless the first message alone is larger.
	// 0, the default, is no limit.
	Bytes int
	// Wait is how long after its first message a batch waits for more. With 0, the default,
	// a batch handler gets what has arrived by the time it is free, and Fetch returns what
	// nsqds send within twice output_buffer_timeout, which is 0.5 s unless configured.
	Wait time.Duration
}

// collector gathers messages for one batch, or for one Fetch. The queue feeds it until it is
// complete. Its messages still count as waiting in the queue: they are requeued if the
// Consumer stops, and dropped if their leases or connections end.
//
// The queue's mutex guards all fields but limits and fetch.
type collector struct {
	limits BatchLimits
	fetch  bool // it is of a Fetch, not of a batch handler

	ready     sync.Cond // signalled when complete may have become true
	messages  []*Message
	bytes     int
	full      bool          // it takes no more
	due       bool          // it must not wait for more
	cancelled bool          // its taker has given up
	leaveAt   time.Duration // when it becomes due; 0 while it is empty
	timer     *time.Timer   // runs checkDue at leaveAt
}

// collectedBatch is a batch that a batch handler works on.
type collectedBatch struct {
	w        *worker
	messages []*Message
	begun    time.Duration
}

func (d *deliveryQueue) newCollector(limits BatchLimits) *collector {
	c := &collector{limits: limits}
	c.ready.L = &d.mu
	c.timer = time.AfterFunc(time.Hour, func() { d.checkDue(c) })
	c.timer.Stop()
	return c
}

// complete reports whether the collector has stopped waiting for messages.
func (c *collector) complete() bool { return c.full || len(c.messages) > 0 && c.due }

// beginCollecting makes the queue feed a collector.
func (d *deliveryQueue) beginCollecting(c *collector) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addCollector(c)
}

// addCollector is beginCollecting for callers that hold the mutex.
func (d *deliveryQueue) addCollector(c *collector) {
	c.messages, c.bytes, c.full, c.due, c.leaveAt = nil, 0, false, false, 0
	d.collectors = append(d.collectors, c)
	d.feed()
}

// feed gives waiting messages to the collectors.
func (d *deliveryQueue) feed() {
	for _, c := range d.collectors {
		for !c.full && !d.lanes.empty() {
			d.feedOne(c)
		}
	}
}

// feedOne gives a collector messages of one slab, as many as its limits allow.
func (d *deliveryQueue) feedOne(c *collector) {
	slab := d.lanes.take(c.limits.Messages - len(c.messages))
	n := len(slab)
	if c.limits.Bytes > 0 {
		n = 0
		for n < len(slab) && (c.bytes+len(slab[n].Body) <= c.limits.Bytes || n+len(c.messages) == 0) {
			c.bytes += len(slab[n].Body)
			n++
		}
		d.lanes.putBack(slab[n:])
	}
	wait, first := c.leaveAt, len(c.messages) == 0
	if first {
		wait = d.clock() + c.limits.Wait
	}
	c.messages = slices.Grow(c.messages, n)
	for i := range slab[:n] {
		m := &slab[i]
		c.messages = append(c.messages, m)
		wait = min(wait, m.leaseEnds()-m.conn.msgTimeout/2)
	}
	c.full = n < len(slab) || len(c.messages) == c.limits.Messages || c.limits.Bytes > 0 && c.bytes >= c.limits.Bytes
	if c.full {
		c.ready.Signal()
	} else if first || wait != c.leaveAt {
		c.leaveBy(d, wait)
	}
}

// checkDue makes a collector due if its time has come.
func (d *deliveryQueue) checkDue(c *collector) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch left := c.leaveAt - d.clock(); {
	case c.leaveAt == 0: // it has lost all its messages
	case left > 0:
		c.timer.Reset(left)
	default:
		c.due = true
		c.ready.Signal()
	}
}

// hurryTakers makes the collectors that have messages due if no more can come: some
// connections have as many messages in flight as their RDYs allow, and the others have had
// none for a while. spent says that RDYs will not rise before a message is acked or requeued.
//
// That nsqds have sent all that they were asked for is not certain at once: between Fetches no
// messages come, so one without any for a while may have been asked only now. And the RDY of a
// distant one may have fallen since, with what it sent before still on its way. So a Fetch waits
// rdyGrace for messages that nsqds were asked for, unless that is a single one, as where none is
// expected. Too late for the Fetch, they would be requeued if no other follows soon.
//
// A reader may have counted messages that it has not yet added to the queue. Its connection
// looks full although they are still to come, so hurryTakers then does nothing. No collector is
// forgotten, because each reader calls hurryTakers after it has added its messages: the last
// one finds all of them in the queue.
func (c *Consumer) hurryTakers(spent bool) {
	now, slots, full := c.elapsed(), 0, false
	answered := now // when the nsqds that were asked last must have answered
	for _, conn := range c.connected.Load().open {
		s := conn.link.Stats()
		last := max(s.LastMessage.Sub(c.start), conn.opened)
		switch {
		case s.Received > conn.queued.Load():
			return
		case s.InFlight >= s.RDY:
			full = full || s.InFlight > 0
		case now-last < c.fetchRound():
			return
		}
		if most := conn.askedFor.Load(); most > 1 && int64(s.InFlight) < most {
			answered = max(answered, time.Duration(conn.asked.Load())+rdyGrace)
		}
		slots += max(s.RDY, s.InFlight)
	}
	if full && c.queue.hurryCollectors(slots, spent, answered) && c.flags.claimStall() {
		c.post(c.loop.stall)
	}
}

// rdyGrace is how long a batch waits for RDYs to rise, and a Fetch for what has just been asked
// for.
const rdyGrace = 50 * time.Millisecond

// ask notes that RDY rises.
func (cc *consumerConn) ask(before, rdy int) {
	now, most := cc.c.elapsed(), int64(rdy)
	if before > 0 && now < time.Duration(cc.asked.Load())+rdyGrace {
		most = max(most, cc.askedFor.Load())
	}
	cc.askedFor.Store(most)
	cc.asked.Store(int64(now))
}

// hurryCollectors makes collectors that have messages due, because no more can come by the RDYs
// that were sent. It reports whether some go on waiting, because RDYs may be about to rise:
//
//   - Those of batch handlers wait for rdyGrace if slots, the sum of all RDYs, is below
//     max_in_flight. At the beginning, for instance, the first messages may have shown that
//     the byte budget has room for many more.
//   - Those of Fetches wait for what they have asked for.
//
// If the byte budget is spent, RDYs do not rise. Then no collector goes on waiting, except those
// of Fetches until the nsqds have answered.
func (d *deliveryQueue) hurryCollectors(slots int, spent bool, answered time.Duration) (waits bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock()
	for _, c := range d.collectors {
		at := now
		switch {
		case len(c.messages) == 0 || c.complete():
			continue
		case spent && c.fetch:
			at = answered
		case spent:
		case c.fetch:
			at = c.leaveAt
		case slots < d.limit:
			at += rdyGrace
		}
		if at < c.leaveAt {
			c.leaveBy(d, at)
		}
		waits = waits || !spent && at > now
	}
	return waits
}

// leaveBy sets when a collector becomes due.
func (c *collector) leaveBy(d *deliveryQueue, at time.Duration) {
	c.leaveAt = at
	left := at - d.clock()
	if c.due = left <= 0; c.due {
		c.timer.Stop() // not Reset, for the reason given in runLoop.run
	} else {
		c.timer.Reset(left)
	}
	if c.complete() {
		c.ready.Signal()
	}
}

// awaitComplete waits until a collector is complete, its taker gives up, or the queue is
// sealed. w is the worker of a batch handler, nil for a Fetch: if it must quit, it does not
// wait for more messages.
func (d *deliveryQueue) awaitComplete(c *collector, w *worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !c.complete() && !d.sealed && !c.cancelled && (w == nil || !w.quit) {
		c.ready.Wait()
	}
}

// endCollecting ends a collector, and returns its messages. Those of a batch handler count
// as begun, and those of a Fetch are to be acked later. Messages whose leases have ended
// since the last sweep are returned apart. ok is false, and messages stay where they are,
// if the queue is sealed.
func (d *deliveryQueue) endCollecting(c *collector, w *worker) (messages, late []*Message, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.timer.Stop()
	if d.sealed {
		return nil, nil, false
	}
	d.collectors = slices.DeleteFunc(d.collectors, func(o *collector) bool { return o == c })
	now := d.clock()
	messages = slices.DeleteFunc(c.messages, func(m *Message) bool {
		if m.leaseEnds() > now {
			return false
		}
		late = append(late, m)
		return true
	})
	c.messages = nil
	if w != nil {
		d.batches = append(d.batches, &collectedBatch{w: w, messages: messages, begun: now})
		return messages, late, true
	}
	for _, m := range messages {
		m.set(detached)
		d.detached[m] = struct{}{}
	}
	return messages, late, true
}

// cancelCollecting makes awaitComplete return.
func (d *deliveryQueue) cancelCollecting(c *collector) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.cancelled = true
	c.ready.Signal()
}

// extractCollected takes the matching messages out of collectors and appends them to out.
func (d *deliveryQueue) extractCollected(match func(*Message) bool, out []*Message) []*Message {
	for _, c := range d.collectors {
		before := len(c.messages)
		c.messages = slices.DeleteFunc(c.messages, func(m *Message) bool {
			if !match(m) {
				return false
			}
			c.bytes -= len(m.Body)
			out = append(out, m)
			return true
		})
		if len(c.messages) == before {
			continue
		}
		d.shortOfMessages = true
		c.full = false
		if len(c.messages) == 0 {
			c.due, c.leaveAt = false, 0
		}
	}
	return out
}

// hasBatch reports whether a worker's handler works on a batch. Callers hold the mutex.
func (d *deliveryQueue) hasBatch(w *worker) bool {
	return slices.ContainsFunc(d.batches, func(b *collectedBatch) bool { return b.w == w })
}

// hasBatches reports whether any batch handler is at work.
func (d *deliveryQueue) hasBatches() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.batches) > 0
}

// endBatchOf ends the handler's work on a worker's batch. The program acks later those
// messages that are not acked yet.
func (d *deliveryQueue) endBatchOf(w *worker, messages []*Message) {
	for _, m := range messages {
		d.leave(m)
	}
	d.mu.Lock()
	d.batches = slices.DeleteFunc(d.batches, func(b *collectedBatch) bool { return b.w == w })
	d.mu.Unlock()
}

// wakeAll wakes all workers and collectors. Callers hold the mutex.
func (d *deliveryQueue) wakeAll() {
	d.work.Broadcast()
	for _, c := range d.collectors {
		c.ready.Signal()
	}
}
