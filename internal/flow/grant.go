package flow

import "time"

// Take appends the RDYs to send now, decreases first.
func (m *Machine) Take(now time.Time, dst []Decision) []Decision {
	if m.stale && !now.Before(m.planAt) {
		m.plan(now)
		m.planAt = now.Add(settleTime)
	}
	if !m.changed {
		return dst
	}
	m.changed = false
	dst = append(dst, m.allowance.lowered...)
	m.allowance.lowered = m.allowance.lowered[:0]
	free, slots, owed := m.max, m.limit(), 0
	spare := free - slots
	for _, c := range m.conns {
		spare -= c.setAim(spare)
		if c.aim < c.rdy {
			c.rdy = c.aim
			c.settledAt = now.Add(settleTime)
			dst = append(dst, Decision{c.id, c.rdy})
		}
		free -= c.held
		slots -= c.held - c.leftover
		if m.owes(c) {
			owed++
		}
	}
	return m.grant(now, min(free, slots), owed, dst)
}

// setAim sets the RDY that gives a connection the slots it wants. RDY is a ceiling:
// with messages from before a pause still in flight, an RDY below their number
// would bring nothing until they are acked. So RDY covers them as well, as far as
// spare allows: the part of max_in_flight that backoff keeps out of use. setAim
// returns how many it covers.
func (c *conn) setAim(spare int) (covered int) {
	if c.want > 0 {
		covered = min(c.leftover, spare, c.maxRDY-c.want)
	}
	c.aim = c.want + covered
	return covered
}

// owes reports whether a connection is owed a slot: one, before any connection gets
// more. While slots go round, every connection below its aim is; in rounds none is, since
// shares go round whole; otherwise only those with RDY 0 are.
func (m *Machine) owes(c *conn) bool {
	return c.rdy < c.aim && (c.rdy == 0 || m.mode == turning) && m.mode != inRounds
}

// grant raises the RDY of connections below their aim, as far as the free slots and
// the byte budget go. The owed connections get one slot each before any gets more. Each
// grant begins after the connection that last got an owed slot.
func (m *Machine) grant(now time.Time, free, owed int, dst []Decision) []Decision {
	waiting, purse := false, m.openPurse()
	start := m.grantFrom
	for i := range m.conns {
		i = (start + i) % len(m.conns)
		c := m.conns[i]
		if c.rdy >= c.aim {
			continue
		}
		covered, own, more := c.aim-c.want, c.held-c.leftover, free-owed
		keeps := own
		if m.owes(c) {
			owed--
			more = max(more+1, min(free, 1))
			if m.mode == turning && owed > 0 && !m.allowance.on {
				// What it holds beyond its RDY goes to others that wait. With an allowance that
				// is left over from the last call, and the connection usually has the next turn.
				keeps = min(own, c.rdy)
			}
		}
		rdy := purse.affords(c, min(c.aim, covered+keeps+max(more, 0)))
		if m.awaitsShare(now, c, rdy) {
			waiting = true
			continue
		}
		if rdy > max(c.rdy, covered) && free >= 0 {
			if m.owes(c) || m.mode == inRounds {
				m.grantFrom = i + 1
			}
			if c.rdy == 0 {
				c.since = now
				if c.assured && !c.broughtMessages() {
					c.visited = now // if a caller gives up early, the next one's visit is to another
				}
			}
			free -= max(rdy-covered-own, 0)
			held := c.held
			c.rdy, c.held = rdy, max(c.held, rdy)
			purse.pay(c, held)
			m.budget.stalled = false
			dst = append(dst, Decision{c.id, rdy})
		}
		waiting = waiting || c.rdy < c.aim
	}
	if waiting && (!m.waiting || m.mode == inRounds) { // in rounds, shares move all the time
		m.waitingSince = now
	}
	m.waiting = waiting
	m.retryAt = now.Add(min(max(now.Sub(m.waitingSince)/8, settleTime), lookInterval))
	return dst
}

// updateHeld sets how many slots c keeps from the others: its RDY or its messages in
// flight, whichever is more. Until nsqd must have seen the last decrease,
// held does not fall: messages that nsqd sent before may still arrive.
func (m *Machine) updateHeld(now time.Time, c *conn) {
	held := max(c.rdy, c.inFlight)
	if now.Before(c.settledAt) {
		held = max(held, c.held)
	}
	if m.waiting && held < c.held {
		m.changed = true
	}
	c.held = held
}
