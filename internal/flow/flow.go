// Package flow shares max_in_flight over the connections to nsqds. It decides
// which RDY each connection is sent, and when failing handlers pause all of them.
//
// It is pure: events and the time go in, decisions come out. It reads no clock,
// starts no goroutine and does no I/O. Random numbers come from a seed, so the
// same events give the same decisions. It is not safe for concurrent use.
//
// # How it works
//
// A slot is the right to have one message in flight; there are max_in_flight of
// them. Every connection has a want: the number of slots it should have.
//
//   - share.go sets wants while there is a slot for every connection: an even
//     split, moved towards the connections that use their slots.
//   - turns.go sets wants while there are fewer slots than connections: the slots
//     go round. It also does so when there are hardly more slots than connections
//     and a busy connection could use the slots of idle ones.
//   - rounds.go sets wants while so many connections have messages that each would have
//     only one or two slots: large shares go round.
//   - backoff.go and overload.go limit how many slots there are.
//   - bytes.go limits them too, and each RDY, if bodies are heavy.
//   - allowance.go sets how many there are while callers ask for single messages.
//
// grant.go turns wants into RDYs. RDY is a ceiling on what nsqd may have in
// flight on a connection, not a credit, and nsqd does not confirm it. A decrease
// is therefore sent at once, but other connections get the slots it frees only
// when nsqd must have seen it and the messages in flight above it have been acked,
// requeued or expired. An RDY is sent only if the sum over all connections of
// max(RDY, messages in flight) stays within max_in_flight.
//
// The owner calls Take after every event and sends the decisions in the order
// returned. When Next is due, it calls Sample for every connection, then Tick.
package flow

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// settleTime is how long messages may keep arriving after a decrease because
	// nsqd sent them before the decrease reached it. It is also the least time
	// between two plans that are made because connections came or went.
	settleTime = 10 * time.Millisecond
	// visitTime is how long a slot that goes round waits for a first message before
	// it moves on. It can be short: nsqd flushes its output buffer at once when a
	// message fills the connection's RDY, and with an RDY of 1 every message does.
	visitTime = 25 * time.Millisecond
	// turnTime is the longest a slot stays on a connection with messages while other
	// connections with messages wait.
	turnTime = 250 * time.Millisecond
	// lookInterval is the longest time between two looks at what connections use.
	lookInterval = 100 * time.Millisecond
	// With at least fastPerSlot messages per slot between two looks, the handlers are
	// too fast for a look to find their messages in flight.
	fastPerSlot = 16
	// A connection with a load of at least fullLoad counts as using all of its RDY.
	// One without messages has unknownLoad: from there, two looks that find all of its
	// slots in use raise it to fullLoad.
	fullLoad, unknownLoad = 0.85, 0.75
)

// ID names one connection from its Up to its Down. The owner never reuses an ID.
type ID uint64

// Decision is an RDY to send.
type Decision struct {
	Conn ID
	RDY  int
}

// Config sets the policy.
type Config struct {
	// MaxInFlight bounds the sum of all RDYs; 0 pauses.
	MaxInFlight int
	// MaxBytes bounds what the bodies in flight are expected to weigh; 0 is no bound.
	MaxBytes int64
	// Uniform keeps the split even whatever the traffic.
	Uniform bool
	// Idle is how long after its last message a connection becomes idle. It must
	// be longer than nsqd keeps messages in its output buffer.
	Idle time.Duration
	// Turn shortens turnTime and Look shortens lookInterval. A longer value, or 0,
	// changes nothing.
	Turn, Look time.Duration

	// Backoff returns the pause of a backoff level. Levels begin at 1; chance is
	// the source of jitter. A nil Backoff disables backoff.
	Backoff func(level int, chance *rand.Rand) time.Duration
	// MaxBackoff is the longest pause. 0 disables backoff.
	MaxBackoff time.Duration
	// Adaptive makes a failure take some of the slots away. A failure at the last
	// slot begins a pause.
	Adaptive bool

	Seed uint64 // of all random choices
}

