package control

import "time"

const (
	// closeWait is how long a draining connection that waits for nothing but CLOSE_WAIT
	// is kept. An nsqd that is alive sends CLOSE_WAIT at once. One that is frozen may
	// never send it, and there is nothing left to lose.
	closeWait = time.Second
	// drainLook is the time between two looks at draining connections. There is no event
	// for the ack of a connection's last message.
	drainLook = 100 * time.Millisecond
)

// DrainState is how far a draining connection has come.
type DrainState struct {
	Received uint64 // number of messages
	// Waiting is true if the connection waits for nothing but CLOSE_WAIT: no message is
	// in flight, and all commands are sent.
	Waiting bool
}

// SetDrain supplies the state of a draining connection.
func (m *Machine) SetDrain(now time.Time, id ID, d DrainState) {
	l := m.links[id]
	switch {
	case !d.Waiting:
		l.waitsSince = time.Time{}
	case l.waitsSince.IsZero() || d.Received != l.drained:
		l.waitsSince = now
	}
	l.drained = d.Received
}

// drain begins to end a connection: nsqd sends no more messages, and those in flight
// may still be acked.
func (m *Machine) drain(now time.Time, l *link) {
	l.draining = true
	m.flow.Drain(now, l.id)
	m.give(Drain{l.id})
	m.drainsAt = now
}

// looksAtDrains reports whether the time to look at draining connections has come.
func (m *Machine) looksAtDrains(now time.Time) bool {
	return !m.drainsAt.IsZero() && !now.Before(m.drainsAt)
}

// closeSilent closes the draining connections that have waited too long for CLOSE_WAIT.
// From Abandoned on a stop ends all connections itself.
func (m *Machine) closeSilent(now time.Time) {
	if m.phase >= Abandoned {
		m.drainsAt = time.Time{}
	}
	if !m.looksAtDrains(now) {
		return
	}
	m.drainsAt = time.Time{}
	for _, l := range m.open() {
		if !l.draining || l.closed {
			continue
		}
		look := now.Add(drainLook)
		if !l.waitsSince.IsZero() {
			due := l.waitsSince.Add(closeWait)
			if !due.After(now) {
				l.closed = true
				m.give(Close{ID: l.id, Silent: true})
				continue
			}
			look = due
		}
		if m.drainsAt.IsZero() || look.Before(m.drainsAt) {
			m.drainsAt = look
		}
	}
}
