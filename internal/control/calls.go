package control

import "time"

// Connect wants an address from now on. The call is answered with the result of
// the next dial, which is due at once.
//
// Two kinds of loops round it must end, though discovery or a redial may be
// faster than they are. One calls until it is told OK: so the first call for an
// address that is connected is. The other calls until it is told
// AlreadyConnected: so further ones are.
func (m *Machine) Connect(now time.Time, addr string, call Call) {
	if m.phase != Active {
		m.reply(call, Stopped)
		return
	}
	n := m.nsqds[addr]
	switch {
	case n == nil:
		n = m.want(addr)
	case m.connected(n) && !n.told:
		n.told = true
		m.fleet.Add(now, addr) // it may have been discovered only
		m.reply(call, OK)
		return
	case m.connected(n) || n.call != 0:
		m.reply(call, AlreadyConnected)
		return
	}
	n.call = call
	m.fleet.Add(now, addr)
}

// Disconnect wants an address no more. What no handler has begun is requeued;
// the connection ends when the rest is acked.
func (m *Machine) Disconnect(now time.Time, addr string, call Call) {
	if m.phase != Active || !m.fleet.Remove(now, addr) {
		m.reply(call, NotConnected)
		return
	}
	m.disconnect(now, addr)
	m.reply(call, OK)
}

// Settle answers a call when nothing is being dialled.
func (m *Machine) Settle(call Call) {
	if m.phase != Active {
		m.reply(call, Stopped)
		return
	}
	m.settling = append(m.settling, call)
}

// settle answers the settling calls if nothing is being dialled.
func (m *Machine) settle(r Result) {
	if m.dials > 0 && r == OK {
		return
	}
	for _, call := range m.settling {
		m.reply(call, r)
	}
	m.settling = m.settling[:0]
}

// reply tells a caller the result.
func (m *Machine) reply(call Call, r Result) { m.give(Reply{Call: call, Result: r}) }

// replyWaiting tells the caller that waits for an nsqd's dial, if any, the result.
func (m *Machine) replyWaiting(n *nsqd, r Result, err error) {
	if n.call != 0 {
		m.give(Reply{Call: n.call, Result: r, Err: err})
	}
	n.call = 0
}
