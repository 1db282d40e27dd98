package flow

import "time"

// Backoff limits the slots after failures.
//
// With the step policy a failure takes all slots away for a pause. Then one is
// given out as a probe, first to where messages came last, and goes on where
// none comes. The result of its message decides: a success steps one level down,
// or at the first level ends the backoff; a failure steps up, which makes the
// next pause longer; a requeue that asks for no backoff repeats the level.
//
// With the adaptive policy a failure takes an eighth of the slots away and each
// success gives some back, so what remains follows the share of failures: nearly
// all at 1 %, four fifths at 5 %, two fifths at 11 %, a twentieth at 50 %, as
// TestSimulateErrors measures. A failure at the last slot begins a pause as above;
// a success of its probe steps down and goes on.
//
// Only messages that came after the pause, or since there is no backoff, decide.
// Those in hand when a failure comes would otherwise pile up levels that say
// nothing about whether things are better now. Epochs tell them apart: each
// message is stamped with the one in which it arrived.

const (
	shrink = 8   // a failure takes one part in shrink of the slots in use
	regrow = 128 // a success gives one part in regrow of all slots back
	// replanStep is how far, one part in replanStep, the slots in use must have moved to be
	// planned anew: not every result is worth an RDY to everybody.
	replanStep = 8
	// highestLevel is the highestLevel level. A pause that doubles reaches any cap before.
	// One that grows slowly, or not at all, would reach levels that take hours
	// of successes, one at a time, to come down from.
	highestLevel = 32
)

// Result is what became of a message, as far as backoff is concerned. One that
// was given up is none.
type Result uint8

// The outcomes.
const (
	Success  Result = iota
	Failure         // and backoff is wanted
	Continue        // not done, but no reason to back off
)

// backoff is the state of both policies.
type backoff struct {
	level   int
	capped  bool // the last pause was the longest there is
	pausing bool
	until   time.Time // when pausing
	epoch   uint32
	window  float64 // adaptive: the share of slots that results allow
	slots   int     // how many there are: 0 in a pause
}

// allowedSlots is how many of the slots results allow: one at least.
func (m *Machine) allowedSlots() int {
	return max(int(m.backoff.window*float64(m.max)), 1)
}

// rescale follows a change of max_in_flight.
func (m *Machine) rescale() {
	b := &m.backoff
	if b.level == 0 && !b.pausing {
		b.slots = m.allowedSlots()
	} else if m.cfg.Adaptive && m.max > 0 {
		b.window = min(b.window, 1/float64(m.max)) // it is for the probe to say whether there may be more
	}
}

// probe ends a pause.
func (m *Machine) probe(now time.Time) {
	m.backoff.pausing = false
	m.backoff.epoch++
	m.backoff.slots = 1
	for _, c := range m.conns {
		c.leftover = c.inFlight
	}
	m.plan(now)
}

// restore ends what a pause has begun: all slots are back.
func (m *Machine) restore(now time.Time) {
	m.backoff.slots = m.max
	for _, c := range m.conns {
		c.leftover = 0
	}
	m.plan(now)
}

// Epoch is what messages that arrive now are stamped with.
func (m *Machine) Epoch() uint32 { return m.backoff.epoch }

// Reporting tells whether the machine wants to hear of every outcome. It always
// does of failures.
func (m *Machine) Reporting() bool { return m.backoff.level > 0 || m.backoff.window < 1 }

// BackoffLevel returns the backoff level, 0 for none, and when its pause ends, or
// ended.
func (m *Machine) BackoffLevel() (level int, until time.Time) {
	return m.backoff.level, m.backoff.until
}

// Result reports what became of a message of a connection, which may be gone.
func (m *Machine) Result(now time.Time, id ID, outcome Result, epoch uint32) {
	b, c := &m.backoff, m.byID[id]
	if c != nil && c.leftover > 0 && epoch != b.epoch {
		c.leftover-- // nsqd hears of a lower RDY before it does of the answer
		m.changed = true
	}
	if m.cfg.Backoff == nil || m.cfg.MaxBackoff <= 0 || b.pausing || epoch != b.epoch {
		return
	}
	if c != nil && now.After(c.last) {
		c.last = now // if samples are rare, this is where messages come from
	}
	if m.cfg.Adaptive {
		m.adapt(now, outcome)
		return
	}
	switch {
	case outcome == Failure:
		m.backoff.raiseLevel()
		m.pause(now)
	case b.level == 0:
	case outcome == Continue:
		m.pause(now)
	case b.level > 1:
		b.level--
		m.pause(now)
	default:
		b.level = 0
		m.restore(now)
	}
}

// raiseLevel goes up a level, unless that could not make the pause longer.
func (b *backoff) raiseLevel() {
	if b.level == 0 || !b.capped && b.level < highestLevel {
		b.level++
	}
}

// pause takes all slots away for the time of the level. It is not so short that
// what nsqd sent before could be taken for what the probe asked for.
func (m *Machine) pause(now time.Time) {
	b := &m.backoff
	length := m.cfg.Backoff(b.level, m.chance)
	b.capped = length >= m.cfg.MaxBackoff
	b.pausing = true
	b.until = now.Add(max(min(length, m.cfg.MaxBackoff), settleTime))
	b.slots = 0
	m.plan(now)
}

// adapt moves the window.
func (m *Machine) adapt(now time.Time, outcome Result) {
	b := &m.backoff
	switch {
	case outcome == Failure && b.window*float64(m.max) <= 1:
		b.raiseLevel()
		m.pause(now)
		return
	case outcome == Failure:
		b.window = max(b.window-b.window/shrink, 1/float64(m.max))
	case outcome == Success:
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
