package flow

import (
	"slices"
	"time"
)

// The byte budget bounds what the bodies in flight weigh, as max_in_flight bounds their
// number. What a message weighs is known only when it has come, so a connection's messages
// are expected to weigh what its last ones did. Those of a connection that has brought
// none, or none for a while, are expected to weigh what all others do and, before the
// first message of all, unknownWeight each.
//
// What a connection may weigh is what its bodies in flight do, plus that weight for each
// of its free slots. The budget is shared out as room: the RDY up to which a connection
// stays within its part.
//
//   - While there is budget for max_in_flight messages of the heaviest kind, no
//     connection is bounded.
//   - Otherwise an idle connection has room for one message, and the others share the
//     rest of the budget evenly, except that none gets more than it could use.
//   - If there is not even budget for one message of each connection, there are only as
//     many slots as the budget has messages of the heaviest kind, and they take turns.
//
// An RDY rises only if all that may then be in flight is expected to stay within the
// budget. There are two exceptions: one message comes, whatever it weighs, while nothing
// else is in flight or can come; and until the first message has come, each connection
// may have an RDY of 1. Messages may also be heavier than expected. Then the next weighing
// takes the excess off all RDYs.
//
// Takers that gather messages must not wait for messages that the budget keeps from coming:
// see Stall.
//
// While little is in flight, and while nothing comes, the machine does not weigh: see
// WeighAt. So it costs nothing when bodies are small.

const (
	// unknownWeight is what a message is expected to weigh before any has come.
	unknownWeight = 1 << 20
	// What is expected before any message has come counts as much as firstMemory messages.
	// The mean weight rises as if riseMemory messages of the old weight had come just
	// before, and falls as if fallMemory had.
	firstMemory, riseMemory, fallMemory = 4, 1, 16
	// weightLife is how long a connection without messages is expected to bring heavier ones
	// than others do.
	weightLife = 10 * time.Second
	// weighShare of the budget in flight makes the machine weigh.
	weighShare = 4
	// More room than before is worth new RDYs if it is 1/roomStep more.
	roomStep = 8
)

// budget is the state of the byte budget.
type budget struct {
	weight  weight    // of the messages of all connections
	slots   int       // how many slots there are if connections cannot have one each; otherwise 0
	bounds  bool      // the budget does not have room for all that could come
	weighAt time.Time // the next weighing; zero: when the owner calls Weigh
	weighed time.Time // the last one
	stalled bool      // a Stall waits for its result
}

// weight is what messages have weighed.
type weight struct {
	mean float64 // bytes; the last messages count most
	seen float64 // how many messages there were
}

// learn takes in n messages that weigh bytes together.
func (w *weight) learn(n, bytes uint64) {
	if n == 0 {
		return
	}
	memory := min(fallMemory, w.seen)
	if float64(bytes) > w.mean*float64(n) {
		memory = min(riseMemory, w.seen)
	}
	w.mean = (w.mean*memory + float64(bytes)) / (memory + float64(n))
	w.seen += float64(n)
}

// expects returns what the next message is expected to weigh. first is what to expect
// without any; it counts as much as firstMemory messages.
func (w weight) expects(first float64) float64 {
	return max((first*firstMemory+w.mean*w.seen)/(firstMemory+w.seen), 1)
}

// cargo is what a connection has brought since the last weighing, and has in flight.
type cargo struct {
	weight   weight // of its messages
	messages uint64 // that came since the last weighing
	bytes    uint64 // of these messages
	received uint64 // as of the last Sample
	inFlight int64  // bytes in flight, as of the last Sample
	room     int    // the largest RDY within its part of the budget
}

// sample takes over the bytes of a Sample. came is how many messages it has more than
// the last one.
func (l *cargo) sample(s Sample, came uint64) {
	l.messages += came
	l.bytes += s.Bytes - l.received
	l.received, l.inFlight = s.Bytes, s.BytesInFlight
}

// budgeted reports whether the budget matters: a single message may weigh anything.
func (m *Machine) budgeted() bool { return m.cfg.MaxBytes > 0 && m.max > 1 && m.open > 0 }

// WeighAt returns how many bytes must be in flight, over all connections, for the owner
// to call Weigh. 0 means that it need not.
func (m *Machine) WeighAt() int64 {
	switch {
	case !m.budgeted() || !m.budget.weighAt.IsZero():
		return 0
	case m.budget.bounds:
		return 1
	}
	return max(m.cfg.MaxBytes/weighShare, 1)
}

