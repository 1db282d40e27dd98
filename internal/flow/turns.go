package flow

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Connections take turns while there are fewer slots than connections. A slot visits
// a connection; if no message comes, it moves on to the connection that has waited
// longest. If messages come, the slot stays: as long as they keep coming, or for one
// turn if other connections with messages wait. A connection that uses all its slots
// gets more.
//
// Left to that, connections with messages could hold all slots all the time. So an
// eighth of the slots' time is reserved for visits. While slow handlers keep every
// slot busy, that time is saved up as credit. Every connection is thus visited within
// a bounded time, however busy others are. Visits also get the slots that nothing
// else uses.
//
// Connections also take turns while there are one to two slots per connection, and
// some connections use all their slots and others none. If each idle connection kept
// a slot, less than half of the slots would be left for the busy ones. If one slot
// goes round the idle ones, nearly all are left.
//
// Where most connections have messages, single slots that go round mean a read and a write
// for each message. rounds.go then lets larger shares go round.

// Visits may take 1/visitShare of the slots' time from connections with messages.
const visitShare = 8

// visitCost is the slot time that a visit takes, up to when nsqd must have seen the
// slot leave.
const visitCost = visitTime + settleTime

// place is the queue in which a connection waits.
type place uint8

const (
	nowhere place = iota
	inCold        // no message came during its last visit, or it is new
	inHot         // messages were coming when a slot left it
)

// turns holds the connections that wait for a slot.
type turns struct {
	cold, hot queue
	due       time.Time     // the next rotate
	credit    time.Duration // slot time saved up for visits
	paidAt    time.Time     // when credit last paid for visits by allowance
	at        time.Time     // credit is counted up to then
	silence   silence
}

// queue holds waiting connections, the next one first.
type queue struct {
	conns  []*conn
	served int // the first served of conns are no longer waiting
}

func (q *queue) len() int { return len(q.conns) - q.served }

func (q *queue) pop() *conn {
	c := q.conns[q.served]
	q.served++
	c.place = nowhere
	return c
}

// tidy drops the served connections once they outnumber the waiting ones.
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

// enqueueFirst makes a connection the next one of the hot queue.
func (t *turns) enqueueFirst(c *conn) {
	c.place = inHot
	t.hot.conns = slices.Insert(t.hot.conns, t.hot.served, c)
}

// dequeue takes a connection out of its queue, if it is in one.
func (t *turns) dequeue(c *conn) {
	if c.place != nowhere {
		t.queueFor(c.place).remove(c)
		c.place = nowhere
	}
}

func (t *turns) clear() {
	t.cold.clear()
	t.hot.clear()
	t.silence.slow = false
}

// enqueueNew inserts a new connection at a random place in the cold queue, so that
// consumers that started together do not go round in step.
func (t *turns) enqueueNew(c *conn, chance *rand.Rand) {
	c.place = inCold
	q := &t.cold
	q.tidy()
	q.conns = slices.Insert(q.conns, q.served+chance.IntN(q.len()+1), c)
}

// assignTurns makes the connections take turns with the slots that there are now.
// When turns begin, the connections queue in the order of their last messages, the
// latest first; with an allowance as queueAgain says.
func (m *Machine) assignTurns(now time.Time, slots int, beginning bool) {
	if beginning {
		m.turns.clear()
		if m.allowance.on {
			m.refund()
		} else {
			m.turns.credit, m.turns.at = 0, now
		}
		m.hear(now)
	}
	m.trim(slots)
	for _, c := range m.conns {
		if !c.draining && c.want == 0 && c.place == nowhere {
			m.turns.enqueueNew(c, m.chance)
			m.hear(now) // it may well have messages
		}
	}
	switch {
	case m.allowance.on:
		m.queueAgain(now, beginning)
	case beginning:
		slices.SortStableFunc(m.turns.cold.conns, func(a, b *conn) int { return b.last.Compare(a.last) })
	}
	m.rotate(now)
}

