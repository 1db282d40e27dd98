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
// No message has a timer. The run loop looks at the messages in hand when the first
// of their leases can end: see sweep. The lease of a message that arrives before that
// look ends after it.

// sweepQuantum is the least time between two sweeps, for when leases end one shortly
// after the other.
const sweepQuantum = 5 * time.Millisecond

// leaseEnds returns when a message's lease ends, by the Consumer's clock.
func (m *Message) leaseEnds() time.Duration {
	return m.received + time.Duration(atomic.LoadUint32(&m.lease))*time.Millisecond
}

// lastLeaseEnds returns the latest time to which auto_touch can extend the lease, or
// the lease's end without auto_touch.
func (m *Message) lastLeaseEnds() time.Duration {
	ends := m.leaseEnds()
	if touching := m.conn.c.queue.touching; touching > 0 {
		ends = min(m.conn.c.elapsed()+touching+m.conn.msgTimeout, m.received+m.conn.maxMsgTimeout)
	}
	return ends
}

// extend makes the lease last for a length from now, but no longer than most in all.
func (m *Message) extend(now, length, most time.Duration) {
	atomic.StoreUint32(&m.own().lease, milliseconds32(min(now-m.received+length, most)))
}

// extensible reports whether a TOUCH could make the lease end later.
func (m *Message) extensible() bool {
	return atomic.LoadUint32(&m.lease) < milliseconds32(m.conn.maxMsgTimeout)
}

// sweepResult is what a sweep has found.
type sweepResult struct {
	expired []*Message    // no worker has begun them, and none must
	overdue []*Message    // begun, and not acked in time
	touch   []*Message    // to be touched, for auto_touch
	next    time.Duration // when the next sweep is due
}

// sweep looks at the leases of all messages in hand. With auto_touch, those that
// handlers work on are to be touched when no more than half of the shortest lease is
// left.
//
// The next sweep is due when the first lease can end: at the latest when that of a
// message that comes right after this sweep does. With auto_touch it comes earlier, to
// see in time the messages that waited in the queue before they were begun.
func (d *deliveryQueue) sweep(now, shortest time.Duration) sweepResult {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := sweepResult{next: now + shortest}
	if d.touching > 0 {
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
	for _, w := range d.busy {
		switch m := w.current(); {
		case m.is(responded | timedOut | detached):
		case d.touching > 0 && now-time.Duration(w.begun.Load()) < d.touching && m.extensible():
			if half := m.leaseEnds() - shortest/2; half <= now {
				found.touch = append(found.touch, m)
			} else {
				found.next = min(found.next, half)
			}
		}
	}
	found.next = max(found.next, now+sweepQuantum)
	return found
}

// OnTouch sends TOUCH.
func (cc *consumerConn) OnTouch(m *Message) {
	if cc.link.Touch((*wire.ID)(&m.ID)) {
		m.extend(cc.c.elapsed(), cc.msgTimeout, cc.maxMsgTimeout)
	}
}

// sweepLeases looks at all leases and gives up the messages that nsqd has given up. It
// returns when the next sweep is due, and how many messages expired before a worker
// began them.
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

// begin reports whether a handler may begin a message. Its lease may have ended
// since the last sweep. With auto_touch a message that has waited for long is touched
// now: the next sweep may be too late.
func (c *Consumer) begin(w *worker, m *Message) bool {
	left := m.leaseEnds() - w.now
	if left <= 0 {
		if m.expire() {
			m.conn.conclude(nil, m, outcome{fate: expired})
		}
		return false
	}
	if c.queue.touching > 0 {
		w.begun.Store(int64(w.now))
		if left < m.conn.msgTimeout*3/4 {
			m.Touch()
		}
	}
	return true
}
