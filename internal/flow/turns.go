package flow

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Taking turns is for when there are fewer slots than connections. Slots leave a
// connection from which nothing comes after a visit, and go to the one that has
// waited longest. Where messages come they stay, for a turn at most while
// another that had messages waits. Who uses all it has gets more.
//
// So there may be no end to what connections with messages could use. Therefore an
// eighth of the slots' time is for visits to the others, and is saved up while no
// slot becomes free, as handlers are slow: each is visited within a bounded time
// however busy some are. What slots are left over visits have too.
//
// Turns are taken, too, while there is a slot for every connection but less than
// two, and some use all they have and others nothing: one slot that goes round
// the idle ones leaves nearly all to the busy, one that stays with each leaves
// them less than half.

// visitShare is the share of the slots' time that visits may take from connections
// that have messages: one part in visitShare.
const visitShare = 8

// visitCost is the slot time that a visit takes: nsqd must have seen that the
// slot leaves before it can go on.
const visitCost = visitTime + settleTime

// place is where a connection waits.
type place uint8

const (
	nowhere place = iota
	inCold        // it had no messages when it was left
	inHot         // it had
)

// turns is who waits for a slot.
type turns struct {
	cold, hot queue
	due       time.Time
	credit    time.Duration // slot time for visits
	at        time.Time     // up to when credit is counted
}

// queue is connections that wait, the next first.
type queue struct {
	conns  []*conn
	served int // of conns, from the beginning
}

func (q *queue) len() int { return len(q.conns) - q.served }

func (q *queue) pop() *conn {
	c := q.conns[q.served]
	q.served++
	c.place = nowhere
	return c
}

// tidy forgets the served, when they are as many as the others.
func (q *queue) tidy() {
	if q.served > q.len() {
		q.conns = slices.Delete(q.conns, 0, q.served)
		q.served = 0
	}
}

func (q *queue) remove(c *conn) {
	i := q.served + slices.Index(q.conns[q.served:], c)
	q.conns = slices.Delete(q.conns, i, i+1)
}

func (q *queue) clear() {
	for _, c := range q.conns[q.served:] {
		c.place = nowhere
	}
	clear(q.conns)
	q.conns, q.served = q.conns[:0], 0
}

func (t *turns) queueFor(p place) *queue {
	if p == inHot {
		return &t.hot
	}
	return &t.cold
}

func (t *turns) enqueue(c *conn, p place) {
	c.place = p
	q := t.queueFor(p)
	q.tidy()
	q.conns = append(q.conns, c)
}

// dequeue takes a connection out.
func (t *turns) dequeue(c *conn) {
	if c.place != nowhere {
		t.queueFor(c.place).remove(c)
		c.place = nowhere
	}
}

func (t *turns) clear() {
	t.cold.clear()
	t.hot.clear()
}

// enqueueNew has a connection that is new wait at a place drawn by lot: consumers
// that started together must not go round in step.
func (t *turns) enqueueNew(c *conn, chance *rand.Rand) {
	c.place = inCold
	q := &t.cold
	q.tidy()
	q.conns = slices.Insert(q.conns, q.served+chance.IntN(q.len()+1), c)
}

// assignTurns has connections take turns for the slots there are now. At the beginning
// those come first that had messages last.
func (m *Machine) assignTurns(now time.Time, slots int, beginning bool) {
	if beginning {
		m.turns.clear()
		m.turns.credit, m.turns.at = 0, now
	}
	m.trim(slots)
	for _, c := range m.conns {
		if !c.draining && c.want == 0 && c.place == nowhere {
			m.turns.enqueueNew(c, m.chance)
		}
	}
	if beginning {
		slices.SortStableFunc(m.turns.cold.conns, func(a, b *conn) int { return b.last.Compare(a.last) })
	}
	m.rotate(now)
}

// trim takes away what exceeds the slots: first all but one of each, then that
// one of those whose last message is oldest.
func (m *Machine) trim(slots int) {
	wants := 0
	for _, c := range m.conns {
		wants += c.want
	}
	if wants <= slots {
		return
	}
	holders := make([]*conn, 0, len(m.conns))
	for _, c := range m.conns {
		c.want = min(c.want, 1)
		if c.want > 0 {
			holders = append(holders, c)
		}
	}
	slices.SortStableFunc(holders, func(a, b *conn) int { return a.last.Compare(b.last) })
	for _, c := range holders[:max(len(holders)-slots, 0)] {
		c.want = 0
	}
}

// rotate moves slots on. Those that are free go, as far as they suffice, to visits
// that the others owe; to who waits with messages; to who could surely use more;
// to visits, up to half of all slots; to who perhaps could; to any visits.
func (m *Machine) rotate(now time.Time) {
	t := &m.turns
	slots := m.limit()
	earned := now.Sub(t.at) * time.Duration(slots) / visitShare
	t.credit = min(t.credit+earned, max(visitCost, m.cfg.Turn*time.Duration(slots)))
	t.at = now
	t.due = now.Add(visitTime)
	free, visits := m.releaseSlots(now)
	owed := m.giveVisits(now, min(free, int(t.credit/visitCost)))
	free -= owed
	free -= m.giveTurns(now, free)
	free -= m.giveMore(free, (*conn).thirsty)
	free -= m.giveVisits(now, min(free, max(slots/2, 1)-visits-owed))
	free -= m.giveMore(free, (*conn).streaming)
	free -= m.giveVisits(now, free)
	switch {
	case free > 0: // nobody waits: there is enough to share
		m.preferTurns = false
		m.plan(now)
	case t.hot.len() == 0: // otherwise turns end soon
		m.rebalance(now)
	}
}

