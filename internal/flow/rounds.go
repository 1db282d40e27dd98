package flow

import (
	"slices"
	"time"
)

// Rounds apply while so many nsqds have messages that each would have an RDY of one or
// two. Then each message costs a read, a write and the wake-up of a goroutine or two. In
// a round only a few connections have slots at a time, and each of them has a large share.
// When a visit is over, its share goes to the connection that has waited longest. The
// priorities are:
//
//  1. Fairness. All connections take part, and their visits have the same length. A round
//     takes roundLimit at most, unless handlers keep messages for longer than a visit. So
//     the share is only as large as visits of leastVisit allow. A connection that brings
//     no message for visitTime gives its share away early.
//  2. The rate. A share that moves brings nothing for settleTime. That is lost if handlers
//     or the network keep all slots busy, and nothing is lost if the CPU is busy. Samples
//     do not show which it is, so the machine tries. Rounds go on only while more messages
//     come than came before; otherwise they end within half a second.
//  3. Fewer system calls.
//
// Rounds begin only at a high rate: where handlers are slow, a slot brings few messages in
// a visit. They do not begin during a backoff or an overload, nor while the byte budget
// bounds RDYs. What they are compared with is measured again after renewAfter, since
// handlers, the network and the number of messages change.

const (
	roundLimit = time.Second
	// leastVisit is the least time from one move of a share to the next.
	leastVisit = 5 * settleTime
	// sharePatience is how long a connection waits for all of its share, before it takes a part.
	sharePatience = 3 * settleTime
	// mostShare bounds a share: RDYs above it save few further system calls.
	mostShare = 16
	// shareGain is how many times the RDY of an even split a share must be.
	shareGain = 3
	// A slot brings at least drains messages in a visit, and all slots leastRate a second.
	drains, leastRate = 4, 10_000
	// Rounds must bring rateGain times as many messages as single slots.
	rateGain = 1.125
	// Rounds end when they bring fewer in so many successive intervals: trialMisses until
	// one has brought enough, and lateMisses from then on.
	trialMisses, lateMisses = 2, 5
	// After rounds that ended for this reason, the next begin after leastPause. Each trial
	// that fails doubles the pause, up to longestPause.
	leastPause, longestPause = 2 * time.Second, 5 * time.Minute
	renewAfter               = 30 * time.Second
)

// rounds is the state of rounds, and of the rate that decides about them.
type rounds struct {
	share  int           // slots of a visit
	visit  time.Duration // how long a visit lasts
	step   time.Duration // from one move of a share to the next
	moveAt time.Time     // the next move

	from     time.Time // the rate is measured since then
	messages uint64    // that came since then
	rate     float64   // messages a second in the interval before; 0: none was measured

	base    float64       // the rate before the rounds began
	began   bool          // the first interval of the rounds is over
	proven  bool          // an interval of the rounds brought enough
	misses  int           // successive intervals that did not
	renewAt time.Time     // when base is to be measured again
	pause   time.Duration // after the last trial, if that failed
	tryAt   time.Time     // no rounds begin before
}

// measureRate begins a new interval if the last one is over. ok is false if it is not.
func (r *rounds) measureRate(now time.Time) (rate float64, ok bool) {
	took := now.Sub(r.from)
	if took < lookInterval {
		return 0, false
	}
	rate = float64(r.messages) / took.Seconds()
	r.from, r.messages = now, 0
	return rate, true
}

// restart makes the rates before now count no more: the wants have changed.
func (r *rounds) restart(now time.Time) {
	r.from, r.messages, r.rate = now, 0, 0
}

// sizeRounds sets how large shares are, and how long they stay. It reports whether they
// are worth a trial.
func (m *Machine) sizeRounds(slots int) bool {
	r := &m.rounds
	open := max(m.open, 1)
	if slots/open > mostShare {
		return false
	}
	r.share = min(slots*int(roundLimit/leastVisit)/open, slots/2, mostShare)
	if r.share < shareGain*max(slots/open, 1) {
		return false
	}
	cycle := roundLimit * time.Duration(slots) / time.Duration(r.share*open)
	cycle = min(cycle, m.cfg.Turn)
	r.visit, r.step = cycle-settleTime, cycle*time.Duration(r.share)/time.Duration(slots)
	return r.visit > 0
}

