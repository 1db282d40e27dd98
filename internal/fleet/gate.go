package fleet

import "time"

// Consent is what nsqlookupds say about dialling an address, to an owner that dials by
// itself: a pool's Producers dial when they are used, not when Take says so. Such an
// owner reports with Up and Parted, calls Poll when NextPoll says so, and never calls
// Take.
type Consent uint8

// What nsqlookupds say.
const (
	Unasked  Consent = iota // nothing yet: each response was to a request sent before the loss
	Doubtful                // some do not list it; others have not responded
	Withheld                // those that responded do not list it
	Given                   // it may be dialled: see Responses
)

// Consent returns what nsqlookupds say about dialling an address now.
func (m *Machine) Consent(addr string) Consent {
	n := m.nsqds[addr]
	switch {
	case n == nil:
		return Withheld
	case m.allowed(n):
		return Given
	case !m.responses.Responded.After(n.parted):
		return Unasked
	case m.responses.Pending:
		return Doubtful
	}
	return Withheld
}

// Parted reports that a connection or a dial of an address ended, and reports whether
// NextPoll has changed. It is Lost and Failed for an owner that dials by itself.
func (m *Machine) Parted(now time.Time, addr string) (poll bool) {
	due, ok := m.NextPoll()
	if state, _, wanted := m.Look(addr); wanted && state == Connected {
		m.Lost(now, addr, Broken)
	} else {
		m.Failed(now, addr, Unreachable)
	}
	newDue, newOK := m.NextPoll()
	return newDue != due || newOK != ok
}