// Sample tells what a connection has done so far.
type Sample struct {
	Received uint64 // messages since Up
	// InFlight is the number of messages that nsqd counts as in flight: received,
	// not yet acked or requeued, and still within their lease. The owner tracks
	// the leases, since it knows of TOUCHes. A message counted here keeps its slot.
	InFlight    int
	Peak        int       // the largest InFlight since the last Sample
	Bytes       uint64    // of the bodies of Received
	LastMessage time.Time // when the last message arrived
	// BytesInFlight is what of Bytes is still in memory. A body may be, for a while,
	// although its message is no longer in flight.
	BytesInFlight int64
	// Coming is how many of the messages in flight callers cannot have yet. It matters only
	// while messages come by allowance.
	Coming int
}

// conn is one connection. The fields that every look reads come first: there may
// be thousands of connections.
type conn struct {
	maxRDY   int  // the largest RDY: nsqd's max_rdy_count, or less if the byte budget says so
	draining bool // it gets no more RDY; its messages in flight still count
	use      use

	// What was decided, and what that means for the others.
	rdy      int // last decided
	want     int // slots it should have
	aim      int // the RDY that gives it those slots
	held     int // slots that no other connection may have: at least rdy
	inFlight int // as of the last Sample
	leftover int // of inFlight: received before the last pause ended

	// What it does with its slots.
	fresh        uint64  // messages received since the last look
	peak         int     // most in flight since the last look
	load         float64 // moving average of the part of rdy in use
	keep         int     // slots that it keeps even if others need more
	need         int     // slots that it can use
	lo, hi, next int     // bounds and result of the split being made

	nsqdMax int // nsqd's max_rdy_count
	cargo   cargo

	id        ID
	received  uint64
	coming    int           // of inFlight, as of the last Sample
	last      time.Time     // when its last message arrived
	since     time.Time     // when its current time with slots began: see grant and giveSlot
	settledAt time.Time     // when nsqd must have seen the last decrease of rdy
	place     place         // the queue in which it waits for a turn
	stay      time.Duration // how long a single slot waits for a message before it leaves
	visited   time.Time     // when a visit that was paid for last began, or a slot left in vain
	turnEnds  time.Time     // when its turn ends; used only with an allowance: see queueAgain
	assured   bool          // its slot is for a turn or a paid visit, and has brought no message yet: see trim
}

// use is how much a connection uses its slots, as a look found it.
type use uint8

const (
	idle  use = iota // no message for cfg.Idle
	light            // a message now and then
	busy             // one message after another
	full             // all its slots are in use
)

// mode says what sets the wants.
type mode uint8

const (
	resting  mode = iota // all wants are 0
	sharing              // share.go
	turning              // turns.go
	inRounds             // rounds.go
)

// Machine holds the state of the policy.
type Machine struct {
	cfg    Config
	chance *rand.Rand
	bound  int     // max_in_flight, never negative
	max    int     // how many slots there are at most: bound, unless there is an allowance
	conns  []*conn // in the order of their Up, draining ones included
	byID   map[ID]*conn
	open   int // number of conns that are not draining

	mode        mode
	preferTurns bool      // take turns although there is a slot for every connection
	stale       bool      // connections came or went since the last plan
	planAt      time.Time // such a change is planned for no earlier than this
	changed     bool      // Take has work: wants changed, or awaited slots became free

	waiting      bool // a connection has a lower RDY than its aim
	waitingSince time.Time
	retryAt      time.Time // when waiting: next attempt to grant more
	grantFrom    int       // index in conns at which grant begins

	lookAt    time.Time // the next look; zero if none is planned
	elastic   []*conn   // scratch of split: the conns with lo < hi
	turns     turns     // also holds the connections that wait in rounds
	rounds    rounds
	backoff   backoff
	overload  overload
	budget    budget
	allowance allowance
}

