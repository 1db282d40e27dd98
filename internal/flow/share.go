package flow

import (
	"math"
	"slices"
	"time"
)

// Sharing is for when there is a slot for every connection. Each has at least
// one, by which an nsqd that was idle shows that it is not any more. Beyond that
// connections keep what is in use on average, then get what they need beyond that,
// twice as much if all is in use; what is left goes to those that are busy, or if
// none is, to all. Those that could do with more are brought level with each other.
//
// Peaks would not tell the busy from the swamped: with few slots each, all are in
// use at some time everywhere. Wants change only if that is of use to somebody:
// while no connection could do with more, or the others have nothing to spare,
// nothing is sent.

// look finds out what connections use, and plans anew if that helps one.
func (m *Machine) look(now time.Time) {
	m.lookAt = now.Add(m.cfg.Look)
	awake := m.measure(now)
	if awake == 0 && m.preferTurns {
		m.preferTurns = false
		m.plan(now)
	}
	switch slots := m.limit(); {
	case m.mode == turning:
	case awake == 0: // whoever wakes begins with a fair share
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
}

// measure says of each connection what it does with its slots, and returns how
// many have messages.
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

func (c *conn) measure(now time.Time, after time.Duration) {
	if c.use == idle && c.need == 1 && c.load == unknownLoad && c.inFlight == 0 && c.fresh == 0 {
		return // as it was
	}
	quiet := c.inFlight == 0 && now.Sub(c.last) >= after
	fresh := int(min(c.fresh, math.MaxInt32)) // #nosec G115 -- bounded
	rdy := max(c.rdy, 1)
	seen := c.inFlight
	if fresh >= fastPerSlot*rdy {
		seen = c.peak // handlers so fast are never seen at work
	}
	c.load += (min(float64(seen)/float64(rdy), 1) - c.load) / 4
	used := c.load * float64(rdy)
	c.keep = int(math.Ceil(used))
	need := int(used*5/4) + 1
	switch {
	case quiet && now.Sub(c.since) >= after:
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
	// Traffic comes in bursts: what was needed is given up bit by bit.
	c.need = max(need, c.need-(c.need+7)/8)
}

// worthAdopting tells whether the split that was made gives enough more to a connection
// that would use it. Of one that does not seem to need more little is known: the
// way to a distant nsqd can take longer than the handlers, and then what it has
// in use is under way. So it is not for little.
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

// share makes a split and adopts it.
func (m *Machine) share(slots int) {
	m.split(slots)
	m.adopt()
}

func (m *Machine) adopt() {
	for _, c := range m.conns {
		c.want = c.next
	}
	m.changed = true
}

// split sets everybody's next: first up to what each keeps, then to what it
// needs; what is left, to those that are busy; what they cannot take, to all.
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
	left := min(slots, take)
	m.elastic = m.elastic[:0]
	for _, c := range m.conns {
		most := c.maxRDY
		n := min(c.need, most)
		switch {
		case c.draining:
			c.lo, c.hi = 0, 0
		case m.cfg.Uniform:
			c.lo, c.hi = 0, most
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

// guaranteed is how much of what a connection needs is not for others to take.
func (c *conn) guaranteed() int { return max(min(c.keep, c.need, c.maxRDY), 1) }

// fill gives each that is elastic between its lo and its hi, as evenly as that
// allows, and slots in all. Where that leaves a choice, those that have more
// already keep it.
func (m *Machine) fill(slots int) {
	level, above := 0, slots // the highest even level for which slots suffice
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

// slotsAtLevel is what those that are elastic would have at a level.
func (m *Machine) slotsAtLevel(level int) (n int) {
	for _, c := range m.elastic {
		n += min(max(level, c.lo), c.hi)
	}
	return n
}
