// Package fleet decides which nsqds a consumer should be connected to, and when it
// dials each.
//
// It is pure: events and the time go in, addresses to dial come out. It reads no
// clock, starts no goroutine and does no I/O. Random numbers come from a seed, so
// the same events give the same decisions. It is not safe for concurrent use.
//
// # Which nsqds
//
// An address is wanted if it was added or an nsqlookupd lists it, and it has not been
// removed since. An address that is only listed is let go when no nsqlookupd has
// listed it in three polls in a row and for at least Grace: an nsqd that restarts is
// unlisted for a short time. A poll counts only if every nsqlookupd responded, since
// one that did not may still list the address. A connected nsqd is kept for at least
// 30 s: an nsqlookupd that restarts lists no nsqd until the nsqds have registered
// again. An address that was added stays, whatever is listed.
//
// # When to dial
//
// An address is dialled at once when it becomes wanted, or as soon as fewer than
// MaxDials dials are under way. When a dial fails or a connection is lost, the next
// dial follows after at most MinDelay plus 40 % of the time that the trouble has
// lasted, and never more than MaxDelay. So delays grow geometrically, and the longer an
// nsqd was away, the longer it may wait for its dial. The delay is drawn from the upper
// half of that range, so that many consumers do not return to a restarted nsqd in step.
// A connection that lasted 10 s ends the trouble; a shorter one is part of it. An nsqd
// that refused a connection is unlikely to accept one within a second, so RefusedDelay
// takes the place of MinDelay.
package fleet

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Config bounds the number of dials and the delays between dials of one address.
type Config struct {
	MinDelay     time.Duration // the longest delay when the trouble begins
	MaxDelay     time.Duration // the longest delay ever
	RefusedDelay time.Duration // replaces MinDelay after nsqd refused the connection
	MaxDials     int           // bounds how many dials are under way
	Grace        time.Duration // how long an address must be unlisted to be let go
	Seed         uint64        // of the delays
}

const (
	// misses is how many polls in a row must miss an address before it is let go.
	misses = 3
	// connectedGrace is the least Grace of a connected nsqd: twice the time that
	// nsqds take to register with an nsqlookupd that has restarted.
	connectedGrace = 30 * time.Second
)

// healthy is how long a connection must last to end the trouble. The loss of a shorter
// one counts as one more failure.
const healthy = 10 * time.Second

// State is what the machine does about an address.
type State uint8

// The states of an address.
const (
	Waiting   State = iota // its next dial has a due time
	Dialling               // from Take to Up, Failed or Refused
	Connected              // from Up to Lost
)

// nsqd is a wanted address.
type nsqd struct {
	addr    string
	direct  bool      // Add was called for it
	listed  bool      // it counts as listed: it was, and has not been missing for too long
	round   int       // the poll that listed it last
	missing time.Time // if listed: the first poll that did not list it; zero if the last did
	missed  int       // if listed: polls that did not list it since missing
	state   State
	due     time.Time // if Waiting: when its next dial is due
	since   time.Time // if Connected: when the connection came up
	trouble time.Time // when the trouble began; zero without trouble
}

// Machine is the set of wanted addresses.
type Machine struct {
	cfg      Config
	rand     *rand.Rand
	nsqds    map[string]*nsqd     // the wanted addresses
	unwanted map[string]time.Time // removed although listed, and when last listed
	round    int                  // number of polls
	dials    int                  // number of nsqds that are Dialling

	nextDue    time.Time // the earliest due of those that are Waiting
	anyWaiting bool      // any are Waiting; otherwise nextDue means nothing
	stale      bool      // Next must compute nextDue and anyWaiting again
	ready      []*nsqd   // scratch of Take
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

// Add makes an address wanted, whether it is listed or not. Unless it is connected or
// being dialled, its next dial is due now, even if a later one was scheduled.
func (m *Machine) Add(now time.Time, addr string) {
	_, listed := m.unwanted[addr]
	delete(m.unwanted, addr)
	n := m.track(now, addr)
	n.direct, n.listed = true, n.listed || listed
	if n.state == Waiting {
		n.due = now
		m.stale = true
	}
}

// Wants reports whether an address is wanted.
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

// track returns the nsqd of an address, which it adds if need be. A new one is due now.
func (m *Machine) track(now time.Time, addr string) *nsqd {
	n := m.nsqds[addr]
	if n == nil {
		n = &nsqd{addr: addr, due: now}
		m.nsqds[addr] = n
		m.stale = true
	}
	return n
}

// Remove makes an address unwanted, and reports whether it was wanted. A dial of it
// that is under way no longer counts. If it is listed, it stays unwanted until it has
// been unlisted for longer than Grace or is added again.
func (m *Machine) Remove(now time.Time, addr string) bool {
	n := m.nsqds[addr]
	if n == nil {
		return false
	}
	if n.listed {
		m.unwanted[addr] = now
	}
	m.drop(n)
	return true
}

// drop deletes an nsqd.
func (m *Machine) drop(n *nsqd) {
	m.dialEnded(n)
	delete(m.nsqds, n.addr)
	m.stale = true
}

// dialEnded counts a dial of n as ended, if one is under way. The caller then sets the
// new state.
func (m *Machine) dialEnded(n *nsqd) {
	if n.state == Dialling {
		m.dials--
	}
}

// Discovered reports the addresses that one poll found listed. complete says that every
// nsqlookupd responded; otherwise it means nothing that an address is missing.
// Discovered appends to gone the addresses that it lets go: they are no longer wanted.
func (m *Machine) Discovered(now time.Time, listed []string, complete bool, gone []string) []string {
	m.round++
	for _, addr := range listed {
		if _, ok := m.unwanted[addr]; ok {
			m.unwanted[addr] = now
			continue
		}
		n := m.track(now, addr)
		if n.missed > 0 && n.state == Waiting { // it is back: dial it now
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
			m.drop(n)
			gone = append(gone, n.addr)
		}
	}
	slices.Sort(gone[from:])
	return gone
}

// Up reports that a dial succeeded. The address is connected until Lost.
func (m *Machine) Up(now time.Time, addr string) {
	if n := m.nsqds[addr]; n != nil {
		m.dialEnded(n)
		n.state, n.since = Connected, now
		m.stale = true
	}
}

// Failed reports that a dial failed. It returns when the next one is due, or zero if
// the address is unwanted.
func (m *Machine) Failed(now time.Time, addr string) time.Time {
	n := m.nsqds[addr]
	if n == nil {
		return time.Time{}
	}
	return m.scheduleRedial(now, n, m.cfg.MinDelay)
}

// Refused reports that a dial reached an nsqd, which refused the connection. It returns
// when the next dial is due, or zero if the address is unwanted.
func (m *Machine) Refused(now time.Time, addr string) time.Time {
	n := m.nsqds[addr]
	if n == nil {
		return time.Time{}
	}
	return m.scheduleRedial(now, n, m.cfg.RefusedDelay)
}

// Lost reports that a connection ended. It returns when the next dial is due, or zero
// if the address is unwanted.
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

// scheduleRedial draws the delay until the next dial of n. least is MinDelay or
// RefusedDelay.
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

// Next returns when Take has an address to dial. ok is false while no address waits,
// or MaxDials dials are under way.
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

// Take appends the addresses to dial now, those due longest first. Each counts as
// being dialled until Up, Failed or Refused is called for it.
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
		return 1 // no two addresses are equal
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
