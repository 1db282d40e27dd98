package flow

import "time"

// Backoff limits the slots after failures.
//
// With the step policy a failure takes all slots away for a pause. After the
// pause there is one slot, the probe. It begins at the connection that had a
// message last and moves on if none comes. The result of its message decides:
//
//   - Success steps one level down; at level 1 it ends the backoff.
//   - Failure steps one level up, which makes the next pause longer.
//   - Continue, a requeue without backoff, repeats the level.
//
// With the adaptive policy a failure takes an eighth of the slots away and each
// success gives some back, so the slots in use follow the share of failures:
// nearly all at 1 %, four fifths at 5 %, two fifths at 11 %, a twentieth at 50 %,
// as TestSimulateErrors measures. A failure at the last slot begins a pause as
// above; a success of the probe steps down and gives slots back without another
// pause.
//
// During a backoff only the results of messages that arrived after the last pause
// count. Messages in hand when the first failure comes would otherwise raise the
// level once each, and say nothing about whether things are better now. Epochs
// tell them apart: the owner stamps each message with the epoch in which it
// arrives, and every pause ends an epoch.

const (
	shrink = 8   // a failure takes 1/shrink of the slots in use away
	regrow = 128 // a success gives 1/regrow of all slots back
	// A new plan is made when the number of slots has moved by more than
	// 1/replanStep. Smaller moves are not worth an RDY to every connection.
	replanStep = 8
	// highestLevel bounds the level. A pause that doubles reaches any MaxBackoff
	// sooner. Without the bound, a pause that grows slowly or not at all would
	// reach levels that take hours of single successes to come down from.
	highestLevel = 32
)

// Result is what became of a message, as far as backoff is concerned. A message
// that was given up or discarded, or that no handler began, has none.
type Result uint8

// The results.
const (
	Success  Result = iota // acked
	Failure                // requeued with backoff
	Continue               // requeued without backoff
)

// backoff is the state of both policies.
type backoff struct {
	level   int
	capped  bool // the last pause was MaxBackoff: a higher level would not lengthen it
	pausing bool
	until   time.Time // when the current pause ends, or the last one ended
	epoch   uint32    // how many pauses have ended
	window  float64   // adaptive: the part of max_in_flight that results allow; otherwise 1
	slots   int       // how many slots there are: 0 in a pause
}

// allowedSlots returns how many slots the window allows, at least one.
func (m *Machine) allowedSlots() int {
	return max(int(m.backoff.window*float64(m.max)), 1)
}

// rescale adjusts the slots to a changed max_in_flight.
func (m *Machine) rescale() {
	b := &m.backoff
	if b.level == 0 && !b.pausing {
		b.slots = m.allowedSlots()
	} else if m.cfg.Adaptive && m.max > 0 {
		// One slot at most: the probe decides whether there may be more.
		b.window = min(b.window, 1/float64(m.max))
	}
}

// probe ends a pause: there is one slot, and a new epoch begins.
func (m *Machine) probe(now time.Time) {
	m.backoff.pausing = false
	m.backoff.epoch++
	m.backoff.slots = 1
	for _, c := range m.conns {
		c.leftover = c.inHand()
	}
	m.plan(now)
}

// restore gives all slots back.
func (m *Machine) restore(now time.Time) {
	m.backoff.slots = m.max
	m.resetLeftovers()
	m.plan(now)
}

// Epoch returns the epoch with which the owner stamps messages that arrive now.
func (m *Machine) Epoch() uint32 { return m.backoff.epoch }

// Reporting reports whether the owner must call Result for every message. While
// it is false, only failures count.
func (m *Machine) Reporting() bool { return m.backoff.level > 0 || m.backoff.window < 1 }

// BackoffLevel returns the backoff level, 0 for none, and when its pause ends or
// ended.
func (m *Machine) BackoffLevel() (level int, until time.Time) {
	return m.backoff.level, m.backoff.until
}

// Result reports what became of a message. epoch is the message's stamp; id is the
// connection on which it came, which may be down by now. The owner calls Result
// before it sends the ack or requeue, and sends what Take returns in between.
func (m *Machine) Result(now time.Time, id ID, result Result, epoch uint32) {
	b, c := &m.backoff, m.byID[id]
	if c != nil && c.leftover > 0 && epoch != b.epoch && !m.allowance.on { // Spend does this otherwise
		c.leftover-- // so nsqd sees the lower RDY before the ack
		m.changed = true
	}
	if m.cfg.Backoff == nil || m.cfg.MaxBackoff <= 0 || b.pausing || epoch != b.epoch {
		return
	}
	if c != nil && now.After(c.last) {
		c.last = now // newer than the last sample: messages come from here
	}
	if m.cfg.Adaptive {
		m.adapt(now, result)
		return
	}
	switch {
	case result == Failure:
		b.raiseLevel()
		m.pause(now)
	case b.level == 0:
	case result == Continue:
		m.pause(now)
	case b.level > 1:
		b.level--
		m.pause(now)
	default:
		b.level = 0
		m.restore(now)
	}
}

// raiseLevel steps one level up, unless the pause could not become longer.
func (b *backoff) raiseLevel() {
	if b.level == 0 || !b.capped && b.level < highestLevel {
		b.level++
	}
}

// pause takes all slots away for the pause of the current level. The pause lasts at
// least settleTime, so that no message sent before it is mistaken for the probe.
func (m *Machine) pause(now time.Time) {
	b := &m.backoff
	length := m.cfg.Backoff(b.level, m.chance)
	b.capped = length >= m.cfg.MaxBackoff
	b.pausing = true
	b.until = now.Add(max(min(length, m.cfg.MaxBackoff), settleTime))
	b.slots = 0
	m.plan(now)
}

// adapt moves the window of the adaptive policy.
func (m *Machine) adapt(now time.Time, result Result) {
	b := &m.backoff
	switch {
	case result == Failure && b.window*float64(m.max) <= 1:
		b.raiseLevel()
		m.pause(now)
		return
	case result == Failure:
		b.window = max(b.window-b.window/shrink, 1/float64(m.max))
	case result == Success:
		b.level = max(b.level-1, 0)
		b.capped = false
		b.window = min(b.window+1.0/regrow, 1)
	}
	slots := m.allowedSlots()
	moved := max(slots-b.slots, b.slots-slots)
	switch {
	case slots == b.slots:
	case slots == m.max:
		m.restore(now)
	case moved > b.slots/replanStep:
		b.slots = slots
		m.plan(now)
	}
}
