package control

import (
	"time"

	"github.com/rdyhq/nsq/internal/flow"
)

// SetMaxInFlight sets how many messages may be in flight. A negative number counts
// as 0. While the Consumer is paused, it takes effect when the pause ends.
func (m *Machine) SetMaxInFlight(now time.Time, n int) {
	m.maxInFlight = max(n, 0)
	m.setSlots(now)
}

// Pause stops messages from coming if paused is true, and lets them come otherwise.
func (m *Machine) Pause(now time.Time, paused bool) {
	m.paused = paused
	m.setSlots(now)
}

// setSlots tells flow how many slots there are.
func (m *Machine) setSlots(now time.Time) {
	slots := m.maxInFlight
	if m.paused {
		slots = 0
	}
	m.flow.SetMaxInFlight(now, slots)
}

// MaxInFlight returns how many messages may be in flight, as last set, and whether
// the Consumer is paused.
func (m *Machine) MaxInFlight() (n int, paused bool) { return m.maxInFlight, m.paused }

// Held returns how many messages can be in flight unless an RDY rises, as of the last
// samples.
func (m *Machine) Held() int { return m.flow.Held() }

// Backoff returns the backoff level, 0 for none, and when its pause ends or ended.
func (m *Machine) Backoff() (level int, until time.Time) { return m.flow.BackoffLevel() }

// Result reports what became of a message, given the connection and the epoch in
// which it arrived. Carry out the commands that follow before sending the message's
// ack: otherwise nsqd sends the next message by the old RDY.
func (m *Machine) Result(now time.Time, id ID, r flow.Result, epoch uint32) {
	if m.phase == Active {
		m.flow.Result(now, id, r, epoch)
		m.apply(now)
	}
}

// Wake reports that a message arrived while the listening flag was up. Its reader has
// lowered the flag. That does not count: before this event came, a command that changed
// another flag may have raised it again. So the next flags lower it once more.
func (m *Machine) Wake(now time.Time) {
	if m.phase == Active {
		m.wake(now)
	}
}

// wake plans a sweep of the leases, and wakes flow.
func (m *Machine) wake(now time.Time) {
	m.planSweep(now)
	m.flow.Wake(now)
}

// Weigh reports that the bodies in memory weigh as much as the flags say. No reader calls
// it again until new flags are set. They are set at once: after weighing, the machine may
// want to hear of the same weight again, and equal flags would not be commanded.
func (m *Machine) Weigh(now time.Time) {
	if m.phase == Active {
		m.flow.Weigh(now)
		m.listen(m.flags.Spending)
	}
}

// Stall reports that takers wait for messages that cannot come by the RDYs that were sent. If
// no RDY will rise either, because the byte budget is spent, HurryTakers follows. The owner
// calls it only while the Bounded flag is up.
func (m *Machine) Stall(now time.Time) {
	if m.phase == Active {
		m.flow.Stall(now)
	}
}

// apply commands the flags and RDYs that flow has decided on. The flags go first: a
// message that comes by a new RDY must be stamped with the new epoch. Only the Spending
// flag is lowered last: an ack that does not wait must find the lower RDYs sent.
func (m *Machine) apply(now time.Time) {
	m.decisions = m.flow.Take(now, m.decisions[:0])
	m.listen(m.flags.Spending)
	for _, d := range m.decisions {
		m.give(SetRDY{ID: d.Conn, RDY: d.RDY})
	}
	m.listen(false)
	if m.flow.Spent(now) {
		m.give(HurryTakers{})
	}
	m.tellBackoff(now)
}

// listen commands the flags that have changed. Raising the listening flag takes one
// more round of samples, because of this race:
//
//  1. flow looks at the samples, sees that no message has come for a while, and
//     falls asleep or slows turns down. Or the samples after a sweep show no message in
//     flight, and sweeps rest.
//  2. A message arrives. Its reader finds the flag down and does not call Wake.
//  3. The owner raises the flag.
//
// If handlers are slow, the next message, and with it the next Wake, may be long in
// coming. So connections are sampled again once the flag is up, and if a message has
// arrived since the last samples, Tick does what Wake does.
//
// If spending is true, the Spending flag stays up.
func (m *Machine) listen(spending bool) {
	flags := SetFlags{
		Epoch: m.flow.Epoch(), Reporting: m.flow.Reporting(),
		Listening: m.flow.Listening() || m.sweepsRest(), WeighAt: m.flow.WeighAt(),
		Spending: spending || m.asking || m.flow.Spending(), Bounded: m.flow.Bounded(),
	}
	if flags == m.flags {
		return
	}
	m.recheck = m.recheck || flags.Listening && !m.flags.Listening
	m.flags = flags
	m.give(flags)
}

// tellBackoff announces a change of the backoff level.
func (m *Machine) tellBackoff(now time.Time) {
	level, until := m.flow.BackoffLevel()
	if level != m.toldLevel {
		m.tell(Backoff{Level: level, Before: m.toldLevel, Pause: max(until.Sub(now), 0)})
		m.toldLevel = level
	}
}

// tellFewSlots announces, once, that max_in_flight leaves handlers or nsqds idle.
func (m *Machine) tellFewSlots() {
	if m.toldFewSlots || m.maxInFlight == 0 || m.flow.Allowing() || m.maxInFlight >= max(m.takers.Messages, len(m.nsqds)) {
		return
	}
	m.toldFewSlots = true
	m.tell(FewSlots{MaxInFlight: m.maxInFlight, Messages: m.takers.Messages, NSQDs: len(m.nsqds)})
}