// New returns a machine without connections.
func New(cfg Config) *Machine {
	m := &Machine{
		cfg:    cfg,
		chance: rand.New(rand.NewPCG(cfg.Seed, cfg.Seed)), // #nosec G404 -- jitter, not a secret
		bound:  max(cfg.MaxInFlight, 0),
		byID:   make(map[ID]*conn),
	}
	m.max = m.bound
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

// Up adds a connection to an nsqd whose max_rdy_count is maxRDY.
func (m *Machine) Up(now time.Time, id ID, maxRDY int) {
	c := &conn{id: id, maxRDY: maxRDY, nsqdMax: maxRDY, since: now}
	c.need, c.load = 1, unknownLoad
	if !m.cfg.Uniform {
		c.need = max(m.limit()/(m.open+1), 1) // its even share, until a look has measured it
	}
	m.conns = append(m.conns, c)
	m.byID[id] = c
	m.open++
	m.stale = true
	if m.lookAt.IsZero() && now.Before(m.planAt) {
		m.Wake(now) // Listening is false until the plan, so no message would wake the machine
	}
}

// Drain takes a connection's slots away for good: the owner has sent CLS, so no
// RDY follows. Its messages in flight keep their slots.
func (m *Machine) Drain(now time.Time, id ID) {
	c := m.byID[id]
	if c == nil || c.draining {
		return
	}
	m.turns.dequeue(c)
	c.draining = true
	c.rdy, c.want = 0, 0
	c.settledAt = now.Add(settleTime)
	m.open--
	m.stale = true
}

// Down removes a connection. Its slots go to the others.
func (m *Machine) Down(id ID) {
	c := m.byID[id]
	if c == nil {
		return
	}
	m.turns.dequeue(c)
	if !c.draining {
		m.open--
	}
	if m.allowance.on {
		m.max -= c.inHand()
		m.rescale()
	}
	delete(m.byID, id)
	m.conns = slices.DeleteFunc(m.conns, func(o *conn) bool { return o == c })
	m.stale = true
}

// Held returns how many messages can be in flight unless an RDY rises, as of the last
// samples: of each connection its RDY or its messages in flight, whichever is more. What a
// decrease frees counts until nsqd must have seen the decrease.
func (m *Machine) Held() (slots int) {
	for _, c := range m.conns {
		slots += c.held
	}
	return slots
}

// SetMaxInFlight bounds the sum of all RDYs; 0, or less, pauses. While messages come by
// allowance, only a pause takes effect.
func (m *Machine) SetMaxInFlight(now time.Time, n int) {
	n = max(n, 0)
	if n == m.bound {
		return
	}
	m.bound = n
	if !m.allowance.on {
		m.max = n
		m.rescale()
	}
	m.plan(now)
}

// Sample reports what a connection has done. The owner samples when Next is due,
// not after every message: acks alone change no decision.
func (m *Machine) Sample(now time.Time, id ID, s Sample) {
	c := m.byID[id]
	if c == nil {
		return
	}
	if s.Received > c.received && c.place == inCold {
		m.turns.dequeue(c) // its message was on the way when the slot left
		m.turns.enqueue(c, inHot)
	}
	if s.LastMessage.After(c.last) {
		c.last, c.assured = s.LastMessage, false
	}
	if s.Received > c.received || s.InFlight < c.inFlight {
		m.hear(now)
	}
	inHand, came := c.inHand(), c.came()
	c.inFlight, c.coming = max(s.InFlight, 0), s.Coming
	c.peak = max(c.peak, s.Peak, c.inFlight)
	if c.leftover > c.inFlight {
		c.leftover, m.changed = c.inFlight, true
	}
	fresh := s.Received - c.received
	c.cargo.sample(s, fresh)
	c.fresh += fresh
	m.rounds.messages += fresh
	c.received = s.Received
	m.countReceived(c, int(min(max(c.came()-came, 0), math.MaxInt32)), inHand) // #nosec G115 -- bounded
	m.updateHeld(now, c)
}

// Tick does what is due.
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
	if at := m.allowance.idleAt; !at.IsZero() && !now.Before(at) {
		m.lookForMessages(now)
	}
	switch m.mode {
	case turning:
		m.rotate(now)
	case inRounds:
		m.rotateRounds(now)
	}
	if !m.budget.weighAt.IsZero() && !now.Before(m.budget.weighAt) {
		m.weigh(now)
	}
}

