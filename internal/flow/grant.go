package flow

import "time"

// Take appends the RDYs to send since the last Take, decreases first.
func (m *Machine) Take(now time.Time, dst []Decision) []Decision {
	if m.stale && !now.Before(m.planAt) {
		m.plan(now)
		m.planAt = now.Add(settleTime)
	}
	if !m.changed {
		return dst
	}
	m.changed = false
	free, slots, owed := m.max, m.limit(), 0
	spare := free - slots
	for _, c := range m.conns {
		spare -= c.setAim(spare)
		if c.aim < c.rdy {
			c.rdy = c.aim
			c.settled = now.Add(settleTime)
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

// setAim says which RDY gives a connection the slots it wants. RDY is a ceiling:
// below what is in flight from before a pause it would bring nothing until that
// is answered. So RDY covers that too, up to what a backoff leaves to spare of
// max_in_flight; setAim returns how much that is.
func (c *conn) setAim(spare int) (covered int) {
	if c.want > 0 {
		covered = min(c.leftover, spare, c.maxRDY-c.want)
	}
	c.aim = c.want + covered
	return covered
}

// owes tells whether a connection comes first for one slot: where slots go round
// each that waits does, otherwise those that have nothing.
func (m *Machine) owes(c *conn) bool {
	return c.rdy < c.aim && (c.rdy == 0 || m.mode == turning)
}

// grant hands out what is free to those that have less than they want. While it
// does not suffice, each that is owed one gets it before anybody gets more, and
// it is not always the same that come first.
func (m *Machine) grant(now time.Time, free, owed int, dst []Decision) []Decision {
	waiting := false
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
			if m.mode == turning && owed > 0 {
				keeps = min(own, c.rdy) // what it is to leave goes to who waits
			}
		}
		rdy := min(c.aim, covered+keeps+max(more, 0))
		if rdy > max(c.rdy, covered) && free >= 0 {
			if m.owes(c) {
				m.grantFrom = i + 1
			}
			if c.rdy == 0 {
				c.since = now
			}
			free -= max(rdy-covered-own, 0)
			c.rdy, c.held = rdy, max(c.held, rdy)
			dst = append(dst, Decision{c.id, rdy})
		}
		waiting = waiting || c.rdy < c.aim
	}
	if waiting && !m.waiting {
		m.waitingSince = now
	}
	m.waiting = waiting
	m.retryAt = now.Add(min(max(now.Sub(m.waitingSince)/8, settleTime), lookInterval))
	return dst
}

// updateHeld says how many slots a connection keeps from the others: its RDY; what it
// has in flight, until the owner says that this is over; and while messages may
// still come that nsqd sent before it knew of a lower RDY, what it had.
func (m *Machine) updateHeld(now time.Time, c *conn) {
	held := max(c.rdy, c.inFlight)
	if now.Before(c.settled) {
		held = max(held, c.held)
	}
	if m.waiting && held < c.held {
		m.changed = true
	}
	c.held = held
}
