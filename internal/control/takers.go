package control

import "time"

// Takers says what takes messages.
type Takers struct {
	// Workers is how many goroutines call handlers or range over messages.
	Workers int
	// Messages is how many messages the workers can have at a time.
	Messages int
	// Asking is how many callers wait for messages that they have asked for.
	Asking int
}

// takerGrace is how long messages wait without a taker before they are requeued. A loop that
// ends and begins again should find the messages that its first run left, since each requeue
// costs an attempt.
const takerGrace = time.Second

// SetTakers reports what takes messages from now on. While there is no worker, messages come
// only if callers Ask for them. Without any taker no messages come, and those that wait are
// requeued after takerGrace. The owner must call Sample for all open connections before.
func (m *Machine) SetTakers(now time.Time, t Takers) {
	m.takers, m.returnAt = t, time.Time{}
	if m.phase != Active {
		return
	}
	if t.Workers+t.Asking == 0 {
		m.returnAt = now.Add(takerGrace)
	}
	m.flow.SetAllowing(now, t.Workers == 0)
	if m.asking = t.Workers == 0 && t.Asking > 0; !m.asking {
		m.flow.Allow(now, 0)
	}
	m.apply(now)
}

// Allowing reports whether messages come only if callers Ask for them.
func (m *Machine) Allowing() bool { return m.flow.Allowing() }

// Ask says how many messages the callers that SetTakers has reported still want. The owner
// must call Sample for all open connections before, with the figures of the same moment. For
// a new caller it first calls SetTakers and carries out the commands. Then the Spending flag
// is up, so no ack that the samples do not show can follow an RDY that counts on them.
func (m *Machine) Ask(now time.Time, n int) {
	if m.phase == Active && m.asking {
		m.flow.Allow(now, n)
		m.apply(now)
	}
}

// Spend reports that a message is about to be acked or requeued while the Spending flag is
// up, given the connection and the epoch in which it arrived. The owner must call Sample for
// the connection before, if it is open, and carry out the commands that follow before it
// sends the ack: otherwise nsqd sends a message that nothing has asked for.
func (m *Machine) Spend(now time.Time, id ID, epoch uint32) {
	if m.phase == Active {
		m.flow.Spend(now, id, epoch)
		m.apply(now)
	}
}

// returnWaiting requeues messages that have waited for takerGrace without a taker.
func (m *Machine) returnWaiting(now time.Time) {
	if !m.returnAt.IsZero() && !now.Before(m.returnAt) {
		m.returnAt = time.Time{}
		m.give(ReturnWaiting{})
	}
}