// Next returns when Tick has something to do. ok is false while only events can
// change anything.
func (m *Machine) Next() (due time.Time, ok bool) {
	due, ok = earlier(due, ok, m.backoff.until, m.backoff.pausing)
	due, ok = earlier(due, ok, m.overload.easeAt, m.overload.slots > 0)
	due, ok = earlier(due, ok, m.planAt, m.stale)
	due, ok = earlier(due, ok, m.retryAt, m.waiting)
	due, ok = earlier(due, ok, m.lookAt, !m.lookAt.IsZero())
	due, ok = earlier(due, ok, m.allowance.idleAt, !m.allowance.idleAt.IsZero())
	due, ok = earlier(due, ok, m.budget.weighAt, !m.budget.weighAt.IsZero())
	return earlier(due, ok, m.turns.due, m.mode >= turning)
}

func earlier(a time.Time, aOK bool, b time.Time, bOK bool) (time.Time, bool) {
	if !aOK || bOK && b.Before(a) {
		return b, bOK
	}
	return a, aOK
}

// Listening reports whether the owner must call Wake when the next message arrives: no
// connection has had one for a while, and so the machine has stopped looking, or has
// slowed turns down. While a plan is pending the machine is not asleep: the plan sets
// the next look.
func (m *Machine) Listening() bool {
	return m.turns.silence.slow || m.watches() && m.lookAt.IsZero() && !m.stale
}

// Wake reports that a message arrived. Slow turns go at full speed again, and the
// machine looks again after a delay in which more messages may follow.
func (m *Machine) Wake(now time.Time) {
	m.hear(now)
	if m.watches() {
		m.lookAt = now.Add(min(visitTime, m.cfg.Look))
		if m.allowance.on {
			m.lookAt = now.Add(settleTime) // a caller is waiting
		}
	}
}

// watches reports whether the wants depend on what connections do.
func (m *Machine) watches() bool {
	return (!m.cfg.Uniform || m.allowance.on) && m.open > 1 && m.mode != resting
}

// limit returns how many slots there are. Those of an allowance are in addition to what is
// in flight.
func (m *Machine) limit() int {
	slots := min(m.max, m.backoff.slots)
	switch {
	case m.bound == 0:
		return 0
	case m.allowance.on:
		slots = min(slots, m.allowedNow())
	}
	for _, bound := range [...]int{m.overload.slots, m.budget.slots} {
		if bound > 0 {
			slots = min(slots, bound)
		}
	}
	return slots
}

// plan sets all wants from scratch. It runs when the connections or the number of
// slots changed.
func (m *Machine) plan(now time.Time) {
	m.stale, m.changed = false, true
	m.applyBudget()
	limit, before := m.limit(), m.mode
	if before != inRounds { // rounds are judged however often the number of slots changes
		m.rounds.restart(now)
	}
	switch {
	case limit == 0:
		m.mode = resting
		m.clearWants()
	case m.mode == inRounds && m.mayRound(limit):
		m.assignRounds(now, limit)
	case limit < m.open || m.preferTurns && limit < 2*m.open:
		m.mode = turning
		m.assignTurns(now, limit, before != turning)
	default:
		m.mode, m.preferTurns = sharing, false
		m.turns.clear()
		m.share(limit)
	}
	if !m.watches() || m.turns.silence.slow {
		m.lookAt = time.Time{}
	} else if m.lookAt.IsZero() && !m.allowance.on { // with an allowance the next message wakes the machine
		m.lookAt = now.Add(m.cfg.Look)
	}
}

// clearWants takes all slots from all connections.
func (m *Machine) clearWants() {
	m.turns.clear()
	for _, c := range m.conns {
		c.want = 0
	}
}
