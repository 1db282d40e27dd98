package control

import "time"

// Leases are swept: the owner checks all of them when the first one can end. Sweeps rest
// while no message is in flight. Then sweepAt is zero and the listening flag is up, so
// that the reader of the next message calls Wake, which plans a sweep.

// sweepsRest reports whether there are connections and no sweep is planned.
func (m *Machine) sweepsRest() bool { return m.sweepAt.IsZero() && len(m.links) > m.dials }

// restSweeps lets sweeps rest if the samples after a sweep show no message in flight.
func (m *Machine) restSweeps() {
	if m.swept && m.inFlight == 0 {
		m.sweepAt = time.Time{}
	}
	m.swept, m.inFlight = false, 0
}

// planSweep ends a rest of the sweeps: one is due before the lease of a message that has
// just come can end.
func (m *Machine) planSweep(now time.Time) {
	if m.sweepsRest() {
		m.sweepAt = now.Add(m.shortestLease() / 2)
	}
}

// opened plans a sweep before a lease of a new connection can end.
func (m *Machine) opened(now time.Time, l *link) {
	m.planSweep(now)
	if by := now.Add(l.lease / 2); by.Before(m.sweepAt) {
		m.sweepAt = by
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

// Swept supplies the result of a sweep: when the next sweep is due, and how many
// messages expired before a handler was free.
func (m *Machine) Swept(now, next time.Time, expired int) {
	m.sweepAt, m.swept = next, true
	if expired == 0 {
		return
	}
	lease := m.shortestLease()
	m.flow.Overload(now, lease)
	if !m.toldOverloaded && m.phase == Active {
		m.toldOverloaded = true
		m.tell(Overload{MaxInFlight: m.maxInFlight, Handlers: m.takers.Workers, Lease: lease})
	}
}
