package flow

import "time"

// Take appends the RDYs to send since the last Take, decreases first.
func (m *Machine) Take(now time.Time, dst []Decision) []Decision {
	if m.stale && !now.Before(m.calm) {
		m.plan(now)
		m.calm = now.Add(settle)
	}
	if !m.changed {
		return dst
	}
	m.changed = false
	free, slots, starved := m.max, m.limit(), 0
	for _, c := range m.conns {
		if c.want < c.rdy {
			c.rdy = c.want
			c.settles = now.Add(settle)
			dst = append(dst, Decision{c.id, c.rdy})
		}
		free -= c.held
		slots -= c.own
		if c.rdy == 0 && c.want > 0 {
			starved++
		}
	}
	return m.grant(now, min(free, slots), starved, dst)
}

// grant hands out what is free to those that have less than they want. While it
// does not suffice, each of those that have nothing gets one before anybody gets
// more, and it is not always the same that come first.
func (m *Machine) grant(now time.Time, free, starved int, dst []Decision) []Decision {
	waiting := false
	start := m.first
	for i := range m.conns {
		i = (start + i) % len(m.conns)
		c := m.conns[i]
		if c.want <= c.rdy {
			continue
		}
		more := free - starved
		if c.rdy == 0 {
			starved--
			more = max(more+1, min(free, 1))
		}
		rdy := min(c.want, c.own+max(more, 0))
		if rdy > c.rdy && free >= 0 {
			if c.rdy == 0 {
				c.since = now
				m.first = i + 1
			}
			free -= max(rdy-c.own, 0)
			c.rdy, c.held, c.own = rdy, max(c.held, rdy), max(c.own, rdy)
			dst = append(dst, Decision{c.id, rdy})
		}
		waiting = waiting || c.rdy < c.want
	}
	if waiting && !m.waiting {
		m.waits = now
	}
	m.waiting = waiting
	m.poll = now.Add(min(max(now.Sub(m.waits)/8, settle), look))
	return dst
}

// claim says how many slots a connection keeps from the others: its RDY; while
// messages may still come that nsqd sent before it knew of a lower one, what it
// had; and what it has in flight. Whatever is in flight above RDY came before
// RDY was lowered, so nsqd has given up on all of it a lease after that, and so
// do we: a message that is never answered does not hold a slot for ever.
func (m *Machine) claim(now time.Time, c *conn) {
	if c.held == c.rdy && c.inFlight <= c.rdy {
		return // as most, most of the time
	}
	held, own := max(c.rdy, c.inFlight), max(c.rdy, c.inFlight-c.before)
	switch {
	case now.Before(c.settles):
		held, own = max(held, c.held), max(own, c.own)
	case now.Sub(c.settles) >= c.limits.Lease:
		held, own = c.rdy, c.rdy
	}
	if m.waiting && (held < c.held || own < c.own) {
		m.changed = true
	}
	c.held, c.own = held, own
}
