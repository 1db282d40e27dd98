// Package flow shares max_in_flight over the connections to nsqds: it decides
// which RDY each is sent, and when failures of handlers stop all of them.
//
// It is pure: events and the time go in, decisions come out. It reads no clock,
// starts nothing and does no I/O; chance comes from a seed, so the same events
// give the same decisions. It is not safe for concurrent use.
//
// # How it works
//
// Every connection has a want, what its RDY is to be. Three things set wants:
//
//   - share.go, while there is a slot for every connection: as even a split as
//     what the connections use of it allows;
//   - turns.go, while there are fewer slots than connections, or hardly more and
//     some could use those that others keep for nothing: they go round;
//   - backoff.go and overrun.go, which limit how many slots there are.
//
// grant.go turns wants into RDYs. RDY is a ceiling on what nsqd may have in
// flight on a connection, not a credit, and nsqd does not confirm it. So a
// decrease is sent at once, but the slots it frees are given to others only
// when it must have reached nsqd and what was in flight above it is answered:
// the sum over all connections of the larger of RDY and messages in flight
// never exceeds max_in_flight because of an RDY that was sent.
//
// The owner calls Take after every event and sends what it returns in that
// order. When Next is due it calls Sample for every connection, then Tick.
package flow

import (
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// settleTime is how long a message may still come that nsqd sent before a
	// lower RDY reached it. Plans are made no more often than that, either,
	// when connections come and go.
	settleTime = 10 * time.Millisecond
	// visitTime is how long a slot that goes round stays where no message comes.
	// nsqd sends the message that fills a connection's RDY at once, without
	// waiting for its output buffer to fill; with an RDY of 1 that is any.
	visitTime = 25 * time.Millisecond
	// turnTime is how long a slot stays where messages come while others that have
	// messages wait, at most.
	turnTime = 250 * time.Millisecond
	// lookInterval is the time between two looks at what connections use, at most.
	lookInterval = 100 * time.Millisecond
	// fastPerSlot is how many messages for each slot and look are more than what is in
	// flight at a look can tell about.
	fastPerSlot = 16
	// fullLoad is the load from which on all RDY counts as in use. unknownLoad is where
	// one without messages begins: a bit below, so that two looks show it.
	fullLoad, unknownLoad = 0.85, 0.75
)

// ID names one connection from its Up to its Down. IDs are not used again.
type ID uint64

// Decision is an RDY to send.
type Decision struct {
	Conn ID
	RDY  int
}

// Config is the policy.
type Config struct {
	// MaxInFlight is the sum of all RDY; 0 pauses.
	MaxInFlight int
	// Uniform keeps the split even, whatever the traffic.
	Uniform bool
	// Idle is how long a connection without messages counts as busy. It must
	// be longer than nsqd keeps messages in its output buffer.
	Idle time.Duration
	// Turn, if it is shorter, replaces the built-in bound of how long a slot
	// stays with one connection while others wait; Look likewise that of the
	// time between two looks. 0 leaves them as they are.
	Turn, Look time.Duration

	// Backoff is the pause of a backoff level, from 1 on. Its second argument
	// is where chance comes from. nil is no backoff.
	Backoff func(level int, chance *rand.Rand) time.Duration
	// MaxBackoff is the longest pause.
	MaxBackoff time.Duration
	// Adaptive has failures reduce the slots, and only when there is none left
	// to take away, pause.
	Adaptive bool

	Seed uint64
}

// Sample is what a connection has done since it was there.
type Sample struct {
	Received uint64 // messages, ever
	// InFlight is how many messages nsqd waits for an answer to, now: those
	// received and neither answered nor, as their lease is over, lost. The owner
	// knows of TOUCHes, so it keeps the leases; a message that stays in here
	// keeps its slot.
	InFlight    int
	Peak        int // the most of them since the last Sample
	LastMessage time.Time
}

