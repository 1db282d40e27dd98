package control

import "time"

// Stop begins a stop, which waits for handlers until the deadline, or without limit if
// it is zero. While it still waits, a further Stop may bring an earlier deadline.
func (m *Machine) Stop(now, deadline time.Time) {
	if m.phase != Active {
		if !deadline.IsZero() && (m.deadline.IsZero() || deadline.Before(m.deadline)) {
			m.hurry(deadline)
		}
		return
	}
	m.tell(StopBegun{})
	m.phase, m.deadline = Draining, deadline
	// 1. Dials end, nsqlookupds are no longer polled, and callers get their result.
	m.give(StopDialling{})
	for _, n := range m.wanted() {
		m.replyWaiting(n, Stopped, nil)
	}
	m.replyAwaitingDials(Stopped)
	// 2. CLS goes out before any REQ, or nsqd would deliver the messages right back.
	for _, l := range m.open() {
		if !l.draining {
			m.drain(now, l)
		}
	}
	m.planSweep(now) // from now on Wake does nothing
	// 3. Handlers begin no more messages. Readers requeue those that still arrive.
	m.give(StopHandlers{})
}

// Hurry makes a stop wait no longer for handlers.
func (m *Machine) Hurry(now time.Time) { m.hurry(now) }

// hurry sets the deadline of the wait for handlers, if that has not ended.
func (m *Machine) hurry(deadline time.Time) {
	if m.phase == Draining {
		m.deadline = deadline
	}
}

// advance moves on to the next phase, or several, if the time of this one is over.
func (m *Machine) advance(now time.Time) {
	for !m.deadline.IsZero() && !now.Before(m.deadline) {
		m.phase++
		switch m.phase {
		case Cancelled:
			m.give(EndContexts{})
			if m.workers.Contexts { // otherwise no handler hears of it, and the next phase begins
				m.deadline = now.Add(cancelGrace)
			}
		case Abandoned:
			m.deadline = now.Add(flushTime)
			m.give(AbandonHandlers{})
			for _, l := range m.open() {
				m.give(Abandon{l.id})
			}
		default:
			m.deadline = time.Time{}
			for _, l := range m.open() {
				m.give(Close{ID: l.id, Cut: true})
			}
		}
	}
}

// finish commands Done once all that the stop waits for has ended: connections,
// dials, the poller and workers. From Abandoned on it no longer waits for workers with a
// message, and after that phase not for dials and the poller either: user code may hold
// them up. A dial that obeys its context ends at once when dialling stops, but not at the
// same moment, so without that phase a stop that may not wait at all could end before the
// dial has closed its socket.
func (m *Machine) finish() {
	working := m.workers.Total
	if m.phase >= Abandoned {
		working = m.workers.Idle // those without a message end by themselves
	}
	switch {
	case m.over || len(m.links)-m.dials > 0 || working > 0:
		return
	case m.phase <= Abandoned && (m.dials > 0 || m.polling):
		return
	}
	m.over = true
	m.tell(StopEnded{})
	m.give(Done{})
}

// Phase returns how far a stop has come.
func (m *Machine) Phase() Phase { return m.phase }
