// Package control makes a Consumer's decisions: which nsqds to dial and when,
// what RDY each connection gets, what result a waiting call gets, when to check
// leases, and how a stop proceeds.
//
// It is pure: events and the time go in, commands come out. It reads no clock,
// starts no goroutine, holds no lock and does no I/O. It knows connections and
// callers only by number, and never looks inside an error. The same events at the
// same times give the same commands. A Machine is not safe for concurrent use.
//
// # How to drive it
//
// The owner, the Consumer's run loop, repeats three steps:
//
//  1. It reports each event by calling the matching method. After each one it
//     calls Take and carries out all commands, in order, before it reports the
//     next: the connections that commands name are certain to exist only now.
//  2. It asks Needs which facts the next Tick needs, supplies them, calls Tick, and
//     carries out the commands that Take returns.
//  3. It waits for an event, or until the time that Next returns.
//
// The command Done ends the loop. The owner may still report events after it, and
// the Machine treats them as during a stop: it replies to calls and closes
// connections.
//
// # Who knows what
//
// fleet knows which addresses are wanted, their states and when each is dialled;
// flow knows RDYs and backoff. The Machine owns both. It ties them together with
// the one table of addresses and connections, and adds what neither knows: which
// caller waits for which result, and how far a stop has come.
package control

import (
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/flow"
)

// ID names one dial and, if it succeeds, the connection that it makes. IDs are
// never reused.
type ID = flow.ID

// Call names a caller that waits for a result. The owner chooses it; 0 means no caller.
type Call uint64

// Limits is what nsqd granted in a handshake.
type Limits struct {
	MaxRDY int           // the largest RDY that nsqd accepts; 0: it did not say
	Lease  time.Duration // nsqd's msg-timeout, above 0
}

// assumedMaxRDY is nsqd's default max-rdy-count, used for an nsqd that does not
// report its own.
const assumedMaxRDY = 2500

// Result is the result of a call.
type Result uint8

// The results.
const (
	OK Result = iota
	AlreadyConnected
	NotConnected
	Closing // the address was disconnected while the call waited
	Stopped // the Consumer was stopped
	Failed  // the dial failed; Reply.Err says why
)

// Phase is how far a stop has come. Phases only advance.
type Phase uint8

// The phases.
const (
	Active    Phase = iota
	Draining        // no new messages come; handlers finish the messages they have
	Cancelled       // contexts have ended; handlers that asked for one may still finish
	Abandoned       // handlers are no longer waited for; pending acks are being sent
	Cut             // connections are being closed, whatever they have not sent
)

const (
	// cancelGrace is how long handlers may take to return after their contexts have
	// ended.
	cancelGrace = 500 * time.Millisecond
	// flushTime is how long nsqds then have to accept the last acks.
	flushTime = 100 * time.Millisecond
)

// Config configures the two policies.
type Config struct {
	Flow  flow.Config // its MaxInFlight holds until SetMaxInFlight
	Fleet fleet.Config
	// Shared says that max_in_flight changes with what other Consumers need. It may then be
	// low for a while without a mistake in the program, so FewSlots is never told.
	Shared bool
}

// Machine makes the decisions of one Consumer.
type Machine struct {
	flow  *flow.Machine
	fleet *fleet.Machine

	// The one table: nsqds has exactly the addresses that fleet wants, links every
	// dial and connection that has not ended.
	nsqds  map[string]*nsqd
	links  map[ID]*link
	lastID ID
	dials  int // dials under way: the links that are not open, wanted or not

	maxInFlight int
	paused      bool
	takers      Takers
	asking      bool      // there is no worker, and a caller asks for messages
	returnAt    time.Time // when messages without a taker are requeued; zero: never
	polling     bool

	phase    Phase
	deadline time.Time // when the phase ends; zero: no limit
	workers  Workers
	over     bool // Done was commanded

	awaitingDials []Call    // callers that wait until no dial is under way
	sweepAt       time.Time // when the next sweep of the leases is due; zero: see leases.go
	swept         bool      // a sweep was made since the last Tick
	inFlight      int       // messages in flight as of the samples after that sweep
	drainsAt      time.Time // when to look at draining connections; zero: never

	flags   SetFlags // as last commanded
	recheck bool     // take samples once more: see listen
	moved   bool     // those samples show that a message came

	toldLevel      int // the backoff level that was last announced
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
	call   Call  // the Connect that waits for the dial
	toldOK bool  // a Connect got OK since the address became wanted
	failed bool  // the last dial failed
	err    error // from the last failed dial or lost connection
}