// conn is a connection that takes RDY. The first fields are those that each look
// reads: there may be thousands of connections.
type conn struct {
	maxRDY   int  // the largest that nsqd takes
	draining bool // takes no more RDY; what it has in flight counts still
	use      use

	// What was decided, and what it means for the others.
	rdy      int // last decided
	want     int // slots it is to have
	aim      int // the RDY that gives it those
	held     int // slots of max_in_flight nobody else may have: at least rdy
	inFlight int
	leftover int // of those, what came before the pause that a probe ended

	// What it does with it.
	fresh        uint64  // received since the last look
	peak         int     // most in flight since the last look
	load         float64 // the part of rdy in use, on average, as of the last look
	keep         int     // slots that are in use
	need         int     // slots that it can use
	lo, hi, next int     // of the split that is being made

	id       ID
	received uint64
	last     time.Time     // its last message
	since    time.Time     // when rdy last rose from 0
	settled  time.Time     // when nsqd must have seen the last decrease
	place    place         // where it waits for a turn
	stay     time.Duration // how long its slot waits for its first message, at its turn
}

// use is what a look has found.
type use uint8

const (
	idle  use = iota // no message for a while
	light            // some now and then
	busy
	full // all it has is in use
)

// mode is who sets wants.
type mode uint8

const (
	resting mode = iota // nobody has any
	sharing
	turning
)

// Machine is the policy's state.
type Machine struct {
	cfg    Config
	chance *rand.Rand
	max    int
	conns  []*conn // in the order of their Up, those that drain included
	byID   map[ID]*conn
	open   int // conns that do not drain

	mode        mode
	preferTurns bool      // turns are of use though there is a slot for every connection
	stale       bool      // connections came or went since the last plan
	planAt      time.Time // no plan before that because of them
	changed     bool      // wants changed, or slots became free that someone waits for

	waiting      bool      // a connection has less than it wants
	waitingSince time.Time // since when
	retryAt      time.Time // when to see whether it can have it
	grantFrom    int       // of conns, that is asked first whether it has nothing

	lookAt   time.Time // the next look; zero is none
	elastic  []*conn   // scratch: those whose share the split that is being made can choose
	turns    turns
	backoff  backoff
	overload overload
}

// New returns a machine without connections.
func New(cfg Config) *Machine {
	m := &Machine{
		cfg:    cfg,
		chance: rand.New(rand.NewPCG(cfg.Seed, cfg.Seed)), // #nosec G404 -- jitter, not a secret
		max:    max(cfg.MaxInFlight, 0),
		byID:   make(map[ID]*conn),
	}
	m.cfg.Turn = bounded(turnTime, cfg.Turn)
	m.cfg.Look = bounded(lookInterval, cfg.Look)
	m.backoff.window, m.backoff.slots = 1, m.max
	return m
}

func bounded(d, bound time.Duration) time.Duration {
	if bound > 0 {
		return min(d, bound)
	}
	return d
}

// Up adds a connection to an nsqd that takes RDY up to maxRDY.
func (m *Machine) Up(now time.Time, id ID, maxRDY int) {
	c := &conn{id: id, maxRDY: maxRDY, since: now}
	c.need, c.load = 1, unknownLoad
	if !m.cfg.Uniform {
		c.need = max(m.limit()/(m.open+1), 1) // its fair share, until a look knows better
	}
	m.conns = append(m.conns, c)
	m.byID[id] = c
	m.open++
	m.stale = true
}

// Drain has a connection take no more messages: its owner tells nsqd with CLS,
// not with RDY. What it has in flight counts until it is answered.
func (m *Machine) Drain(now time.Time, id ID) {
	c := m.byID[id]
	if c == nil || c.draining {
		return
	}
	m.turns.dequeue(c)
	c.draining = true
	c.rdy, c.want = 0, 0
	c.settled = now.Add(settleTime)
	m.open--
	m.stale = true
}

// Down removes a connection. Its share goes to the others.
func (m *Machine) Down(id ID) {
	c := m.byID[id]
	if c == nil {
		return
	}
	m.turns.dequeue(c)
	if !c.draining {
		m.open--
	}
	delete(m.byID, id)
	m.conns = slices.DeleteFunc(m.conns, func(o *conn) bool { return o == c })
	m.stale = true
}

