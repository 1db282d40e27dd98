package flow

import (
	"math"
	"time"
)

// Silence slows turns down. A slot that moves costs two RDYs, and while no nsqd has
// messages all of them are for nothing. For slowAfter or a little longer after the last
// message turns go at full speed. From then on single slots move, and the time from one
// move to the next grows geometrically: to calmPace after calmAfter, and to its longest
// after slowestAfter, when a round of all connections takes roundTime plus calmPace for
// each.
//
// So after calmAfter there are at most 16 RDYs a second, however many slots and
// connections there are. The first message after a silence waits for one round at
// most. The reader that finds it calls Wake, and from then on turns are as they were.
//
// A message that is in hand does not end the silence, but its ack does: its slot must
// move on at full speed.

const (
	slowAfter    = 2 * time.Second
	slowWithin   = time.Second // after slowAfter, at a random time
	calmAfter    = 10 * time.Second
	slowestAfter = time.Minute
	calmPace     = 125 * time.Millisecond
	roundTime    = 2500 * time.Millisecond
	// mostMoves is how many slots move at a time at the beginning of a silence.
	mostMoves = 8
)

// silence says since when no message has come, and how turns have slowed down.
type silence struct {
	since  time.Time // when a message last came or was acked, as far as is known
	slowAt time.Time // when turns become slow; zero: not before slowAfter
	slow   bool      // turns are slow
	moveAt time.Time // when slow: the next move
}

// hear notes that a message came or was acked. Slow turns go at full speed again, at once.
func (m *Machine) hear(now time.Time) {
	s := &m.turns.silence
	s.since, s.slowAt = now, time.Time{}
	if !s.slow {
		return
	}
	s.slow = false
	m.turns.due, m.turns.at = now, now // slots without a message earn no credit
	if m.watches() {
		m.lookAt = now.Add(min(visitTime, m.cfg.Look))
	}
}

// pace returns how long a silence of that length lets pass between two moves of a slot.
func (m *Machine) pace(silence time.Duration) time.Duration {
	full := max((visitTime+settleTime)/time.Duration(max(m.limit(), 1)), visitTime/mostMoves)
	slowest := calmPace + roundTime/time.Duration(max(m.open, 1))
	if silence < calmAfter {
		return between(full, calmPace, float64(silence-slowAfter)/float64(calmAfter-slowAfter))
	}
	return between(calmPace, slowest, float64(silence-calmAfter)/float64(slowestAfter-calmAfter))
}

// between interpolates geometrically: it returns a at 0, and b from 1 on.
func between(a, b time.Duration, at float64) time.Duration {
	return time.Duration(float64(a) * math.Pow(float64(b)/float64(a), min(max(at, 0), 1)))
}

// slowDown makes turns slow if the silence has lasted long enough. Consumers that started
// together have moved their slots in step until then, and must not go on so. Therefore
// they become slow at different times, and the first move comes at a random point of the
// pace.
func (m *Machine) slowDown(now time.Time) {
	s := &m.turns.silence
	silence := now.Sub(s.since)
	switch {
	case m.mode != turning || silence < slowAfter:
	case s.slowAt.IsZero():
		s.slowAt = now.Add(time.Duration(m.chance.Int64N(int64(slowWithin))))
	case !now.Before(s.slowAt):
		s.slow = true
		s.moveAt = now.Add(time.Duration(m.chance.Int64N(int64(m.pace(silence)))) + 1)
		m.turns.due = s.moveAt
		m.lookAt = time.Time{}
	}
}

// rotateSlowly is rotate during a silence: slots move at the silence's pace, and free
// ones go to the connections that have waited longest.
func (m *Machine) rotateSlowly(now time.Time) {
	t := &m.turns
	if s := &t.silence; !now.Before(s.moveAt) {
		pace := m.pace(now.Sub(s.since))
		moves := max(int(visitTime/pace), 1)
		for range moves {
			if c := m.longestIdle(now); c != nil {
				c.visited, c.turnEnds = now, now
				m.withdraw(c, c.unused(), inCold)
			}
		}
		s.moveAt = now.Add(time.Duration(moves) * pace)
	}
	t.due = t.silence.moveAt
	free, used := m.limit(), 0
	for _, c := range m.conns {
		free -= c.want
		used += max(c.inFlight-c.leftover, 0)
		if poll := now.Add(lookInterval); c.inFlight > 0 && poll.Before(t.due) {
			t.due = poll // its ack frees a slot, and no reader will tell
		}
	}
	m.earn(now, min(used, m.limit()))
	free -= m.giveTurns(now, free)
	free -= m.giveVisits(now, free, false)
	if free > 0 { // no connection waits: there are enough slots to share
		m.preferTurns = false
		m.plan(now)
	}
}

// longestIdle returns the connection whose slots have waited longest for a message, of
// those whose time is over; nil if there is none.
func (m *Machine) longestIdle(now time.Time) (longest *conn) {
	for _, c := range m.conns {
		if c.rdy > 0 && c.unused() > 0 && !now.Before(c.leaveAt(m.cfg.Idle)) &&
			(longest == nil || c.since.Before(longest.since)) {
			longest = c
		}
	}
	return longest
}

// unused returns how many of a connection's slots have no message.
func (c *conn) unused() int { return max(c.want-max(c.inFlight-c.leftover, 0), 0) }
