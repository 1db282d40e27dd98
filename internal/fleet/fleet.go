// Package fleet decides which nsqds a consumer should be connected to, when it dials
// each, and when nsqlookupds are asked ahead of their schedule.
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
// An nsqlookupd that is down for good must not keep addresses forever. So an address
// without a connection is also let go when the nsqlookupds that do respond have not
// listed it in ten polls and for 10/3 of Grace.
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
// takes the place of MinDelay. After an nsqd has broken the protocol, MaxDelay does.
// Addresses that accepted the last dial and then said nothing are dialled after all
// others.
//
// An address that is only listed is redialled only with the consent of an nsqlookupd:
// see Responses. While such an address waits, nsqlookupds are asked ahead of their
// schedule: see Poll.
package fleet

import (
	"math/rand/v2"
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
	// partialMisses is the same for polls to which not every nsqlookupd responded.
	partialMisses = 10
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
	Dialling               // from Take to Up or Failed
	Connected              // from Up to Lost
)

// nsqd is a wanted address.
type nsqd struct {
	addr         string
	direct       bool // Add was called for it
	listingState      // what nsqlookupds have said about it
	state        State
	hung         bool      // its last dial did
	due          time.Time // if Waiting: when its next dial is due, if it is allowed
	since        time.Time // if Connected: when the connection came up
	trouble      time.Time // when the trouble began; zero without trouble

	// Written by place and unplace.
	queue *dialQueue // nil if it does not wait, or may not be dialled
	index int        // in the queue
	lost  bool       // it counts in Machine.lost
}

// Machine is the set of wanted addresses.
type Machine struct {
	cfg       Config
	rand      *rand.Rand
	nsqds     map[string]*nsqd   // the wanted addresses
	unwanted  map[string]removed // removed although listed
	round     int                // number of calls of Discovered
	responses Responses          // the last ones, without their list; Responded never goes back
	dials     int                // number of nsqds that are Dialling

	pollAt   time.Time // when Poll is due while an nsqd is lost; zero: it is not
	lost     int       // number of listed nsqds that wait again: polls ahead of schedule look for them
	lastLoss time.Time // when the latest of their troubles began, as of the last Responses, or later

	ready, hung dialQueue // the nsqds that may be dialled, and those of them that hung
}

// New returns a machine that wants nothing yet.
func New(cfg Config) *Machine {
	return &Machine{
		cfg:      cfg,
		rand:     rand.New(rand.NewPCG(cfg.Seed, cfg.Seed)), // #nosec G404 -- jitter
		nsqds:    make(map[string]*nsqd),
		unwanted: make(map[string]removed),
	}
}

// Add makes an address wanted, whether it is listed or not. Unless it is connected or
// being dialled, its next dial is due now, even if a later one was scheduled.
func (m *Machine) Add(now time.Time, addr string) {
	was, listed := m.unwanted[addr]
	delete(m.unwanted, addr)
	n := m.track(now, addr)
	n.direct = true
	if listed {
		n.listed, n.asked = true, was.asked
	}
	if n.state == Waiting {
		n.due = now
	}
	m.place(n)
}

// Wants reports whether an address is wanted.
func (m *Machine) Wants(addr string) bool { return m.nsqds[addr] != nil }

// Look returns the state of an address and, while it waits, when its next dial is due.
// If it waits for the consent of an nsqlookupd, that is the time of the next Poll, or
// zero if regular polls are enough. ok is false if the address is not wanted.
func (m *Machine) Look(addr string) (state State, due time.Time, ok bool) {
	n := m.nsqds[addr]
	if n == nil {
		return 0, time.Time{}, false
	}
	if n.state == Waiting {
		due = m.dueOf(n)
	}
	return n.state, due, true
}

// dueOf returns the due time that Look returns for an nsqd that waits.
func (m *Machine) dueOf(n *nsqd) time.Time {
	if m.allowed(n) {
		return n.due
	}
	poll, ok := m.NextPoll()
	if ok && poll.Before(n.due) {
		return n.due
	}
	if !ok {
		return time.Time{}
	}
	return poll
}

