// Package fleet decides which nsqds a consumer is to be connected to, and when
// each is dialled.
//
// It is pure: events and the time go in, addresses to dial come out. It reads
// no clock, starts nothing and does no I/O; chance comes from a seed, so the
// same events give the same decisions. It is not safe for concurrent use.
//
// Wanted are the addresses that were added, and those that nsqlookupd lists,
// without those that were removed. An address that no nsqlookupd lists any more
// is let go after a while, and not before it was missing three times: an nsqd that
// restarts is missing for a moment. Only when all of them have answered does that
// count, for one that does not answer may know it still. An nsqd that is connected
// is given more time: an nsqlookupd that restarts knows nobody until the nsqds have
// told it again. One that was added is kept whoever lists it.
//
// An address is dialled at once when it becomes wanted, or as soon as fewer than
// MaxDials are under way. When a dial fails or a connection is lost it is dialled
// again after a delay of MinDelay and 40 % of the time that the trouble has
// lasted, at most MaxDelay. So delays grow geometrically, and an nsqd that comes
// back is found before it was away for half as long again. Delays are drawn from
// their upper half: many consumers do not return to a restarted nsqd in step. A
// connection that held for a while ends the trouble; one that did not is part of
// it. An nsqd that answered and refused will hardly think better of it within a
// second: it is left alone for RefusedDelay at least.
package fleet

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Config bounds dials and the delays between those to one address.
type Config struct {
	MinDelay time.Duration // when the trouble begins
	MaxDelay time.Duration
	// RefusedDelay is MinDelay for an nsqd that refused the connection.
	RefusedDelay time.Duration
	MaxDials     int // under way at a time
	// Grace is how long an address must not have been listed for it to be let
	// go.
	Grace time.Duration
	Seed  uint64
}

const (
	// misses is how often an address must have been missing to be let go.
	misses = 3
	// connectedGrace is the least Grace of a connected nsqd: twice as long as
	// nsqds take to register with an nsqlookupd that has restarted.
	connectedGrace = 30 * time.Second
)

// healthy is how long a connection must have held for its loss to be a fresh
// start rather than one more failure.
const healthy = 10 * time.Second

// State is what the machine does about an address.
type State uint8

// The states of an address.
const (
	Waiting   State = iota // to be dialled when it is due
	Dialling               // Take gave it out, and no result was reported since
	Connected              // from Up to Lost
)

// nsqd is what is known of one address.
type nsqd struct {
	addr    string
	direct  bool      // it was added
	listed  bool      // by nsqlookupd, as far as is known
	round   int       // of Discovered, that listed it last
	missing time.Time // when listed: since when it is not, as a matter of fact; zero if it is
	missed  int       // how often it was not since then
	state   State
	due     time.Time // when waiting: dial then
	since   time.Time // when connected: since then
	trouble time.Time // since when it could not be kept connected; zero if it can
}

// Machine is the set of wanted addresses.
type Machine struct {
	cfg      Config
	rand     *rand.Rand
	nsqds    map[string]*nsqd
	unwanted map[string]time.Time // removed though listed, and when it was listed last
	round    int                  // of Discovered
	dials    int                  // under way

	// nextDue is the earliest due of all that wait; stale says that it must be
	// found anew.
	nextDue    time.Time
	anyWaiting bool
	stale      bool
	ready      []*nsqd // scratch
}

// New returns a machine that wants nothing yet.
func New(cfg Config) *Machine {
	return &Machine{
		cfg:      cfg,
		rand:     rand.New(rand.NewPCG(cfg.Seed, cfg.Seed)), // #nosec G404 -- jitter
		nsqds:    make(map[string]*nsqd),
		unwanted: make(map[string]time.Time),
	}
}

// Add wants an address from now on, whether listed or not, and has it dialled at
// once, also when it is wanted already and waits for its next dial.
func (m *Machine) Add(now time.Time, addr string) {
	_, listed := m.unwanted[addr]
	delete(m.unwanted, addr)
	n := m.want(now, addr)
	n.direct, n.listed = true, n.listed || listed
	if n.state == Waiting {
		n.due = now
		m.stale = true
	}
}

// Wants tells whether an address is wanted.
func (m *Machine) Wants(addr string) bool { return m.nsqds[addr] != nil }

// Look returns the state of an address and, while it waits, when its next dial
// is due. ok is false if the address is not wanted.
func (m *Machine) Look(addr string) (state State, due time.Time, ok bool) {
	n := m.nsqds[addr]
	if n == nil {
		return 0, time.Time{}, false
	}
	if n.state == Waiting {
		due = n.due
	}
	return n.state, due, true
}

// want returns the address, which is to be dialled now if it is new.
func (m *Machine) want(now time.Time, addr string) *nsqd {
	n := m.nsqds[addr]
	if n == nil {
		n = &nsqd{addr: addr, due: now}
		m.nsqds[addr] = n
		m.stale = true
	}
	return n
}

