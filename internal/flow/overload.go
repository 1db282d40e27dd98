package flow

import "time"

// Overrun limits the slots when more messages come than handlers get through: the
// leases of those that wait end, nsqd delivers them again, and does so until they
// have had all their attempts without anybody having begun them. Each time half
// of the slots are taken away, and given back bit by bit while no lease ends
// unbegun. What is in hand when that happens came by the former slots, so it is
// looked at once per lease.

// overload is what handlers have been found to bear.
type overload struct {
	slots  int           // 0 is no limit
	lease  time.Duration // of the messages
	since  time.Time     // when slots were taken away last
	easeAt time.Time     // when some are given back
}

// Overrun reports that leases, of that length, ended before a handler was free.
func (m *Machine) Overrun(now time.Time, lease time.Duration) {
	o := &m.overload
	if o.slots > 0 && now.Sub(o.since) < o.lease {
		return
	}
	slots := m.max
	if o.slots > 0 {
		slots = min(slots, o.slots)
	}
	o.slots = max(slots/2, 1)
	o.lease, o.since, o.easeAt = lease, now, now.Add(lease)
	m.plan(now)
}

// ease gives slots back.
func (m *Machine) ease(now time.Time) {
	o := &m.overload
	o.slots += max(o.slots/8, 1)
	o.easeAt = now.Add(o.lease)
	if o.slots >= m.max {
		o.slots = 0
	}
	m.plan(now)
}
