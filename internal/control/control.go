// Package control makes a Consumer's decisions: which nsqds to dial and when,
// what RDY each connection gets, what a waiting call is told, when leases are
// looked at, and how a stop proceeds.
//
// It is pure. Events and the time go in, commands come out; it reads no clock,
// starts no goroutine, holds no lock and does no I/O. Connections and callers are
// numbers here, errors are opaque. The same events at the same times give the
// same commands. A Machine is not safe for concurrent use.
//
// # How to drive it
//
// The owner, the Consumer's run loop, repeats three steps:
//
//  1. It reports what has happened, one event at a time, by the methods that take
//     it. After each event it takes the commands with Take and carries out all of
//     them, in order, before the next event: a command names a connection that
//     exists now.
//  2. It asks Wants which facts the next Tick needs, hands them in, and calls
//     Tick. Then it carries out the commands of that.
//  3. It waits for an event, or until Next.
//
// It ends after the command Done. Events may still come after that: calls are
// answered and connections closed as during a stop.
//
// # Who knows what
//
// fleet knows which addresses are wanted, their states and when each is dialled;
// flow knows RDYs and backoff. The Machine owns both, joins them by the one table
// of addresses and connections, and adds what neither knows: who waits for which
// result, and how far a stop has come.
package control

import (
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/flow"
)

// ID names one dial and, if it succeeds, the connection that it makes. IDs are
// not used again.
type ID = flow.ID

// Call names a caller that waits for a result. The owner chooses it; 0 is nobody.
type Call uint64

// Limits is what nsqd granted in a handshake.
type Limits struct {
	MaxRDY int           // the largest RDY that nsqd takes; 0: it did not say
	Lease  time.Duration // its msg-timeout, over 0
}

// assumedMaxRDY is nsqd's default of max-rdy-count, for an nsqd that does not
// tell its own.
const assumedMaxRDY = 2500

// Failure is how a dial failed.
type Failure uint8

// The failures.
const (
	Unreachable Failure = iota // there is no nsqd, or none that answers
	Refused                    // an nsqd answered and will hardly change its mind soon
)

// Result is what a waiting caller is told.
type Result uint8

// The results.
const (
	OK Result = iota
	AlreadyConnected
	NotConnected
	Closing // the address was disconnected meanwhile
	Stopped // the Consumer was stopped
	Failed  // the dial failed; Reply.Err says why
)

// Phase is how far a Consumer is on its way to its end. Phases only go on.
type Phase uint8

// The phases.
const (
	Active    Phase = iota
	Draining        // no messages come; handlers finish theirs
	Cancelled       // contexts have ended; handlers that have one may still finish
	Abandoned       // no handler is waited for; the acks that were given are being sent
	Cut             // the connections are being closed
)

const (
	// lastWords is how long handlers whose contexts have ended may take to
	// return.
	lastWords = 500 * time.Millisecond
	// flushTime is how long nsqds may take to take the last acks after that.
	flushTime = 100 * time.Millisecond
)

// Config is that of the two policies.
type Config struct {
	Flow  flow.Config // its MaxInFlight is the Consumer's, until SetMaxInFlight
	Fleet fleet.Config
}

// Machine decides for one Consumer.
type Machine struct {
	flow  *flow.Machine
	fleet *fleet.Machine

	// The one table. nsqds has every address that fleet wants, and no other;
	// links has every dial and connection that has not ended.
	nsqds  map[string]*nsqd
	links  map[ID]*link
	lastID ID
	dials  int // of links, those being dialled, wanted or not

	maxInFlight int
	paused      bool
	handlers    int // goroutines that call handlers
	polling     bool

	phase    Phase
	deadline time.Time // of the phase; zero: none
	hands    Hands
	over     bool // Done was given

	settling []Call // callers that wait until nothing is being dialled
	sweepAt  time.Time

	flags   SetFlags // as the owner has them
	recheck bool     // compare counts once more: see listen
	moved   bool     // a count did move

	level          int // of backoff, as it was told last
	toldFewSlots   bool
	toldOverloaded bool

	out       []Command
	decisions []flow.Decision
	due       []string
}

