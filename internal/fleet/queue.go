package fleet

import (
	"container/heap"
	"time"
)

// dialQueue holds the nsqds that are Waiting and may be dialled, the one due first in
// front. The machine has two, one of them for the nsqds that hung. A list may have 100,000
// nsqds, so an event about one of them must not look at all of them.
type dialQueue []*nsqd

func (q dialQueue) Len() int { return len(q) }

func (q dialQueue) Less(i, j int) bool {
	if c := q[i].due.Compare(q[j].due); c != 0 {
		return c < 0
	}
	return q[i].addr < q[j].addr
}

func (q dialQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push and Pop are for package heap.

func (q *dialQueue) Push(x any) {
	n := x.(*nsqd)
	n.index = len(*q)
	*q = append(*q, n)
}

func (q *dialQueue) Pop() any {
	last := len(*q) - 1
	n := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return n
}

// first returns when the first nsqd is due.
func (q dialQueue) first() (due time.Time, ok bool) {
	if len(q) == 0 {
		return time.Time{}, false
	}
	return q[0].due, true
}

// place puts an nsqd into the queue where it belongs, if any, and counts it if it is lost.
// Call it after each change of the nsqd.
func (m *Machine) place(n *nsqd) {
	m.unplace(n)
	if n.state != Waiting {
		return
	}
	if m.allowed(n) {
		n.queue = &m.ready
		if n.hung {
			n.queue = &m.hung
		}
		heap.Push(n.queue, n)
	}
	if n.listed && !n.parted.IsZero() {
		n.lost = true
		m.lost++
		if n.trouble.After(m.lastLoss) {
			m.lastLoss = n.trouble
		}
	}
}

// unplace takes an nsqd out of its queue, and out of the count.
func (m *Machine) unplace(n *nsqd) {
	if n.queue != nil {
		heap.Remove(n.queue, n.index)
		n.queue = nil
	}
	if n.lost {
		n.lost = false
		m.lost--
	}
}

// placeAll does what place does for all nsqds, whose consent may have changed.
func (m *Machine) placeAll() {
	m.lastLoss = time.Time{}
	for _, n := range m.nsqds {
		if (n.queue != nil) != (n.state == Waiting && m.allowed(n)) {
			m.place(n)
		}
		if n.lost && n.trouble.After(m.lastLoss) {
			m.lastLoss = n.trouble
		}
	}
}

// Next returns when Take has an address to dial. ok is false while no address waits
// that may be dialled, or MaxDials dials are under way.
func (m *Machine) Next() (due time.Time, ok bool) {
	due, ok = m.ready.first()
	if hung, found := m.hung.first(); found && (!ok || hung.Before(due)) {
		due, ok = hung, true
	}
	return due, ok && m.dials < m.cfg.MaxDials
}

// Take appends the addresses to dial now, those due longest first and those that hung
// last. Each counts as being dialled until Up or Failed is called for it.
func (m *Machine) Take(now time.Time, dst []string) []string {
	for _, q := range []*dialQueue{&m.ready, &m.hung} {
		for m.dials < m.cfg.MaxDials {
			due, ok := q.first()
			if !ok || due.After(now) {
				break
			}
			n := (*q)[0]
			n.state = Dialling
			m.place(n)
			m.dials++
			dst = append(dst, n.addr)
		}
	}
	return dst
}
