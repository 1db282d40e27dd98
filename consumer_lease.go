package nsq

import (
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// A lease is how long nsqd waits for the ack of a message: msg_timeout from its
// receipt, and again from each TOUCH, but never longer than max_msg_timeout in all.
// nsqd's clock started a little earlier, when it took the message from its queue. So
// when a lease is over here, nsqd has given the message up or is about to, and
// delivers it again.
//
// No message has a timer. The run loop sweeps: it checks all messages in hand when the
// first of their leases can end. The lease of a message that arrives before that sweep
// ends after it. While no message is in flight there are no sweeps: see
// internal/control/leases.go.

// sweepQuantum is the least time between two sweeps, however close together leases end.
const sweepQuantum = 5 * time.Millisecond

// leaseEnds returns when the message's lease ends, on the Consumer's clock.
func (m *Message) leaseEnds() time.Duration {
	return m.received + time.Duration(atomic.LoadUint32(&m.lease))*time.Millisecond
}

// lastLeaseEnds returns the latest time to which auto_touch can extend the lease of a
// message whose handler began at begun. Without auto_touch that is the end of the lease.
func (m *Message) lastLeaseEnds(begun time.Duration) time.Duration {
	ends := m.leaseEnds()
	if touching := m.conn.c.queue.autoTouch; touching > 0 {
		ends = max(ends, min(begun+touching+m.conn.msgTimeout, m.received+m.conn.maxMsgTimeout))
	}
	return ends
}

// extend makes the lease last for length from now, but for no longer than limit in all.
func (m *Message) extend(now, length, limit time.Duration) {
	atomic.StoreUint32(&m.own().lease, milliseconds32(min(now-m.received+length, limit)))
}

// extensible reports whether a TOUCH could make the lease end later.
func (m *Message) extensible() bool {
	return atomic.LoadUint32(&m.lease) < milliseconds32(m.conn.maxMsgTimeout)
}

// sweepResult is what a sweep has found.
type sweepResult struct {
	expired []*Message    // leases ended before that; taken out of the queue
	overdue []*Message    // leases ended after a worker began them; marked as timed out
	touch   []*Message    // auto_touch must touch them now
	next    time.Duration // when the next sweep is due
}

// sweep checks the leases of all messages in hand. With auto_touch it also finds the
// messages to touch: those that handlers work on and whose leases have no more than half
// of the shortest lease left.
//
// The next sweep is due when the next lease can end, which may be that of a message that
// arrives right after this sweep. With auto_touch it is due sooner, so that it finds in
// time the messages that had waited in the queue before a handler began them.
func (d *deliveryQueue) sweep(now, shortest time.Duration) sweepResult {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := sweepResult{next: now + shortest}
	if d.autoTouch > 0 {
		found.next = now + shortest/4
	}
	over := func(m *Message) bool {
		ends := m.leaseEnds()
		if ends > now {
			found.next = min(found.next, ends)
		}
		return ends <= now
	}
	found.expired = d.extract(over)
	found.overdue = d.expireBegun(over)
	touch := func(m *Message, begun time.Duration) {
		if m.is(responded|timedOut|detached) || now-begun >= d.autoTouch || !m.extensible() {
			return
		}
		if half := m.leaseEnds() - shortest/2; half <= now {
			found.touch = append(found.touch, m)
		} else {
			found.next = min(found.next, half)
		}
	}
	for _, w := range d.busy {
		touch(w.current(), time.Duration(w.begun.Load()))
	}
	for _, b := range d.batches {
		for _, m := range b.messages {
			touch(m, b.begun)
		}
	}
	found.next = max(found.next, now+sweepQuantum)
	return found
}

// OnTouch sends TOUCH and extends the lease.
func (cc *consumerConn) OnTouch(m *Message) {
	if cc.link.Touch((*wire.ID)(&m.ID)) {
		m.extend(cc.c.elapsed(), cc.msgTimeout, cc.maxMsgTimeout)
	}
}

// sweepLeases sweeps, gives up the messages whose leases are over, and touches those
// that auto_touch must. It returns when the next sweep is due, and how many messages
// expired before a worker began them.
func (c *Consumer) sweepLeases(now time.Time, shortest time.Duration) (next time.Time, expiredUnbegun int) {
	found := c.queue.sweep(now.Sub(c.start), shortest)
	for _, m := range found.expired {
		if m.respond() {
			m.conn.conclude(nil, m, outcome{fate: expired})
		}
	}
	for _, m := range found.overdue {
		m.conn.conclude(nil, m, outcome{fate: timedOutUnacked})
	}
	for _, m := range found.touch {
		m.Touch()
	}
	return c.start.Add(found.next), len(found.expired)
}

// begin reports whether the handler may begin a message. If the lease has ended since the
// last sweep, begin gives the message up. With auto_touch it touches a message that has
// waited for long, since the next sweep may come too late.
func (c *Consumer) begin(w *worker, m *Message) bool {
	left := m.leaseEnds() - w.now
	if left < leaseMargin && w.fresh < w.freshFor {
		w.now = c.elapsed()
		left = m.leaseEnds() - w.now
	}
	if left <= 0 {
		if m.expire() {
			m.conn.conclude(nil, m, outcome{fate: expired})
		}
		return false
	}
	if c.queue.autoTouch > 0 {
		w.begun.Store(int64(w.now))
		if left < m.conn.msgTimeout*3/4 {
			m.Touch()
		}
	}
	return true
}
