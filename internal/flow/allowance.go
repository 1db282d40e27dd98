package flow

import (
	"slices"
	"time"
)

// An allowance takes the place of max_in_flight while no handler or loop takes messages and
// callers ask for a number of them. It is the number of messages that may still come, over
// all connections. Messages that have come take nothing from it. They are leftovers, as
// after a pause (see setAim): RDY is a ceiling on what is in flight, so it covers them and
// the messages that may still come.
//
// No more messages come than the allowance says, whichever nsqds have them:
//
//  1. Messages that come lower the allowance when they are sampled. Until then they hold the
//     slots that brought them, and grant gives those slots to no other connection.
//  2. An ack would let nsqd send one more message by the same RDY. So the owner calls Spend
//     before each ack, and sends the lower RDY first.
//  3. When callers give up, Allow lowers the allowance. Messages that nsqd has sent by then
//     still come, and no others.
//
// A message has come when a caller can have it. One that a reader has received and is about
// to pass on (Sample.Coming) still counts as one that may come, and holds its slot.
type allowance struct {
	on      bool
	left    int        // messages that may still come
	lowered []Decision // RDYs that Spend has lowered, for Take
	idleAt  time.Time  // when a connection that has had messages lately becomes idle
}

// SetAllowing begins or ends a time in which messages come by allowance only. The allowance
// is 0 at first. The owner must call Sample for all connections before that.
func (m *Machine) SetAllowing(now time.Time, on bool) {
	a := &m.allowance
	if on == a.on {
		return
	}
	a.on, a.left, a.idleAt, m.max = on, 0, time.Time{}, m.bound
	if on {
		m.max = 0
		for _, c := range m.conns {
			m.max += c.inHand()
		}
	}
	m.turns.credit, m.turns.at = 0, now
	m.resetLeftovers()
	m.rescale()
	m.plan(now)
}

// Allowing reports whether messages come by allowance only.
func (m *Machine) Allowing() bool { return m.allowance.on }

// resetLeftovers makes all messages in flight leftovers if messages come by allowance, and
// none otherwise.
func (m *Machine) resetLeftovers() {
	for _, c := range m.conns {
		c.leftover = 0
		if m.allowance.on {
			c.leftover = c.inHand()
		}
	}
}

// inHand returns how many of the messages in flight have come.
func (c *conn) inHand() int { return max(c.inFlight-c.coming, 0) }

// came returns how many messages have come so far.
func (c *conn) came() int64 { return int64(c.received) - int64(c.coming) } // #nosec G115 -- few

// Allow sets the allowance: callers still want n messages. It does nothing unless messages
// come by allowance. The owner must call Sample for all connections before, with the figures
// of the same moment.
func (m *Machine) Allow(now time.Time, n int) {
	if a := &m.allowance; a.on && n != a.left {
		if a.left == 0 && m.mode == turning { // the plan that ends these turns is still pending
			m.mode = resting
			m.clearWants()
		}
		m.max += n - a.left
		a.left = n
		m.rescale()
		m.plan(now)
	}
}

// allowedNow returns how many slots the allowance leaves: one for each message that may
// still come, and during a backoff one for each that has come since its last pause.
func (m *Machine) allowedNow() int {
	slots := m.allowance.left
	if m.backoff.level > 0 {
		for _, c := range m.conns {
			slots += max(c.inHand()-c.leftover, 0)
		}
	}
	return slots
}

// Spending reports whether the owner must call Spend before each ack.
func (m *Machine) Spending() bool {
	return m.allowance.on && slices.ContainsFunc(m.conns, func(c *conn) bool { return c.rdy > 0 })
}

// Spend reports that a message, which came in that epoch over a connection that may be
// down by now, is about to be acked or requeued. The owner calls Sample for the connection
// before that, and sends what Take returns before the ack.
func (m *Machine) Spend(now time.Time, id ID, epoch uint32) {
	c := m.byID[id]
	if c == nil || !m.allowance.on || c.inFlight == 0 {
		return
	}
	if c.rdy >= c.inFlight {
		c.rdy--
		c.settledAt = now.Add(settleTime)
		m.allowance.lowered = append(m.allowance.lowered, Decision{c.id, c.rdy})
		m.changed = true
	}
	inHand := c.inHand()
	c.inFlight--
	m.max += c.inHand() - inHand
	c.held = max(c.held-1, c.rdy)
	if epoch != m.backoff.epoch {
		c.leftover = max(c.leftover-1, 0)
	}
	c.leftover = min(c.leftover, c.inHand())
	m.rescale()
}

// countReceived takes fresh messages of a connection, which have come, out of the allowance.
// inHand is how many it had in hand before.
func (m *Machine) countReceived(c *conn, fresh, inHand int) {
	if !m.allowance.on {
		return
	}
	fresh = min(fresh, m.allowance.left)
	m.allowance.left -= fresh
	m.max += c.inHand() - inHand - fresh
	c.leftover = min(c.leftover, c.inHand())
	if m.backoff.level == 0 {
		c.leftover = c.inHand()
	}
	m.rescale()
	m.stale = m.stale || fresh > 0 // what is left goes where messages come from
}

// lookForMessages notes which connections have had messages lately, and makes a new plan if
// that has changed. It plans the next look for when one of them may become idle: no message
// comes then to wake the machine, and it may have slots or bytes that others need.
func (m *Machine) lookForMessages(now time.Time) {
	m.lookAt, m.allowance.idleAt = time.Time{}, time.Time{}
	for _, c := range m.conns {
		before := c.use
		c.use = idle
		if ends := c.last.Add(m.cfg.Idle); c.received > 0 && now.Before(ends) {
			c.use = busy
			if at := &m.allowance.idleAt; at.IsZero() || ends.Before(*at) {
				*at = ends
			}
		}
		m.stale = m.stale || c.use != before
	}
}

// found reports whether messages come by allowance and some connection has had one lately.
// Then connections without messages get one slot each.
func (m *Machine) found() bool {
	return m.allowance.on && slices.ContainsFunc(m.conns, func(c *conn) bool { return c.use != idle && !c.draining })
}
