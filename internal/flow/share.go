package flow

import (
	"math"
	"slices"
	"time"
)

// Sharing applies while there is a slot for every connection. Slots go out in this
// order, and within each step to the connections that have fewest:
//
//  1. One to each connection. It shows when an idle nsqd has messages again.
//  2. To each connection, the slots that it has in use on average, or half of its
//     slots if all are in use.
//  3. To each connection, the slots that it needs: a quarter more than it uses, or
//     twice its RDY if all of that is in use.
//  4. The rest to connections with messages, and what those cannot take to all.
//
// A look averages the slots in use. Peaks would tell nothing: with few slots each,
// every connection has all of its slots in use at some point. Wants change only if
// that gives a busy connection more; otherwise nothing is sent.

// look measures what connections use, and changes wants if that helps one of them.
func (m *Machine) look(now time.Time) {
	if m.allowance.on {
		m.lookForMessages(now)
		return
	}
	m.lookAt = now.Add(m.cfg.Look)
	if m.mode == inRounds {
		m.judgeRounds(now)
		return
	}
	awake := m.measure(now)
	if awake == 0 && m.preferTurns {
		m.preferTurns = false
		m.plan(now)
	}
	switch slots := m.limit(); {
	case m.mode == turning:
	case awake == 0: // the split is even again when messages return
		for _, c := range m.conns {
			c.need = 1
		}
		m.share(slots)
		m.lookAt = time.Time{}
	case awake < m.open && slots < 2*m.open && slices.ContainsFunc(m.conns, (*conn).thirsty):
		m.preferTurns = true
		m.plan(now)
	default:
		m.split(slots)
		if m.worthAdopting() {
			m.adopt()
		}
	}
	m.tryRounds(now)
}

// measure updates what each connection does with its slots, and returns how many
// connections have messages.
func (m *Machine) measure(now time.Time) (n int) {
	for _, c := range m.conns {
		c.measure(now, m.cfg.Idle)
		if c.use != idle && !c.draining {
			n++
		}
		c.peak, c.fresh = c.inFlight, 0
	}
	return n
}

// measure updates what c does with its slots. A connection without messages for
// idleAfter is idle.
func (c *conn) measure(now time.Time, idleAfter time.Duration) {
	if c.use == idle && c.need == 1 && c.load == unknownLoad && c.inFlight == 0 && c.fresh == 0 {
		return // it was idle and still is
	}
	quiet := c.inFlight == 0 && now.Sub(c.last) >= idleAfter
	fresh := int(min(c.fresh, math.MaxInt32)) // #nosec G115 -- bounded
	rdy := max(c.rdy, 1)
	seen := c.inFlight
	if fresh >= fastPerSlot*rdy {
		seen = c.peak // with handlers this fast, a look finds nothing in flight
	}
	c.load += (min(float64(seen)/float64(rdy), 1) - c.load) / 4
	used := c.load * float64(rdy)
	c.keep = int(math.Ceil(used))
	need := int(used*5/4) + 1
	switch {
	case quiet && now.Sub(c.since) >= idleAfter:
		c.use, c.load, c.keep, c.need = idle, unknownLoad, 1, 1
		return
	case c.load >= fullLoad && c.rdy > 0:
		c.use, c.keep, need = full, c.want/2, max(2*c.rdy, c.want)
	case quiet:
		c.use = idle
	case fresh >= max(c.rdy/2, 2):
		c.use = busy
	default:
		c.use = light
	}
	// Traffic comes in bursts, so need falls by at most an eighth per look.
	c.need = max(need, c.need-(c.need+7)/8)
}

// worthAdopting reports whether the split is worth its RDYs: whether at least one
// connection gains enough. A full connection must gain a sixteenth, or one slot. A
// busy one may have no use for more, or its messages may be on the wire, which can
// take longer than the handlers. It must gain a quarter.
func (m *Machine) worthAdopting() bool {
	for _, c := range m.conns {
		least := max(c.want/16, 1)
		if c.use == busy {
			least = max(c.want/4, 1)
		}
		if c.use >= busy && c.next-c.want >= least {
			return true
		}
	}
	return false
}

// share splits the slots and adopts the result.
func (m *Machine) share(slots int) {
	m.split(slots)
	m.adopt()
}

// adopt makes the split the wants.
func (m *Machine) adopt() {
	for _, c := range m.conns {
		c.want = c.next
	}
	m.changed = true
}

// split sets next of every connection, in the order that the top of this file
// describes. It first finds the step at which the slots run out. Every connection
// then gets what the steps before that give it (lo), and all share the rest up to
// what this step gives them (hi).
func (m *Machine) split(slots int) {
	keep, need, use, take := 0, 0, 0, 0
	for _, c := range m.conns {
		if c.draining {
			continue
		}
		n := min(c.need, c.maxRDY)
		keep += c.guaranteed()
		need += n
		take += c.maxRDY
		if c.use == idle {
			use += n
		} else {
			use += c.maxRDY
		}
	}
	left, found := min(slots, take), m.found()
	m.elastic = m.elastic[:0]
	for _, c := range m.conns {
		most := c.maxRDY
		n := min(c.need, most)
		switch {
		case c.draining:
			c.lo, c.hi = 0, 0
		case m.cfg.Uniform:
			c.lo, c.hi = 0, most
		case m.allowance.on:
			c.lo, c.hi = 1, most
			if found && c.use == idle {
				c.hi = 1
			}
		case keep > slots:
			c.lo, c.hi = 1, c.guaranteed()
		case need >= slots:
			c.lo, c.hi = c.guaranteed(), n
		case use >= slots && c.use == idle:
			c.lo, c.hi = n, n
		case use >= slots, c.use == idle:
			c.lo, c.hi = n, most
		default:
			c.lo, c.hi = most, most
		}
		if c.lo < c.hi {
			m.elastic = append(m.elastic, c)
			continue
		}
		c.next = c.lo
		left -= c.lo
	}
	m.fill(left)
}

// guaranteed returns the slots that a connection keeps even if others need more.
func (c *conn) guaranteed() int { return max(min(c.keep, c.need, c.maxRDY), 1) }

// fill splits slots among the elastic connections as evenly as their bounds lo and
// hi allow. If some must get one more than others, those that have more now keep it,
// so that fewer RDYs change.
func (m *Machine) fill(slots int) {
	level, above := 0, slots // ends as the highest level for which slots suffice
	for level < above {
		mid := (level + above + 1) / 2
		if m.slotsAtLevel(mid) <= slots {
			level = mid
		} else {
			above = mid - 1
		}
	}
	left := slots - m.slotsAtLevel(level)
	for _, c := range m.elastic {
		c.next = min(max(level, c.lo), c.hi)
	}
	for _, keeps := range []bool{true, false} {
		for _, c := range m.elastic {
			if left > 0 && c.next == level && c.next < c.hi && (c.want > level) == keeps {
				c.next++
				left--
			}
		}
	}
}

// slotsAtLevel returns how many slots it takes to give each elastic connection level,
// or the bound that is nearest to it.
func (m *Machine) slotsAtLevel(level int) (n int) {
	for _, c := range m.elastic {
		n += min(max(level, c.lo), c.hi)
	}
	return n
}
