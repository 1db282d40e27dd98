package control

import "time"

// Stop begins the end, by a deadline or, if that is zero, without one. Of several
// stops the earliest deadline counts, as long as handlers are waited for.
func (m *Machine) Stop(now, deadline time.Time) {
	if m.phase != Active {
		if !deadline.IsZero() && (m.deadline.IsZero() || deadline.Before(m.deadline)) {
			m.hurry(deadline)
		}
		return
	}
	m.tell(StopBegun{})
	m.phase, m.deadline = Draining, deadline
	// 1. Nothing is dialled any more, and nsqlookupds are not asked.
	m.give(StopDialling{})
	for _, n := range m.wanted() {
		m.replyWaiting(n, Stopped, nil)
	}
	m.settle(Stopped)
	// 2. CLS goes out before any REQ: nsqd would deliver the message right back.
	for _, l := range m.open() {
		if !l.draining {
			m.drain(now, l)
		}
	}
	// 3. No handler begins a message. What a reader brings from here on it
	// requeues itself.
	m.give(StopHandlers{})
}

// Hurry ends the wait for handlers.
func (m *Machine) Hurry(now time.Time) { m.hurry(now) }

func (m *Machine) hurry(deadline time.Time) {
	if m.phase == Draining {
		m.deadline = deadline
	}
}

// advance goes on to the next phase while the time of this one is over.
func (m *Machine) advance(now time.Time) {
	for !m.deadline.IsZero() && !now.Before(m.deadline) {
		m.phase++
		switch m.phase {
		case Cancelled:
			m.deadline = now
			if m.hands.Contexts {
				m.deadline = now.Add(lastWords)
			}
			m.give(EndContexts{})
		case Abandoned:
			m.deadline = now.Add(flushTime)
			m.give(LeaveHandlers{})
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

// finish gives Done once everything that is waited for has ended. From Abandoned
// on that excludes user code, handlers and dials that ignore their contexts, but
// not goroutines that run none: workers without a message.
func (m *Machine) finish() {
	switch {
	case m.over || len(m.links)-m.dials > 0:
		return
	case m.phase >= Abandoned:
		if m.hands.Idle > 0 {
			return
		}
	case m.dials > 0 || m.polling || m.hands.Workers > 0:
		return
	}
	m.over = true
	m.tell(StopEnded{})
	m.give(Done{})
}

// Phase returns how far a stop has come.
func (m *Machine) Phase() Phase { return m.phase }
