package nsq

import (
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// A lease is how long nsqd waits for the answer to a message: msg_timeout from
// its receipt, and again from each TOUCH, but never longer than max_msg_timeout.
// nsqd's own clock started a little earlier, when it took the message from its
// queue; so when a lease is over here, nsqd has given the message up or is about
// to, and will deliver it again.
//
// Nothing is timed per message. The run loop looks at what is in hand when the
// first lease of it can end: see sweep. In between, a message that arrives has a
// lease that ends after that look.

// sweepQuantum is the least time between two looks, when leases end one after
// the other.
const sweepQuantum = 5 * time.Millisecond

// leaseEnds is when a message's lease ends, by the Consumer's clock.
func (m *Message) leaseEnds() time.Duration {
	return m.received + time.Duration(atomic.LoadUint32(&m.lease))*time.Millisecond
}

// lastLeaseEnds is the latest that auto_touch can make of that.
func (m *Message) lastLeaseEnds() time.Duration {
	ends := m.leaseEnds()
	if touching := m.conn.c.cfg.AutoTouch; touching > 0 {
		ends = min(m.conn.c.elapsed()+touching+m.conn.msgTimeout, m.received+m.conn.maxMsgTimeout)
	}
	return ends
}

// extend makes a lease last for a while from now, up to a length in all.
func (m *Message) extend(now, length, most time.Duration) {
	atomic.StoreUint32(&m.own().lease, milliseconds32(min(now-m.received+length, most)))
}

// extensible tells whether a TOUCH could make the lease end later.
func (m *Message) extensible() bool {
	return atomic.LoadUint32(&m.lease) < milliseconds32(m.conn.maxMsgTimeout)
}

// sweepResult are what a sweep has found to do.
type sweepResult struct {
	expired []*Message // nobody has begun them and nobody must
	overdue []*Message // they were begun and not answered in time
	touch   []*Message // for auto_touch
	next    time.Duration
}

// sweep looks at all leases. Those of messages in hand are to be touched when no
// more than half of the shortest lease is left, for touching in all. The next
// look is due at the latest when a message that comes right after this one can
// be; with touching, in time to see those that waited in the queue before they
// were begun.
func (d *deliveryQueue) sweep(now, shortest, touching time.Duration) sweepResult {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := sweepResult{next: now + shortest}
	if touching > 0 {
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
	found.overdue = d.giveUp(over)
	for _, w := range d.busy {
		switch m := w.current(); {
		case m.is(responded | timedOut | detached):
		case touching > 0 && now-time.Duration(w.begun.Load()) < touching && m.extensible():
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

// giveUp marks messages that were begun and not answered as timed out.
func (d *deliveryQueue) giveUp(which func(*Message) bool) (marked []*Message) {
	for _, w := range d.busy {
		if m := w.current(); !m.is(responded|timedOut|detached) && which(m) && m.expire() {
			marked = append(marked, m)
		}
	}
	for m := range d.detached {
		if which(m) && m.expire() {
			delete(d.detached, m)
			marked = append(marked, m)
		}
	}
	return marked
}

// orphan is told that a connection has ended: nsqd will deliver what came over it
// again. What nobody has begun is dropped; what was begun is returned.
func (d *deliveryQueue) orphan(from *consumerConn) []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	its := func(m *Message) bool { return m.conn == from }
	d.extract(its)
	return d.giveUp(its)
}

// OnTouch sends TOUCH.
func (cc *consumerConn) OnTouch(m *Message) {
	if cc.link.Touch((*wire.ID)(&m.ID)) {
		m.extend(cc.c.elapsed(), cc.msgTimeout, cc.maxMsgTimeout)
	}
}