// queueAgain queues connections in turns by allowance. These begin anew with each call that
// asks for messages, and end when it has them. So what must be fair over many calls is in
// the order of the queues, and in the credit, which goes on between calls:
//
//  1. Connections that have had a message since they were last visited in vain are hot. First
//     come those whose turns are not over, so that slots seldom move: a move takes settleTime,
//     for which a caller waits. Then comes the one whose last message is the oldest.
//  2. The others are cold. The one whose last visit is the longest ago is the first. A visit
//     that was not paid for and ended early, because other connections had all the messages,
//     is none.
//  3. The credit pays for visits to the cold ones, however busy the hot ones are.
//  4. Turns and paid visits do not end early. If they did, the nearest nsqd with messages
//     would leave no time to those farther away.
func (m *Machine) queueAgain(now time.Time, beginning bool) {
	t := &m.turns
	t.cold.tidy()
	for _, c := range slices.Clone(t.cold.conns[t.cold.served:]) {
		if c.broughtMessages() {
			t.dequeue(c)
			t.enqueue(c, inHot)
		}
	}
	if beginning {
		slices.SortStableFunc(t.hot.conns, func(a, b *conn) int {
			switch onTurn, other := a.turnEnds.After(now), b.turnEnds.After(now); {
			case onTurn && other:
				return a.turnEnds.Compare(b.turnEnds)
			case onTurn:
				return -1
			case other:
				return 1
			}
			return a.last.Compare(b.last)
		})
		slices.SortStableFunc(t.cold.conns, func(a, b *conn) int { return a.visited.Compare(b.visited) })
	}
}

// broughtMessages reports whether a message has come since c was last visited in vain.
func (c *conn) broughtMessages() bool { return !c.last.IsZero() && !c.last.Before(c.visited) }

// trim lowers wants that exceed the slots in total. Each connection keeps one; if
// that is still too many, those with the oldest last messages lose theirs. With an allowance,
// assured connections are the last to lose theirs.
func (m *Machine) trim(slots int) {
	wants := 0
	for _, c := range m.conns {
		wants += c.want
	}
	if wants <= slots {
		return
	}
	holders := make([]*conn, 0, len(m.conns))
	var assured []*conn
	for _, c := range m.conns {
		c.want = min(c.want, 1)
		switch {
		case c.want == 0:
		case m.allowance.on && c.assured:
			assured = append(assured, c)
		default:
			holders = append(holders, c)
		}
	}
	slices.SortStableFunc(holders, func(a, b *conn) int { return a.last.Compare(b.last) })
	holders = append(holders, assured...)
	for _, c := range holders[:max(len(holders)-slots, 0)] {
		c.want = 0
	}
}

// rotate moves slots on. The free ones go, as far as they suffice, to
//
//  1. visits that the credit pays for;
//  2. connections that had messages when their turn ended;
//  3. connections that use all their slots and could use more;
//  4. without an allowance, other visits, until half of all slots are on one;
//  5. connections that have messages and perhaps could use more;
//  6. any other visits.
func (m *Machine) rotate(now time.Time) {
	t := &m.turns
	if t.silence.slow {
		m.rotateSlowly(now)
		return
	}
	slots := m.limit()
	m.earn(now, slots)
	t.due = now.Add(visitTime)
	free, visits := m.releaseSlots(now)
	owed := m.giveVisits(now, m.payVisits(min(free, t.cold.len())), true)
	free -= owed
	free -= m.giveTurns(now, free)
	free -= m.giveMore(free, (*conn).thirsty)
	if !m.allowance.on { // such a visit would end early, and moving its slot costs a caller settleTime
		free -= m.giveVisits(now, min(free, max(slots/2, 1)-visits-owed), false)
	}
	free -= m.giveMore(free, func(c *conn) bool { return m.streaming(now, c) })
	free -= m.giveVisits(now, free, false)
	switch {
	case free > 0: // no connection waits: there are enough slots to share
		m.preferTurns = false
		m.plan(now)
	case t.hot.len() == 0: // otherwise ending turns will even things out
		m.rebalance(now)
	}
	m.slowDown(now)
}

// earn adds the credit of so many slots since the last call. With an allowance only one slot
// earns, and the credit is at most the cost of one round of visits.
func (m *Machine) earn(now time.Time, slots int) {
	t := &m.turns
	most := max(visitCost, m.cfg.Turn*time.Duration(m.limit()))
	if m.allowance.on {
		slots, most = 1, visitCost
	}
	earned := now.Sub(t.at) * time.Duration(slots) / visitShare
	t.credit = min(t.credit+earned, most)
	t.at = now
}

// payVisits returns how many of n visits the credit pays for, and takes their cost. With an
// allowance the cost of one visit pays for all n, since they take place at the same time, and
// a caller waits once.
func (m *Machine) payVisits(n int) int {
	t := &m.turns
	cost := visitCost
	if !m.allowance.on {
		n = min(n, int(t.credit/visitCost))
		cost = visitCost * time.Duration(n)
	}
	if n == 0 || t.credit < cost {
		return 0
	}
	t.credit -= cost
	if m.allowance.on {
		t.paidAt = m.turns.at
	}
	return n
}