// giveVisits gives slots for a short time to those that have waited longest, and
// returns how many.
func (m *Machine) giveVisits(now time.Time, slots int) (given int) {
	t := &m.turns
	for ; given < slots && t.cold.len() > 0; given++ {
		t.credit = max(t.credit-visitCost, 0)
		m.giveSlot(now, t.cold.pop(), visitTime)
	}
	return given
}

// giveTurns gives slots to those that had messages when their turn ended, and
// returns how many.
func (m *Machine) giveTurns(now time.Time, slots int) (given int) {
	for ; given < slots && m.turns.hot.len() > 0; given++ {
		m.giveSlot(now, m.turns.hot.pop(), lookInterval)
	}
	return given
}

func (m *Machine) giveSlot(now time.Time, c *conn, stay time.Duration) {
	c.want, c.stay = 1, stay
	if c.rdy > 0 {
		c.since = now // it has just been left
	}
	m.changed = true
}

// releaseSlots takes slots from those whose time is over. It returns how many are
// free, and how many are on a visit.
func (m *Machine) releaseSlots(now time.Time) (free, visits int) {
	t := &m.turns
	free = m.limit()
	moves := max(t.cold.len()/100, 8) // with thousands of nsqds moving is work
	others := t.hot.len()             // that wait with messages
	for _, c := range m.conns {
		if c.want == 0 {
			continue
		}
		came := !c.last.Before(c.since)
		left := c.leaveAt(m.cfg.Idle)
		switch {
		case c.rdy == 0: // its slot is not free yet
		case c.inFlight <= c.leftover && !now.Before(left) && moves > 0:
			moves--
			m.withdraw(c, c.want, inCold)
		case others > 0 && came && (c.want > 1 || now.Sub(c.since) >= m.cfg.Turn):
			others--
			m.withdraw(c, 1, inHot)
		case c.want > c.need:
			m.withdraw(c, c.want-c.need, inHot)
		}
		free -= c.want
		if c.want > 0 && c.stay == visitTime && !came {
			visits++
		}
		if c.want > 0 && c.rdy > 0 && c.inFlight <= c.leftover && left.After(now) && left.Before(t.due) {
			t.due = left
		}
	}
	if soon := now.Add(settleTime / 2); t.due.Before(soon) {
		t.due = soon
	}
	return free, visits
}

// leaveAt is when a slot leaveAt a connection unless a message comes. One with
// several may have messages waiting in nsqd's output buffer.
func (c *conn) leaveAt(idle time.Duration) time.Time {
	from := c.since
	if c.last.After(from) {
		from = c.last
	}
	if c.want > 1 {
		return from.Add(idle)
	}
	return from.Add(c.stay)
}

// withdraw takes n slots of a connection away. One that has none left waits.
func (m *Machine) withdraw(c *conn, n int, p place) {
	c.want -= n
	m.changed = true
	if c.want == 0 {
		m.turns.enqueue(c, p)
	}
}

// thirsty tells whether a connection uses all it has and could use more.
func (c *conn) thirsty() bool {
	return c.use == full && c.want > 0 && c.want < min(c.need, c.maxRDY)
}

// streaming tells whether a connection could take more and has messages one after the
// other: nobody knows how many more, if most of their time is on the way.
func (c *conn) streaming() bool {
	return c.use >= busy && c.want > 0 && c.want < c.maxRDY
}

// giveMore gives free slots to some connections, one by one, and returns how many they
// took.
func (m *Machine) giveMore(free int, which func(*conn) bool) (given int) {
	for more := true; more; {
		more = false
		for _, c := range m.conns {
			if given < free && which(c) {
				c.want++
				given++
				more = true
			}
		}
	}
	m.changed = m.changed || given > 0
	return given
}

// rebalance takes a slot from the connection that has most, or that has had its one
// longest: for a visit that is due, or for one that could use it and has fewer.
func (m *Machine) rebalance(now time.Time) {
	var most, least *conn
	for _, c := range m.conns {
		if c.rdy > 0 && c.want > 0 &&
			(most == nil || c.want > most.want || c.want == most.want && c.since.Before(most.since)) {
			most = c
		}
		if c.thirsty() && (least == nil || c.want < least.want) {
			least = c
		}
	}
	switch {
	case most == nil:
	case m.turns.credit >= visitCost && m.turns.cold.len() > 0:
		m.withdraw(most, 1, inHot)
		m.giveVisits(now, 1)
	case least != nil && least.want+1 < most.want:
		m.withdraw(most, 1, inHot)
		least.want++
	}
}