// nsqd is a wanted address.
type nsqd struct {
	addr   string
	id     ID    // of its dial or connection; 0 while it waits for the next dial
	call   Call  // that waits for the dial
	told   bool  // a Connect was answered OK since the address became wanted
	failed bool  // the last dial failed, and that was told
	err    error // of the last dial that failed or connection that was lost
}

// link is a dial or a connection. A dial that nobody wants any more and a
// connection that drains have no nsqd that points to them.
type link struct {
	id       ID
	addr     string
	open     bool // it is a connection
	draining bool
	lease    time.Duration
	received uint64 // messages, as of the last Sample
}

// New returns a machine without nsqds.
func New(cfg Config) *Machine {
	return &Machine{
		flow:        flow.New(cfg.Flow),
		fleet:       fleet.New(cfg.Fleet),
		nsqds:       make(map[string]*nsqd),
		links:       make(map[ID]*link),
		maxInFlight: cfg.Flow.MaxInFlight,
	}
}

// Hands is the state of the handlers' goroutines, which a stop needs.
type Hands struct {
	Workers  int  // goroutines
	Idle     int  // of them, those without a message
	Contexts bool // a message in hand has a context that was asked for
}

// Wants is what Tick needs to know first.
type Wants struct {
	// Sweep asks for a look at the leases, of which this is the shortest, and
	// for its result by Swept. 0: no.
	Sweep time.Duration
	// Samples asks for a Sample of every connection.
	Samples bool
	// Hands asks for SetHands.
	Hands bool
}

// Wants returns which facts to hand in before Tick. Sweep comes first: after
// Swept ask again, since the messages that a sweep gives up are in the samples.
func (m *Machine) Wants(now time.Time) Wants {
	var w Wants
	if !m.sweepAt.IsZero() && !now.Before(m.sweepAt) {
		w.Sweep = m.shortestLease()
	}
	if m.phase == Active {
		w.Samples = m.recheck || m.flowDue(now)
	} else {
		w.Hands = true
	}
	return w
}

// flowDue reports whether flow has something to do without an event.
func (m *Machine) flowDue(now time.Time) bool {
	due, ok := m.flow.Next()
	return ok && !due.After(now)
}

// SetHands hands in the state of the handlers.
func (m *Machine) SetHands(h Hands) { m.hands = h }

// Sample hands in what an open connection does.
func (m *Machine) Sample(now time.Time, id ID, s flow.Sample) {
	l := m.links[id]
	m.moved = m.moved || l.received != s.Received
	l.received = s.Received
	m.flow.Sample(now, id, s)
}

// Tick does what the time has come for and what events have led to.
func (m *Machine) Tick(now time.Time) {
	if m.phase != Active {
		m.advance(now)
		m.finish()
		return
	}
	if m.recheck && m.moved {
		m.flow.Wake(now)
	}
	m.recheck, m.moved = false, false
	if m.flowDue(now) {
		m.flow.Tick(now)
	}
	m.apply(now)
	m.dial(now)
	m.settle(OK)
}

// Next returns when Tick will have something to do without an event. ok is false
// while there is no such time.
func (m *Machine) Next() (due time.Time, ok bool) {
	due, ok = m.sweepAt, !m.sweepAt.IsZero()
	switch {
	case m.phase != Active:
		return earlier(due, ok, m.deadline, !m.deadline.IsZero())
	case m.recheck:
		return time.Time{}, true // at once
	}
	dial, dials := m.fleet.Next()
	due, ok = earlier(due, ok, dial, dials)
	look, looks := m.flow.Next()
	return earlier(due, ok, look, looks)
}

// earlier returns the earlier of two times, of those that there are.
func earlier(a time.Time, aOK bool, b time.Time, bOK bool) (time.Time, bool) {
	if !aOK || bOK && b.Before(a) {
		return b, bOK
	}
	return a, aOK
}

// Take appends the commands given since the last Take. Carry out all of them, in
// order, before the next event.
func (m *Machine) Take(dst []Command) []Command {
	dst = append(dst, m.out...)
	clear(m.out)
	m.out = m.out[:0]
	return dst
}

func (m *Machine) give(c Command) { m.out = append(m.out, c) }

func (m *Machine) tell(e Event) { m.give(Tell{e}) }
