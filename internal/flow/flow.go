// Package flow shares max_in_flight over the connections to nsqds: it decides
// which RDY each is sent.
//
// It is pure: events go in, decisions come out. It reads no clock, starts
// nothing and does no I/O. It is not safe for concurrent use.
package flow

import "slices"

// ID names one connection from its Up to its Down. IDs are not used again.
type ID uint64

// Decision is an RDY to send.
type Decision struct {
	Conn ID
	RDY  int
}

// Config is the policy.
type Config struct {
	MaxInFlight int // the sum of all RDY; 0 pauses
}

// conn is a connection that takes RDY.
type conn struct {
	id     ID
	maxRDY int
	rdy    int // last decided
}

// Machine shares max_in_flight evenly: everyone gets its share, capped by the
// nsqd's own limit, and the first connections get one more until none is left.
type Machine struct {
	max     int
	conns   []*conn // in the order of their Up
	changed bool
}

// New returns a machine without connections.
func New(cfg Config) *Machine { return &Machine{max: cfg.MaxInFlight} }

// Up adds a connection that takes up to maxRDY.
func (m *Machine) Up(id ID, maxRDY int) {
	m.conns = append(m.conns, &conn{id: id, maxRDY: maxRDY})
	m.changed = true
}

// Down removes a connection. Its share goes to the others.
func (m *Machine) Down(id ID) {
	m.conns = slices.DeleteFunc(m.conns, func(c *conn) bool { return c.id == id })
	m.changed = true
}

// SetMaxInFlight sets the sum of all RDY. 0 pauses.
func (m *Machine) SetMaxInFlight(n int) {
	m.max = max(n, 0)
	m.changed = true
}

// Take appends what is to be sent since the last Take, decreases first.
func (m *Machine) Take(dst []Decision) []Decision {
	if !m.changed {
		return dst
	}
	m.changed = false
	shares := m.shares()
	for i, c := range m.conns {
		if shares[i] < c.rdy {
			dst = append(dst, Decision{c.id, shares[i]})
		}
	}
	for i, c := range m.conns {
		if shares[i] > c.rdy {
			dst = append(dst, Decision{c.id, shares[i]})
		}
		c.rdy = shares[i]
	}
	return dst
}

// shares splits max. What a connection cannot take goes to the others.
func (m *Machine) shares() []int {
	shares := make([]int, len(m.conns))
	for free, open := m.max, len(m.conns); free > 0 && open > 0; {
		each := max(free/open, 1)
		open = 0
		for i, c := range m.conns {
			add := min(each, c.maxRDY-shares[i], free)
			shares[i] += add
			free -= add
			if shares[i] < c.maxRDY {
				open++
			}
		}
	}
	return shares
}