// Remove forgets an address, and a dial to it that is under way. It does not come
// back by being listed, unless it was not for a while. It reports whether it was
// wanted.
func (m *Machine) Remove(now time.Time, addr string) bool {
	n := m.nsqds[addr]
	if n == nil {
		return false
	}
	if n.listed {
		m.unwanted[addr] = now
	}
	m.forget(n)
	return true
}

func (m *Machine) forget(n *nsqd) {
	m.dialEnded(n)
	delete(m.nsqds, n.addr)
	m.stale = true
}

// dialEnded ends what state says of a dial.
func (m *Machine) dialEnded(n *nsqd) {
	if n.state == Dialling {
		m.dials--
	}
}

// Discovered reports what nsqlookupds list. complete says that all of them have
// answered in this poll; if not, nothing follows from what is missing. It
// appends the addresses that are let go, which are forgotten.
func (m *Machine) Discovered(now time.Time, listed []string, complete bool, gone []string) []string {
	m.round++
	for _, addr := range listed {
		if _, ok := m.unwanted[addr]; ok {
			m.unwanted[addr] = now
			continue
		}
		n := m.want(now, addr)
		if n.missed > 0 && n.state == Waiting { // it is back
			n.due, m.stale = now, true
		}
		n.listed, n.round, n.missing, n.missed = true, m.round, time.Time{}, 0
	}
	if !complete {
		return gone
	}
	for addr, last := range m.unwanted {
		if now.Sub(last) > m.cfg.Grace {
			delete(m.unwanted, addr)
		}
	}
	from := len(gone)
	for _, n := range m.nsqds {
		if !n.listed || n.round == m.round {
			continue
		}
		if n.missing.IsZero() {
			n.missing = now
		}
		grace := m.cfg.Grace
		if n.state == Connected {
			grace = max(grace, connectedGrace)
		}
		if n.missed++; n.missed < misses || now.Sub(n.missing) < grace {
			continue
		}
		n.listed = false
		if !n.direct {
			m.forget(n)
			gone = append(gone, n.addr)
		}
	}
	slices.Sort(gone[from:])
	return gone
}

// Up reports that a dial succeeded.
func (m *Machine) Up(now time.Time, addr string) {
	if n := m.nsqds[addr]; n != nil {
		m.dialEnded(n)
		n.state, n.since = Connected, now
		m.stale = true
	}
}

// Failed reports that a dial failed. It returns when the next one is due.
func (m *Machine) Failed(now time.Time, addr string) time.Time {
	n := m.nsqds[addr]
	if n == nil {
		return time.Time{}
	}
	return m.scheduleRedial(now, n, m.cfg.MinDelay)
}

// Refused reports that a dial reached an nsqd that would not have it. It
// returns when the next one is due.
func (m *Machine) Refused(now time.Time, addr string) time.Time {
	n := m.nsqds[addr]
	if n == nil {
		return time.Time{}
	}
	return m.scheduleRedial(now, n, m.cfg.RefusedDelay)
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
	return m.scheduleRedial(now, n, m.cfg.MinDelay)
}

// scheduleRedial has an address dialled after its delay, which is least when the trouble
// begins.
func (m *Machine) scheduleRedial(now time.Time, n *nsqd, least time.Duration) time.Time {
	if n.trouble.IsZero() {
		n.trouble = now
	}
	m.dialEnded(n)
	delay := min(least+now.Sub(n.trouble)*2/5, m.cfg.MaxDelay)
	n.state = Waiting
	n.due = now.Add(delay - time.Duration(m.rand.Int64N(int64(delay)/2+1)))
	m.stale = true
	return n.due
}

// Next is when Take will have something to say. ok is false while nothing
// waits, or as many dials are under way as may be.
func (m *Machine) Next() (due time.Time, ok bool) {
	if m.stale {
		m.stale, m.anyWaiting = false, false
		for _, n := range m.nsqds {
			if n.state == Waiting && (!m.anyWaiting || n.due.Before(m.nextDue)) {
				m.nextDue, m.anyWaiting = n.due, true
			}
		}
	}
	return m.nextDue, m.anyWaiting && m.dials < m.cfg.MaxDials
}

// Take appends the addresses to dial now, those first that have been due
// longest. Each counts as being dialled until Up, Failed or Refused is called for
// it.
func (m *Machine) Take(now time.Time, dst []string) []string {
	if due, ok := m.Next(); !ok || due.After(now) {
		return dst
	}
	m.ready = m.ready[:0]
	for _, n := range m.nsqds {
		if n.state == Waiting && !n.due.After(now) {
			m.ready = append(m.ready, n)
		}
	}
	slices.SortFunc(m.ready, func(a, b *nsqd) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		if a.addr < b.addr {
			return -1
		}
		return 1 // addresses differ
	})
	for _, n := range m.ready[:min(len(m.ready), m.cfg.MaxDials-m.dials)] {
		n.state = Dialling
		m.dials++
		dst = append(dst, n.addr)
	}
	clear(m.ready)
	m.stale = true
	return dst
}
