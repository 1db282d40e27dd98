package control

import (
	"cmp"
	"slices"
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
)

// Discovered reports what nsqlookupds have said.
func (m *Machine) Discovered(now time.Time, w fleet.Responses) {
	if m.phase != Active {
		return
	}
	removed := m.fleet.Discovered(now, w, nil)
	var added []string
	for _, l := range w.Listed {
		if m.nsqds[l.Addr] == nil && m.fleet.Wants(l.Addr) {
			m.add(l.Addr)
			added = append(added, l.Addr)
		}
	}
	if len(added)+len(removed) > 0 {
		slices.Sort(added)
		slices.Sort(removed)
		m.tell(Listed{Added: added, Removed: removed})
	}
	for _, addr := range removed {
		m.disconnect(now, addr)
	}
}

// Polling reports whether nsqlookupds are being polled from now on.
func (m *Machine) Polling(on bool) { m.polling = on }

// dial dials the addresses that are due.
func (m *Machine) dial(now time.Time) {
	m.due = m.fleet.Take(now, m.due[:0])
	for _, addr := range m.due {
		m.lastID++
		l := &link{id: m.lastID, addr: addr, since: now}
		m.links[l.id] = l
		m.nsqds[addr].id = l.id // fleet returns only addresses that are in nsqds
		m.dials++
		m.tell(DialBegun{l.id, addr})
		m.give(Dial{ID: l.id, Addr: addr, SubAfter: m.fleet.SubAfter(addr)})
	}
}

// poll has nsqlookupds asked if that is due, because a listed nsqd is lost.
func (m *Machine) poll(now time.Time) {
	if m.polling && m.fleet.Poll(now) {
		m.give(Poll{})
	}
}

// Dialled reports that a dial succeeded. If the address is still wanted, the link is
// opened, otherwise closed.
func (m *Machine) Dialled(now time.Time, id ID, lim Limits) {
	l := m.links[id]
	n := m.dialEnded(l)
	if n == nil {
		delete(m.links, id)
		m.give(Close{ID: id})
		return
	}
	took := now.Sub(l.since)
	l.open, l.since, l.lease = true, now, lim.Lease
	n.failed = false
	m.fleet.Up(now, l.addr)
	m.flow.Up(now, id, cmp.Or(lim.MaxRDY, assumedMaxRDY))
	m.opened(now, l)
	if lim.MaxRDY > 0 && lim.MaxRDY < m.maxInFlight {
		m.tell(LowMaxRDY{ID: id, Addr: l.addr, MaxRDY: lim.MaxRDY, MaxInFlight: m.maxInFlight})
	}
	m.tellFewSlots()
	m.tell(ConnUp{ID: id, Addr: l.addr, Took: took})
	m.give(Open{id})
	n.toldOK = n.toldOK || n.call != 0
	m.replyWaiting(n, OK, nil)
}

// DialFailed reports that a dial failed. The address is dialled again until a dial
// succeeds or the address is unwanted.
func (m *Machine) DialFailed(now time.Time, id ID, kind fleet.Failure, err error) {
	l := m.links[id]
	n := m.dialEnded(l)
	delete(m.links, id)
	if n == nil {
		return
	}
	due := m.fleet.Failed(now, l.addr, kind)
	m.tell(DialFailed{ID: id, Addr: l.addr, Err: err, First: !n.failed, Took: now.Sub(l.since), Retry: retryIn(now, due)})
	n.id, n.failed, n.err = 0, true, err
	m.replyWaiting(n, Failed, err)
}

// dialEnded notes that a dial has ended, and returns its nsqd. It returns nil if the
// dial is no longer wanted. By now a newer dial of the same address may be.
func (m *Machine) dialEnded(l *link) *nsqd {
	m.dials--
	if n := m.nsqds[l.addr]; m.phase == Active && n != nil && n.id == l.id {
		return n
	}
	return nil
}

// Down reports that a connection ended. It is the last report about the connection.
func (m *Machine) Down(now time.Time, id ID, kind fleet.Loss, err error) {
	l := m.links[id]
	delete(m.links, id)
	m.flow.Down(id)
	if len(m.links) == m.dials {
		m.sweepAt = time.Time{} // no connection is left, so no lease either
	}
	if l.draining {
		m.tell(ConnClosed{ID: id, Addr: l.addr, Err: err, Up: now.Sub(l.since)})
		return
	}
	n := m.nsqds[l.addr]
	n.id, n.err = 0, err
	due := m.fleet.Lost(now, l.addr, kind)
	m.tell(ConnLost{ID: id, Addr: l.addr, Err: err, Retry: retryIn(now, due), Up: now.Sub(l.since)})
}

// retryIn returns the time until the next dial, as fleet gives it.
func retryIn(now, due time.Time) time.Duration {
	if due.IsZero() {
		return 0
	}
	return due.Sub(now)
}

// add adds an address that fleet has begun to want.
func (m *Machine) add(addr string) *nsqd {
	n := &nsqd{addr: addr}
	m.nsqds[addr] = n
	return n
}

// connected reports whether the nsqd has an open connection.
func (m *Machine) connected(n *nsqd) bool { return n.id != 0 && m.links[n.id].open }

// disconnect cancels the dial or drains the connection of an address that fleet no
// longer wants.
func (m *Machine) disconnect(now time.Time, addr string) {
	n := m.nsqds[addr]
	delete(m.nsqds, addr)
	l := m.links[n.id]
	if l != nil && !l.open {
		m.give(CancelDial{l.id})
	}
	m.replyWaiting(n, Closing, nil)
	if l != nil && l.open {
		m.drain(now, l)
		m.give(Requeue{l.id})
	}
}

// open returns the open connections, draining ones included, ordered by ID.
func (m *Machine) open() []*link {
	var open []*link
	for _, l := range m.links {
		if l.open {
			open = append(open, l)
		}
	}
	slices.SortFunc(open, func(a, b *link) int { return cmp.Compare(a.id, b.id) })
	return open
}

// wanted returns the wanted nsqds, ordered by address.
func (m *Machine) wanted() []*nsqd {
	nsqds := make([]*nsqd, 0, len(m.nsqds))
	for _, n := range m.nsqds {
		nsqds = append(nsqds, n)
	}
	slices.SortFunc(nsqds, func(a, b *nsqd) int { return cmp.Compare(a.addr, b.addr) })
	return nsqds
}

// Wants reports whether an address is wanted.
func (m *Machine) Wants(addr string) bool { return m.nsqds[addr] != nil }

// NSQDs returns the states of the wanted addresses, ordered by address.
func (m *Machine) NSQDs() []NSQD {
	var shown []NSQD
	for _, n := range m.wanted() {
		s := NSQD{Addr: n.addr, ID: n.id, Err: n.err}
		s.State, s.Due, _ = m.fleet.Look(n.addr)
		shown = append(shown, s)
	}
	return shown
}
