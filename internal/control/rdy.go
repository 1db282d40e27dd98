package control

import (
	"time"

	"github.com/rdyhq/nsq/internal/flow"
)

// SetMaxInFlight sets how many messages may be in flight. A negative number is 0.
// While the Consumer is paused it takes effect when the pause ends.
func (m *Machine) SetMaxInFlight(now time.Time, n int) {
	m.maxInFlight = max(n, 0)
	m.setSlots(now)
}

// Pause has no messages come, or has them come again.
func (m *Machine) Pause(now time.Time, paused bool) {
	m.paused = paused
	m.setSlots(now)
}

func (m *Machine) setSlots(now time.Time) {
	slots := m.maxInFlight
	if m.paused {
		slots = 0
	}
	m.flow.SetMaxInFlight(now, slots)
}

// MaxInFlight returns how many messages may be in flight, and whether a Pause
// keeps them from coming.
func (m *Machine) MaxInFlight() (n int, paused bool) { return m.maxInFlight, m.paused }

// Backoff returns the level of backoff, 0 for none, and when its pause ends, or
// ended.
func (m *Machine) Backoff() (level int, until time.Time) { return m.flow.BackoffLevel() }

// Result reports what became of a message that arrived at a connection in an
// epoch. Its ack must be sent after the commands that follow from this: nsqd
// would otherwise send the next message by the RDY that it has.
func (m *Machine) Result(now time.Time, id ID, r flow.Result, epoch uint32) {
	if m.phase == Active {
		m.flow.Result(now, id, r, epoch)
		m.apply(now)
	}
}

// Wake reports a message, because the flags asked for the next one. Whoever
// reports it has lowered that flag.
func (m *Machine) Wake(now time.Time) {
	m.flags.Listening = false
	if m.phase == Active {
		m.flow.Wake(now)
	}
}

// apply gives the flags and RDYs that flow has decided on, in that order: a
// message that comes by a new RDY must be stamped with the epoch that began
// before it.
func (m *Machine) apply(now time.Time) {
	m.decisions = m.flow.Take(now, m.decisions[:0])
	m.listen()
	for _, d := range m.decisions {
		m.give(SetRDY{ID: d.Conn, RDY: d.RDY})
	}
	m.tellBackoff(now)
}

// listen sets the flags. Asking for the next message takes a second look:
//
//  1. flow samples the counts, finds that no message came for a while, and stops
//     looking.
//  2. A message arrives. Its reader finds the flag down and reports nothing.
//  3. The owner raises the flag.
//
// If handlers are slow no other message may come for long. So the counts are
// compared once more after the flag is up, and one that has moved wakes flow.
func (m *Machine) listen() {
	flags := SetFlags{Epoch: m.flow.Epoch(), Reporting: m.flow.Reporting(), Listening: m.flow.Asleep()}
	if flags == m.flags {
		return
	}
	m.recheck = m.recheck || flags.Listening && !m.flags.Listening
	m.flags = flags
	m.give(flags)
}

// tellBackoff says when backoff begins, changes its level and ends.
func (m *Machine) tellBackoff(now time.Time) {
	level, until := m.flow.BackoffLevel()
	if level != m.level {
		m.level = level
		m.tell(Backoff{Level: level, Pause: max(until.Sub(now), 0)})
	}
}

// Handlers reports how many goroutines call handlers.
func (m *Machine) Handlers(n int) { m.handlers = n }

// tellFewSlots says, once, that max_in_flight leaves handlers or nsqds idle.
func (m *Machine) tellFewSlots() {
	if m.toldFewSlots || m.maxInFlight == 0 || m.maxInFlight >= max(m.handlers, len(m.nsqds)) {
		return
	}
	m.toldFewSlots = true
	m.tell(FewSlots{MaxInFlight: m.maxInFlight, Handlers: m.handlers, NSQDs: len(m.nsqds)})
}

// sweepBy has the leases looked at by a time at the latest.
func (m *Machine) sweepBy(at time.Time) {
	if m.sweepAt.IsZero() || at.Before(m.sweepAt) {
		m.sweepAt = at
	}
}

// shortestLease returns the shortest lease of all connections, 0 without one.
func (m *Machine) shortestLease() (shortest time.Duration) {
	for _, l := range m.links {
		if l.open && (shortest == 0 || l.lease < shortest) {
			shortest = l.lease
		}
	}
	return shortest
}

// Swept hands in the result of a sweep: how many messages expired before a
// handler was free, and when the next sweep is due.
func (m *Machine) Swept(now, next time.Time, expired int) {
	m.sweepAt = next
	if expired == 0 {
		return
	}
	lease := m.shortestLease()
	m.flow.Overload(now, lease)
	if !m.toldOverloaded && m.phase == Active {
		m.toldOverloaded = true
		m.tell(Overload{MaxInFlight: m.maxInFlight, Handlers: m.handlers, Lease: lease})
	}
}