// refund gives the credit back for visits by allowance that came to nothing: a message that
// was on its way ended the call before nsqd could be sent an RDY.
func (m *Machine) refund() {
	t := &m.turns
	for _, c := range m.conns {
		if c.assured && !c.broughtMessages() && c.visited.Before(t.paidAt) {
			t.credit = visitCost
		}
		c.assured = false
	}
}

// giveVisits gives at most that many slots, one each, to the connections that have
// waited longest in the cold queue, for a visit. paid says that payVisits has taken the cost.
// It returns how many it gave.
func (m *Machine) giveVisits(now time.Time, slots int, paid bool) (given int) {
	t := &m.turns
	for ; given < slots && t.cold.len() > 0; given++ {
		if !paid && !m.allowance.on {
			t.credit = max(t.credit-visitCost, 0)
		}
		m.giveSlot(now, t.cold.pop(), visitTime, paid)
	}
	return given
}

// giveTurns gives at most that many slots, one each, to the connections in the hot
// queue. It returns how many it gave.
func (m *Machine) giveTurns(now time.Time, slots int) (given int) {
	stay := lookInterval
	if m.allowance.on {
		stay = visitTime // a caller is waiting
	}
	for ; given < slots && m.turns.hot.len() > 0; given++ {
		m.giveSlot(now, m.turns.hot.pop(), stay, true)
	}
	return given
}

// giveSlot gives one slot to a connection that has none. Unless a message comes, the
// slot leaves after stay. See trim for assured.
func (m *Machine) giveSlot(now time.Time, c *conn, stay time.Duration, assured bool) {
	c.want, c.stay, c.assured = 1, stay, assured
	if now.After(c.turnEnds) {
		c.turnEnds = now.Add(m.cfg.Turn)
	}
	if c.rdy > 0 {
		c.since = now // its last slot has not left yet: grant will not set since
	}
	m.changed = true
}

// releaseSlots takes slots from connections whose time is over. If another's time ends
// before the next rotate is due, it brings that forward. It returns how many slots are
// free, and how many are on a visit that has brought no message yet.
func (m *Machine) releaseSlots(now time.Time) (free, visits int) {
	t := &m.turns
	free = m.limit()
	moves := max(t.cold.len()/100, 8) // with thousands of nsqds, a few at a time
	others := t.hot.len()             // connections with messages that wait
	for _, c := range m.conns {
		if c.want == 0 {
			continue
		}
		came := !c.last.Before(c.since)
		left := c.leaveAt(m.cfg.Idle)
		switch {
		case c.rdy == 0: // its slot has not been freed elsewhere yet
		case c.inFlight <= c.leftover && !now.Before(left) && moves > 0:
			moves--
			c.visited, c.turnEnds = now, now
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

// leaveAt returns when a connection's slots leave it unless a message comes. With
// several slots, messages may wait in nsqd's output buffer, so they stay longer.
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

// withdraw takes n slots from a connection. If none is left, the connection waits in
// the queue p.
func (m *Machine) withdraw(c *conn, n int, p place) {
	c.want -= n
	m.changed = true
	if c.want == 0 {
		m.turns.enqueue(c, p)
	}
}

// thirsty reports whether a connection uses all its slots and could use more.
func (c *conn) thirsty() bool {
	return c.use == full && c.want > 0 && c.want < min(c.need, c.maxRDY)
}

// streaming reports whether a connection has one message after another and room for
// more slots. Whether it could use them is unknown if its messages spend most of
// their time on the wire. With an allowance, where a caller waits for what other connections
// may have, its last message must be from just now.
func (m *Machine) streaming(now time.Time, c *conn) bool {
	return c.use >= busy && c.want > 0 && c.want < c.maxRDY &&
		(!m.allowance.on || now.Sub(c.last) < lookInterval)
}

// giveMore hands free slots to the eligible connections, one each per round, until
// none is free or no connection is eligible. It returns how many it gave.
func (m *Machine) giveMore(free int, eligible func(*conn) bool) (given int) {
	for more := true; more; {
		more = false
		for _, c := range m.conns {
			if given < free && eligible(c) {
				c.want++
				given++
				more = true
			}
		}
	}
	m.changed = m.changed || given > 0
	return given
}

// rebalance moves one slot, away from the connection that has most or, among equals,
// has had its slots longest. It goes to a visit if the credit pays for one, and
// otherwise to a thirsty connection that has at least two fewer.
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
		m.giveVisits(now, m.payVisits(1), true)
	case least != nil && least.want+1 < most.want:
		m.withdraw(most, 1, inHot)
		least.want++
	}
}
