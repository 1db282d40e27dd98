// Package fleet decides which nsqds a consumer dials, and when.
//
// It is pure: events and the time go in, addresses to dial come out. It reads
// no clock, starts nothing and does no I/O; chance comes from a seed, so the
// same events give the same decisions. It is not safe for concurrent use.
//
// An address is dialled at once when it is added. When a dial fails or a
// connection is lost it is dialled again after a delay of MinDelay and 40 % of
// the time that the trouble has lasted, at most MaxDelay. So delays grow
// geometrically, and an nsqd that comes back is found before it was away for
// half as long again. Delays are drawn from their upper half: many consumers do
// not return to a restarted nsqd in step. A connection that held for a while
// ends the trouble; one that did not is part of it. An nsqd that answered and
// refused will hardly think better of it within a second: it is left alone for
// RefusedDelay at least.
package fleet

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Config bounds the delay between dials to one address.
type Config struct {
	MinDelay time.Duration // when the trouble begins
	MaxDelay time.Duration
	// RefusedDelay is MinDelay for an nsqd that refused the connection.
	RefusedDelay time.Duration
	Seed         uint64
}

// healthy is how long a connection must have held for its loss to be a fresh
// start rather than one more failure.
const healthy = 10 * time.Second

type state uint8

const (
	waiting state = iota // to be dialled at due
	dialling
	connected
)

// nsqd is what is known of one address.
type nsqd struct {
	addr    string
	state   state
	due     time.Time // when waiting: dial then
	since   time.Time // when connected: since then
	trouble time.Time // since when it could not be kept connected; zero if it can
}

// Machine is the set of wanted addresses.
type Machine struct {
	cfg   Config
	rand  *rand.Rand
	nsqds map[string]*nsqd

	// next is the earliest due of all that wait; stale says that it must be
	// found anew.
	next  time.Time
	some  bool
	stale bool
}

// New returns a machine that wants nothing yet.
func New(cfg Config) *Machine {
	return &Machine{
		cfg:   cfg,
		rand:  rand.New(rand.NewPCG(cfg.Seed, cfg.Seed)), // #nosec G404 -- jitter
		nsqds: make(map[string]*nsqd),
	}
}

// Add wants an address from now on and has it dialled at once, also when it is
// wanted already and waits for its next dial.
func (m *Machine) Add(now time.Time, addr string) {
	n := m.nsqds[addr]
	if n == nil {
		n = &nsqd{addr: addr}
		m.nsqds[addr] = n
	}
	if n.state == waiting {
		n.due = now
		m.stale = true
	}
}

// Remove forgets an address. It reports whether it was wanted.
func (m *Machine) Remove(addr string) bool {
	_, ok := m.nsqds[addr]
	delete(m.nsqds, addr)
	m.stale = true
	return ok
}

// Up reports that a dial succeeded.
func (m *Machine) Up(now time.Time, addr string) {
	if n := m.nsqds[addr]; n != nil {
		n.state, n.since = connected, now
	}
}

// Failed reports that a dial failed. It returns when the next one is due.
func (m *Machine) Failed(now time.Time, addr string) time.Time {
	n := m.nsqds[addr]
	if n == nil {
		return time.Time{}
	}
	return m.wait(now, n, m.cfg.MinDelay)
}

// Refused reports that a dial reached an nsqd that would not have it. It
// returns when the next one is due.
func (m *Machine) Refused(now time.Time, addr string) time.Time {
	n := m.nsqds[addr]
	if n == nil {
		return time.Time{}
	}
	return m.wait(now, n, m.cfg.RefusedDelay)
}

// Lost reports that a connection ended. It returns when the next dial is due.
func (m *Machine) Lost(now time.Time, addr string) time.Time {
	n := m.nsqds[addr]
	if n == nil {
		return time.Time{}
	}
	if now.Sub(n.since) >= healthy {
		n.trouble = time.Time{}
	}
	return m.wait(now, n, m.cfg.MinDelay)
}

// wait has an address dialled after its delay, which is least when the trouble
// begins.
func (m *Machine) wait(now time.Time, n *nsqd, least time.Duration) time.Time {
	if n.trouble.IsZero() {
		n.trouble = now
	}
	delay := min(least+now.Sub(n.trouble)*2/5, m.cfg.MaxDelay)
	n.state = waiting
	n.due = now.Add(delay - time.Duration(m.rand.Int64N(int64(delay)/2+1)))
	m.stale = true
	return n.due
}

// Next is when Take will have something to say. ok is false while nothing
// waits.
func (m *Machine) Next() (due time.Time, ok bool) {
	if m.stale {
		m.stale, m.some = false, false
		for _, n := range m.nsqds {
			if n.state == waiting && (!m.some || n.due.Before(m.next)) {
				m.next, m.some = n.due, true
			}
		}
	}
	return m.next, m.some
}

// Take appends the addresses to dial now. Each counts as being dialled until
// Up or Failed is called for it.
func (m *Machine) Take(now time.Time, dst []string) []string {
	if due, ok := m.Next(); !ok || due.After(now) {
		return dst
	}
	from := len(dst)
	for _, n := range m.nsqds {
		if n.state == waiting && !n.due.After(now) {
			n.state = dialling
			dst = append(dst, n.addr)
		}
	}
	slices.Sort(dst[from:])
	m.stale = true
	return dst
}