// mayRound reports whether nothing else than traffic speaks against rounds.
func (m *Machine) mayRound(slots int) bool {
	return !m.allowance.on && !m.cfg.Uniform && m.backoff.level == 0 && m.overload.slots == 0 &&
		!m.budget.bounds && m.sizeRounds(slots)
}

// tryRounds begins rounds if they may bring more messages. The rate must not be rising:
// then they would seem to.
func (m *Machine) tryRounds(now time.Time) {
	r := &m.rounds
	rate, ok := r.measureRate(now)
	if !ok {
		return
	}
	before := r.rate
	r.rate = rate
	slots := m.limit()
	if rate < leastRate || rate > before*rateGain || now.Before(r.tryAt) || !m.mayRound(slots) {
		return
	}
	if 2*m.busyConns() < m.open || rate*r.visit.Seconds() < float64(drains*slots) {
		return
	}
	r.base, r.began, r.proven, r.misses = max(rate, before), false, false, 0
	r.renewAt = now.Add(renewAfter)
	r.moveAt = now.Add(r.step)
	m.mode = inRounds
	m.gather()
	m.rotateRounds(now)
	r.restart(now)
}

// gather takes all slots away, and lets all connections wait in random order: those
// without messages may have been next to each other.
func (m *Machine) gather() {
	t := &m.turns
	t.clear()
	for _, c := range m.conns {
		if !c.draining {
			c.want = 0
			t.enqueue(c, inHot)
		}
	}
	m.chance.Shuffle(t.hot.len(), func(i, j int) {
		q := t.hot.conns
		q[i], q[j] = q[j], q[i]
	})
}

// busyConns returns how many connections have messages. In turns, those that wait are
// known by their queue: they have none while they wait.
func (m *Machine) busyConns() (n int) {
	for _, c := range m.conns {
		if !c.draining && (c.place == inHot || c.place == nowhere && c.use >= busy) {
			n++
		}
	}
	return n
}

// judgeRounds ends rounds that bring too few messages. It does not count the first
// interval, in which the shares get to their places.
func (m *Machine) judgeRounds(now time.Time) {
	r := &m.rounds
	rate, ok := r.measureRate(now)
	switch {
	case !ok:
	case !r.began:
		r.began = true
	case !now.Before(r.renewAt):
		m.endRounds(now)
	case rate >= r.base*rateGain:
		r.proven, r.misses, r.pause = true, 0, 0 // the next pause is leastPause
	default:
		if r.misses++; r.misses < trialMisses || r.proven && r.misses < lateMisses {
			return
		}
		r.pause = min(max(2*r.pause, leastPause), longestPause)
		r.tryAt = now.Add(r.pause)
		m.endRounds(now)
	}
}

// endRounds makes a plan without rounds.
func (m *Machine) endRounds(now time.Time) {
	m.mode = resting
	for _, c := range m.conns {
		c.fresh, c.peak = 0, c.inFlight // looks have not measured them in the meantime
	}
	m.plan(now)
}

// assignRounds goes on with rounds when connections came or went, or the number of slots
// changed. New connections wait for their turns.
func (m *Machine) assignRounds(now time.Time, slots int) {
	for _, c := range m.conns {
		if c.draining {
			continue
		}
		slots -= c.want
		if c.want == 0 && c.place == nowhere {
			m.turns.enqueue(c, inHot)
		}
	}
	if slots < 0 {
		m.trimRounds(-slots)
	}
	m.rotateRounds(now)
}