// track returns the nsqd of an address, which it adds if need be. A new one is due now.
// The caller places it.
func (m *Machine) track(now time.Time, addr string) *nsqd {
	n := m.nsqds[addr]
	if n == nil {
		n = &nsqd{addr: addr, due: now}
		m.nsqds[addr] = n
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
		m.unwanted[addr] = removed{asked: now}
	}
	m.drop(n)
	return true
}

// drop deletes an nsqd.
func (m *Machine) drop(n *nsqd) {
	m.dialEnded(n)
	m.unplace(n)
	delete(m.nsqds, n.addr)
}

// dialEnded counts a dial of n as ended, if one is under way. The caller then sets the
// new state.
func (m *Machine) dialEnded(n *nsqd) {
	if n.state == Dialling {
		m.dials--
	}
}

// Up reports that a dial succeeded. The address is connected until Lost.
func (m *Machine) Up(now time.Time, addr string) {
	if n := m.nsqds[addr]; n != nil {
		m.dialEnded(n)
		n.state, n.since, n.hung = Connected, now, false
		m.place(n)
	}
}

// Failure is how a dial failed.
type Failure uint8

// The failures.
const (
	Unreachable  Failure = iota // no connection could be made
	NotListening                // likewise, because no process listens at the address
	Refused                     // an nsqd responded, but a quick retry would fail too
	Hung                        // the connection was accepted, and silence followed
)

// Failed reports that a dial failed. It returns when the next one is due, as Look does,
// or zero if the address is unwanted.
func (m *Machine) Failed(now time.Time, addr string, kind Failure) time.Time {
	n := m.nsqds[addr]
	if n == nil {
		return time.Time{}
	}
	n.hung = kind == Hung
	least := m.cfg.MinDelay
	switch kind {
	case Refused:
		least = m.cfg.RefusedDelay
	case NotListening:
		n.removing = time.Time{} // that process has ended
	case Unreachable, Hung:
	}
	return m.scheduleRedial(now, n, least)
}

// Loss is how a connection ended.
type Loss uint8

// The losses.
const (
	Broken       Loss = iota // it failed, or nsqd said why it closes it
	ClosedByNSQD             // nsqd closed it and did not say why
	Violated                 // nsqd broke the protocol
)

// Lost reports that a connection ended. It returns when the next dial is due, as Look
// does, or zero if the address is unwanted.
//
// An nsqd that removes a topic closes the connections of its consumers first. A SUB that
// arrives before the topic is gone is accepted, but the connection never gets a message.
// So after ClosedByNSQD the address is not subscribed to for some seconds: see SubAfter.
func (m *Machine) Lost(now time.Time, addr string, kind Loss) time.Time {
	n := m.nsqds[addr]
	if n == nil {
		return time.Time{}
	}
	if now.Sub(n.since) >= healthy {
		n.trouble = time.Time{}
	}
	least := m.cfg.MinDelay
	switch kind {
	case ClosedByNSQD:
		n.removing = now.Add(removal)
	case Violated:
		least = m.cfg.MaxDelay // it would do the same again
	case Broken:
	}
	return m.scheduleRedial(now, n, least)
}

// scheduleRedial draws the delay until the next dial of n. least is MinDelay or
// what takes its place.
func (m *Machine) scheduleRedial(now time.Time, n *nsqd, least time.Duration) time.Time {
	fresh := n.trouble.IsZero()
	if fresh {
		n.trouble = now
	}
	m.dialEnded(n)
	delay := min(least+now.Sub(n.trouble)*2/5, m.cfg.MaxDelay)
	n.state, n.parted = Waiting, now
	n.due = now.Add(delay - time.Duration(m.rand.Int64N(int64(delay)/2+1)))
	m.place(n)
	m.schedulePoll(now, n, fresh)
	return m.dueOf(n)
}