// Weigh makes the machine weigh what is in flight, now unless it has just done so. It
// goes on weighing while the budget has no room for all that could come, or much of it
// is used.
func (m *Machine) Weigh(now time.Time) {
	b := &m.budget
	if !m.budgeted() {
		return
	}
	if b.weighAt = b.weighed.Add(settleTime); b.weighAt.Before(now) {
		b.weighAt = now
	}
}

// Bounded reports whether the byte budget has no room for all that could come. Only then
// can it be what a Stall is about.
func (m *Machine) Bounded() bool { return m.budgeted() && m.budget.bounds }

// Stall reports that no more messages can come by the RDYs that were sent, and that takers
// wait for more. The machine weighs what has come, at once: if that is lighter than expected,
// there is room for more. See Spent for the result.
func (m *Machine) Stall(now time.Time) {
	if m.Bounded() {
		m.budget.stalled, m.budget.weighAt = true, now
	}
}

// Spent reports, once after a Stall, that RDYs stay as they are until a message in flight is
// acked or requeued, because of the byte budget. The owner calls it after Take. It never
// does so if an RDY has risen since the Stall, or if the budget is not what keeps RDYs low.
func (m *Machine) Spent(now time.Time) bool {
	b := &m.budget
	if !b.stalled || m.stale || !b.weighAt.IsZero() && !b.weighAt.After(now) {
		return false
	}
	free, slots := m.max, m.limit()
	for _, c := range m.conns {
		if c.held > max(c.rdy, c.inFlight) { // what a decrease frees may go to other connections
			b.weighAt = c.settledAt
			return false
		}
		free -= c.held
		slots -= c.held - c.leftover
	}
	b.stalled = false
	return b.slots > 0 || min(free, slots) > 0
}

// weigh takes in what messages weigh, and changes RDYs if some connection must have fewer
// messages, or can have noticeably more.
func (m *Machine) weigh(now time.Time) {
	b := &m.budget
	var messages, bytes uint64
	var inFlight int64
	for _, c := range m.conns {
		messages, bytes = messages+c.cargo.messages, bytes+c.cargo.bytes
		c.cargo.weight.learn(c.cargo.messages, c.cargo.bytes)
		c.cargo.messages, c.cargo.bytes = 0, 0
		inFlight += c.cargo.inFlight
	}
	b.weight.learn(messages, bytes)
	m.forgetWeights(now)
	slots := b.slots
	m.shareBudget()
	moved := b.slots != slots
	for _, c := range m.conns {
		moved = moved || c.roomMoved()
	}
	if moved || b.stalled && m.stale {
		m.plan(now)
	}
	b.weighed, b.weighAt = now, time.Time{}
	if b.bounds && (inFlight > 0 || messages > 0) || inFlight >= max(m.cfg.MaxBytes/weighShare, 1) {
		b.weighAt = now.Add(m.cfg.Look)
		if moved {
			b.weighAt = now.Add(min(visitTime, m.cfg.Look))
		}
	}
}

// forgetWeights forgets what the messages of connections weighed that have had none for
// weightLife, if that is more than others weigh. They may never have one again, and would
// keep their part of the budget, or even the number of slots, from the others.
func (m *Machine) forgetWeights(now time.Time) {
	for _, c := range m.conns {
		if w := &c.cargo.weight; w.mean > m.budget.weight.mean && c.cargo.inFlight == 0 && now.Sub(c.last) >= weightLife {
			*w = weight{}
		}
	}
}

// roomMoved reports whether c's new room is worth a plan: it is less than c has, or
// noticeably more than what has kept c from having more.
func (c *conn) roomMoved() bool {
	if c.draining || c.cargo.room == c.maxRDY {
		return false
	}
	if c.cargo.room < c.maxRDY {
		return c.cargo.room < max(c.want, c.rdy)
	}
	return c.want >= c.maxRDY && c.cargo.room >= c.maxRDY+max(c.maxRDY/roomStep, 1)
}

// applyBudget shares the budget out, and makes the shares the limits of RDYs.
func (m *Machine) applyBudget() {
	m.shareBudget()
	for _, c := range m.conns {
		c.maxRDY = c.cargo.room
		if !c.draining {
			c.want = min(c.want, c.maxRDY)
		}
	}
}

// expects returns what one more message of a connection is expected to weigh: what its
// last ones did, and as far as there were none, what those of all connections did.
func (m *Machine) expects(c *conn) float64 {
	return c.cargo.weight.expects(m.budget.weight.expects(unknownWeight))
}

