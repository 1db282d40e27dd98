package control

import "time"

// Connect makes an address wanted and dials it at once. The call's result is that
// of the dial.
//
// If discovery or a redial has connected the address before the call, the first
// such call gets OK and later ones get AlreadyConnected. Users write two kinds of
// retry loop, one until OK and one until AlreadyConnected; both must end.
func (m *Machine) Connect(now time.Time, addr string, call Call) {
	if m.phase != Active {
		m.reply(call, Stopped)
		return
	}
	n := m.nsqds[addr]
	switch {
	case n == nil:
		n = m.add(addr)
	case m.connected(n) && !n.toldOK:
		n.toldOK = true
		m.fleet.Add(now, addr) // so far it may only be listed
		m.reply(call, OK)
		return
	case m.connected(n) || n.call != 0:
		m.reply(call, AlreadyConnected)
		return
	}
	n.call = call
	m.fleet.Add(now, addr)
}

// Disconnect makes an address unwanted and drains its connection: messages that no
// handler has begun are requeued, and the connection ends when the others are
// acked.
func (m *Machine) Disconnect(now time.Time, addr string, call Call) {
	if m.phase != Active || !m.fleet.Remove(now, addr) {
		m.reply(call, NotConnected)
		return
	}
	m.disconnect(now, addr)
	m.reply(call, OK)
}

// AwaitDials replies to a call once no dial is under way.
func (m *Machine) AwaitDials(call Call) {
	if m.phase != Active {
		m.reply(call, Stopped)
		return
	}
	m.awaitingDials = append(m.awaitingDials, call)
}

// replyAwaitingDials replies to the AwaitDials calls: with OK only once no dial is
// under way, with any other result at once.
func (m *Machine) replyAwaitingDials(r Result) {
	if m.dials > 0 && r == OK {
		return
	}
	for _, call := range m.awaitingDials {
		m.reply(call, r)
	}
	m.awaitingDials = m.awaitingDials[:0]
}

func (m *Machine) reply(call Call, r Result) { m.give(Reply{Call: call, Result: r}) }

// replyWaiting replies to the Connect call that waits for the nsqd's dial, if any.
func (m *Machine) replyWaiting(n *nsqd, r Result, err error) {
	if n.call != 0 {
		m.give(Reply{Call: n.call, Result: r, Err: err})
	}
	n.call = 0
}