// link is a dial or a connection. If its address is no longer wanted, no nsqd
// points to it: the dial is cancelled, or the connection drains.
type link struct {
	id       ID
	addr     string
	open     bool      // it is a connection
	since    time.Time // when the dial began or, once it is a connection, when that was opened
	draining bool
	lease    time.Duration
	received uint64 // number of messages, as of the last Sample

	// Of a draining connection: see closeSilent.
	waitsSince time.Time // since when it waits for nothing but CLOSE_WAIT; zero: it does not
	drained    uint64    // number of messages, as of the last SetDrain
	closed     bool      // Close was commanded
}

// New returns a machine without nsqds.
func New(cfg Config) *Machine {
	return &Machine{
		flow:        flow.New(cfg.Flow),
		fleet:       fleet.New(cfg.Fleet),
		nsqds:       make(map[string]*nsqd),
		links:       make(map[ID]*link),
		maxInFlight: cfg.Flow.MaxInFlight,

		toldFewSlots: cfg.Shared,
	}
}

// Workers is the state of the goroutines that call handlers. A stop needs it.
type Workers struct {
	Total    int
	Idle     int  // those without a message
	Contexts bool // a handler has asked for the context of a message in hand
}

// Needs lists the facts that Tick needs.
type Needs struct {
	// Sweep, if not 0, asks for a sweep of the leases and a call of Swept. It is
	// the shortest lease of all connections.
	Sweep time.Duration
	// Samples asks for a Sample of every open connection.
	Samples bool
	// Drains asks for SetDrain of every draining connection.
	Drains bool
	// Workers asks for SetWorkers. Only a stop does.
	Workers bool
}

// Needs returns which facts to supply before Tick. Do a sweep first, and call Needs
// again after Swept: a sweep gives up messages, which changes the samples.
func (m *Machine) Needs(now time.Time) Needs {
	w := Needs{Drains: m.looksAtDrains(now)}
	if !m.sweepAt.IsZero() && !now.Before(m.sweepAt) {
		w.Sweep = m.shortestLease()
	}
	if m.phase == Active {
		w.Samples = m.recheck || m.swept || m.flowDue(now)
	} else {
		w.Workers = true
	}
	return w
}

// flowDue reports whether the time for flow's next Tick has come.
func (m *Machine) flowDue(now time.Time) bool {
	due, ok := m.flow.Next()
	return ok && !due.After(now)
}

// SetWorkers supplies the state of the workers.
func (m *Machine) SetWorkers(w Workers) { m.workers = w }

// Sample supplies the traffic of an open connection.
func (m *Machine) Sample(now time.Time, id ID, s flow.Sample) {
	l := m.links[id]
	m.moved = m.moved || l.received != s.Received
	l.received = s.Received
	m.inFlight += s.InFlight
	m.flow.Sample(now, id, s)
}

// Tick does what is due, and what follows from the events since the last Tick.
func (m *Machine) Tick(now time.Time) {
	if m.phase != Active {
		m.advance(now)
		m.closeSilent(now)
		m.finish()
		return
	}
	m.restSweeps()
	m.closeSilent(now)
	if m.recheck && m.moved {
		m.wake(now)
	}
	m.recheck, m.moved = false, false
	if m.flowDue(now) {
		m.flow.Tick(now)
	}
	m.apply(now)
	m.returnWaiting(now)
	m.dial(now)
	m.poll(now)
	m.replyAwaitingDials(OK)
}

// Next returns when Tick is due if no event comes first. ok is false if there is
// no such time.
func (m *Machine) Next() (due time.Time, ok bool) {
	due, ok = earlier(m.sweepAt, !m.sweepAt.IsZero(), m.drainsAt, !m.drainsAt.IsZero())
	switch {
	case m.phase != Active:
		return earlier(due, ok, m.deadline, !m.deadline.IsZero())
	case m.recheck:
		return time.Time{}, true // at once
	}
	due, ok = earlier(due, ok, m.returnAt, !m.returnAt.IsZero())
	dial, dials := m.fleet.Next()
	due, ok = earlier(due, ok, dial, dials)
	if m.polling {
		poll, polls := m.fleet.NextPoll()
		due, ok = earlier(due, ok, poll, polls)
	}
	look, looks := m.flow.Next()
	return earlier(due, ok, look, looks)
}

// earlier returns the earlier of two times, each of which may be missing.
func earlier(a time.Time, aOK bool, b time.Time, bOK bool) (time.Time, bool) {
	if !aOK || bOK && b.Before(a) {
		return b, bOK
	}
	return a, aOK
}

// Take appends to dst the commands since the last Take. Carry out all of them, in
// order, before reporting the next event.
func (m *Machine) Take(dst []Command) []Command {
	dst = append(dst, m.out...)
	clear(m.out)
	m.out = m.out[:0]
	return dst
}

func (m *Machine) give(c Command) { m.out = append(m.out, c) }

func (m *Machine) tell(e Event) { m.give(Tell{e}) }