// SetMaxInFlight sets the sum of all RDY. 0 pauses.
func (m *Machine) SetMaxInFlight(now time.Time, n int) {
	n = max(n, 0)
	if n == m.max {
		return
	}
	m.max = n
	m.rescale()
	m.plan(now)
}

// Sample reports what a connection has done. It is nothing new that a message
// was answered, so samples are taken when Next is due, not after each.
func (m *Machine) Sample(now time.Time, id ID, s Sample) {
	c := m.byID[id]
	if c == nil {
		return
	}
	if s.Received > c.received && c.place == inCold {
		m.turns.dequeue(c) // what it was asked for came after it was left
		m.turns.enqueue(c, inHot)
	}
	if s.LastMessage.After(c.last) {
		c.last = s.LastMessage
	}
	c.inFlight = s.InFlight
	c.peak = max(c.peak, s.Peak, s.InFlight)
	if c.leftover > c.inFlight {
		c.leftover, m.changed = c.inFlight, true
	}
	c.fresh += s.Received - c.received
	c.received = s.Received
	m.updateHeld(now, c)
}

// Tick does what the time has come for.
func (m *Machine) Tick(now time.Time) {
	if m.backoff.pausing && !now.Before(m.backoff.until) {
		m.probe(now)
	}
	if m.overload.slots > 0 && !now.Before(m.overload.easeAt) {
		m.ease(now)
	}
	if m.waiting && !now.Before(m.retryAt) {
		m.changed = true
	}
	if !m.lookAt.IsZero() && !now.Before(m.lookAt) {
		m.look(now)
	}
	if m.mode == turning {
		m.rotate(now)
	}
}

// Next is when Tick will have something to do. ok is false while only events
// can change anything.
func (m *Machine) Next() (due time.Time, ok bool) {
	due, ok = earlier(due, ok, m.backoff.until, m.backoff.pausing)
	due, ok = earlier(due, ok, m.overload.easeAt, m.overload.slots > 0)
	due, ok = earlier(due, ok, m.planAt, m.stale)
	due, ok = earlier(due, ok, m.retryAt, m.waiting)
	due, ok = earlier(due, ok, m.lookAt, !m.lookAt.IsZero())
	return earlier(due, ok, m.turns.due, m.mode == turning)
}

func earlier(a time.Time, aOK bool, b time.Time, bOK bool) (time.Time, bool) {
	if !aOK || bOK && b.Before(a) {
		return b, bOK
	}
	return a, aOK
}

// Asleep tells whether nothing is looked at until Wake is called: no connection
// has had a message for a while. The owner calls Wake with the first one.
func (m *Machine) Asleep() bool { return m.watches() && m.lookAt.IsZero() }

// Wake has the machine look soon: when it has become clear whether more come.
func (m *Machine) Wake(now time.Time) {
	if m.watches() {
		m.lookAt = now.Add(min(visitTime, m.cfg.Look))
	}
}

// watches tells whether what connections do changes anything.
func (m *Machine) watches() bool { return !m.cfg.Uniform && m.open > 1 && m.mode != resting }

// limit is how many slots there are.
func (m *Machine) limit() int {
	if m.overload.slots > 0 {
		return min(m.max, m.backoff.slots, m.overload.slots)
	}
	return min(m.max, m.backoff.slots)
}

// plan sets the wants anew, after a change of who there is or of how many slots
// there are.
func (m *Machine) plan(now time.Time) {
	m.stale, m.changed = false, true
	limit, before := m.limit(), m.mode
	switch {
	case limit == 0:
		m.mode = resting
		m.clearWants()
	case limit < m.open || m.preferTurns && limit < 2*m.open:
		m.mode = turning
		m.assignTurns(now, limit, before != turning)
	default:
		m.mode, m.preferTurns = sharing, false
		m.turns.clear()
		m.share(limit)
	}
	if !m.watches() {
		m.lookAt = time.Time{}
	} else if m.lookAt.IsZero() {
		m.lookAt = now.Add(m.cfg.Look)
	}
}

// clearWants takes all slots away.
func (m *Machine) clearWants() {
	m.turns.clear()
	for _, c := range m.conns {
		c.want = 0
	}
}
