package flow

import "time"

// An overload is more messages in hand than the handlers manage within a lease.
// Messages that wait for a handler time out, nsqd delivers them again, and they use
// up their attempts although no handler has begun them. An overload takes half of the
// slots away. For one lease, further reports are ignored: the messages in hand arrived
// while there were more slots. After each lease without an overload some slots come
// back.

// overload is the limit that past overloads have set.
type overload struct {
	slots  int           // 0 is no limit
	lease  time.Duration // the length of a lease
	since  time.Time     // when slots were last taken away
	easeAt time.Time     // when some slots come back
}

// Overload reports that messages timed out before a handler was free. lease is the
// length of their leases.
func (m *Machine) Overload(now time.Time, lease time.Duration) {
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

// ease gives an eighth of the slots back, at least one.
func (m *Machine) ease(now time.Time) {
	o := &m.overload
	o.slots += max(o.slots/8, 1)
	o.easeAt = now.Add(o.lease)
	if o.slots >= m.max {
		o.slots = 0
	}
	m.plan(now)
}