// trimRounds takes slots away: from the longest visits first, and last from connections
// whose visits have not begun. These stay the next ones: otherwise they would lose their
// turns, at worst round after round.
func (m *Machine) trimRounds(slots int) {
	holders := make([]*conn, 0, len(m.conns))
	for _, c := range m.conns {
		if c.want > 0 {
			holders = append(holders, c)
		}
	}
	slices.SortStableFunc(holders, func(a, b *conn) int {
		if (a.rdy > 0) != (b.rdy > 0) {
			return b.rdy - a.rdy
		}
		return a.since.Compare(b.since)
	})
	for _, c := range holders {
		n := min(slots, c.want)
		if n == 0 {
			return
		}
		slots -= n
		if n == c.want && c.rdy == 0 {
			c.want, m.changed = 0, true
			m.turns.enqueueFirst(c)
			continue
		}
		m.withdraw(c, n, inHot)
	}
}

// rotateRounds moves shares on, one in each step: the one that has been in its place
// longest, and those that bring no messages. If shares moved together, they would go on
// doing so, and no message would come until nsqds have seen that they left.
func (m *Machine) rotateRounds(now time.Time) {
	t, r := &m.turns, &m.rounds
	free := m.limit()
	t.due = now.Add(visitTime)
	for _, c := range m.conns {
		if c.rdy > 0 && c.want > 0 && c.inFlight <= c.leftover {
			switch end := c.lullEnds(); {
			case !end.After(now):
				m.withdraw(c, c.want, inHot)
			case end.Before(t.due):
				t.due = end
			}
		}
		free -= c.want
	}
	moves := r.movesDue(now)
	for n := 0; n < moves || moves > 0 && free > 0 && 2*free < r.share; n++ { // parts of a share join
		c := m.longestVisit(now.Add(-r.visit / 2))
		if c == nil {
			break
		}
		free += c.want
		m.withdraw(c, c.want, inHot)
	}
	for free > 0 && t.hot.len() > 0 {
		free -= m.giveShare(now, t.hot.pop(), free)
	}
	if free > 0 { // no connection waits
		r.tryAt = now.Add(leastPause)
		m.endRounds(now)
		return
	}
	if r.moveAt.Before(t.due) {
		t.due = r.moveAt
	}
	if soon := now.Add(settleTime / 2); t.due.Before(soon) {
		t.due = soon // with many shares, several at a time: each tick takes a round of samples
	}
}

// longestVisit returns the connection that has had its share longest, of those that had
// it before a time; nil if there is none.
func (m *Machine) longestVisit(before time.Time) (longest *conn) {
	for _, c := range m.conns {
		if c.rdy > 0 && c.want > 0 && c.since.Before(before) && (longest == nil || c.since.Before(longest.since)) {
			longest = c
		}
	}
	return longest
}

// giveShare gives a connection that has no slots a share of the free ones, and what they
// leave if that is less than half of one. It returns how many it gave.
func (m *Machine) giveShare(now time.Time, c *conn, free int) (given int) {
	given = min(m.rounds.share, free)
	if rest := free - given; 2*rest <= m.rounds.share {
		given = free
	}
	given = min(given, c.maxRDY)
	c.want, c.since = given, now
	m.changed = true
	return given
}

// awaitsShare reports whether a connection without slots waits until it can have all of its
// share. Handlers that keep slots must not make it wait for long.
func (m *Machine) awaitsShare(now time.Time, c *conn, rdy int) bool {
	return m.mode == inRounds && c.rdy == 0 && rdy < c.aim && now.Sub(c.since) < sharePatience
}

// movesDue returns how many shares are to be moved now, and plans the next move.
func (r *rounds) movesDue(now time.Time) int {
	if now.Before(r.moveAt) {
		return 0
	}
	moves := now.Sub(r.moveAt)/r.step + 1
	r.moveAt = r.moveAt.Add(moves * r.step)
	return int(min(moves, r.visit/r.step+1)) // after a pause of the process there would be many
}

// lullEnds returns when a visit to a connection without messages in hand ends early, unless
// one comes. Messages that wait in nsqd's output buffer come when RDY falls.
func (c *conn) lullEnds() time.Time {
	if c.last.After(c.since) {
		return c.last.Add(visitTime)
	}
	return c.since.Add(visitTime)
}