// shareBudget sets the rooms, and how many slots there are.
func (m *Machine) shareBudget() {
	b := &m.budget
	b.slots, b.bounds = 0, false
	left, ones, heaviest, free := float64(m.cfg.MaxBytes), 0.0, 0.0, m.max
	for _, c := range m.conns {
		c.cargo.room = c.nsqdMax
		left -= float64(c.cargo.inFlight)
		free -= c.inFlight
		if !c.draining {
			ones += m.expects(c)
			heaviest = max(heaviest, m.expects(c))
		}
	}
	all := float64(m.cfg.MaxBytes)
	if !m.budgeted() || float64(m.max)*heaviest <= all && float64(max(free, 0))*heaviest <= left {
		return
	}
	b.bounds = true
	if b.weight.seen > 0 && ones > all {
		b.slots = max(int(all/heaviest), 1)
		for _, c := range m.conns {
			c.cargo.room = 1
		}
		return
	}
	m.shareRooms()
}

// shareRooms sets the rooms when the budget has one message for each connection, and
// bounds how many more there may be.
func (m *Machine) shareRooms() {
	left, first := float64(m.cfg.MaxBytes), 0.0
	idleToo := !m.watches() || !m.anyBusy()
	m.elastic = m.elastic[:0]
	for _, c := range m.conns {
		switch {
		case c.draining:
			left -= float64(c.cargo.inFlight)
		case c.use == idle && c.inFlight == 0 && !idleToo:
			c.cargo.room = 1
			left -= m.expects(c)
		default:
			c.cargo.room = min(max(c.inFlight, 1), c.nsqdMax)
			first += m.hasNow(c)
			m.elastic = append(m.elastic, c)
		}
	}
	if left < first { // what is in flight is heavier than expected
		for _, c := range m.elastic {
			c.cargo.room = max(int(float64(c.cargo.room)*max(left, 0)/first), 1)
		}
	} else {
		m.shareRest(left - first)
	}
	clear(m.elastic)
}

// hasNow returns what a connection has in flight, or what its first message is expected
// to weigh.
func (m *Machine) hasNow(c *conn) float64 {
	if c.inFlight > 0 || c.cargo.inFlight > 0 {
		return float64(c.cargo.inFlight)
	}
	return m.expects(c)
}

// shareRest gives the elastic connections room for so many bytes beyond what they have.
// Those that cannot use an even share leave the rest of theirs to the others.
func (m *Machine) shareRest(left float64) {
	sharing := m.elastic
	for fewer := true; fewer && len(sharing) > 0; {
		even := left / float64(len(sharing))
		before := len(sharing)
		sharing = slices.DeleteFunc(sharing, func(c *conn) bool {
			most := min(c.nsqdMax, max(m.max, c.cargo.room))
			if all := float64(most-c.cargo.room) * m.expects(c); all <= even {
				c.cargo.room = most
				left -= all
				return true
			}
			return false
		})
		fewer = len(sharing) < before
	}
	for _, c := range sharing {
		more := left / float64(len(sharing)) / m.expects(c)
		c.cargo.room = int(min(float64(c.cargo.room)+more, float64(c.nsqdMax)))
	}
}

// anyBusy reports whether some connection has had messages lately.
func (m *Machine) anyBusy() bool {
	for _, c := range m.conns {
		if !c.draining && (c.use != idle || c.inFlight > 0) {
			return true
		}
	}
	return false
}

// committed returns what a connection is expected to weigh: what it has in flight, and
// what may still come by the slots that it holds.
func (m *Machine) committed(c *conn) float64 {
	return float64(c.cargo.inFlight) + float64(max(c.held-c.inFlight, 0))*m.expects(c)
}

// purse is what of the budget RDYs may still commit.
type purse struct {
	m      *Machine
	bytes  float64
	unused bool // nothing is in flight or can come
}

// openPurse returns the purse of a round of grants.
func (m *Machine) openPurse() purse {
	if !m.budgeted() {
		return purse{m: m}
	}
	p := purse{m: m, bytes: float64(m.cfg.MaxBytes), unused: true}
	for _, c := range m.conns {
		p.bytes -= m.committed(c)
		p.unused = p.unused && c.held == 0 && c.cargo.inFlight == 0
	}
	return p
}

// affords returns how far RDY may rise, at most to rdy.
func (p *purse) affords(c *conn, rdy int) int {
	if !p.m.budgeted() || rdy <= c.held {
		return rdy
	}
	most := c.held
	if p.bytes > 0 {
		most += int(min(p.bytes/p.m.expects(c), float64(rdy)))
	}
	if p.unused || p.m.budget.weight.seen == 0 {
		most = max(most, 1)
	}
	return min(rdy, most)
}

// pay takes what a higher RDY commits. held is what c held before.
func (p *purse) pay(c *conn, held int) {
	p.bytes -= float64(c.held-held) * p.m.expects(c)
	p.unused = p.unused && c.held == 0
}
