// Package sharing shares the max_in_flight of a Group among those of its Consumers that
// have a weight: it decides the max_in_flight of each.
//
// It is pure: events and the time go in, decisions come out. It reads no clock, starts no
// goroutine and does no I/O. It is not safe for concurrent use.
//
// # How it works
//
// A slot is the right to have one message in flight. A member is one of the Consumers. Its
// need is the number of slots that it can use, as measured by looks. split.go turns needs and
// weights into wants: the numbers of slots that members should have. Take turns wants into
// decisions.
//
// A decrease is sent at once. Other members get the slots that it frees only when the
// Consumer has adopted it, nsqd must have seen the lower RDY, and the messages in flight
// above it have been acked, requeued or expired. So the members together never have more
// messages in flight than there are slots.
//
// Package flow shares a Consumer's slots among its connections. It is not used here, because
// it knows neither weights nor strict priority, and because a look takes longer: a connection
// shows within 25 ms whether its nsqd has messages, but a Consumer needs that long for each
// of its nsqds.
//
// The owner samples all members when Next is due or when a member was added, drained or
// removed. Then it calls Tick and Take, and carries out the decisions in the order returned.
package sharing

import (
	"math"
	"slices"
	"time"
)

const (
	// lookInterval is the time between two looks at what members use, and idleInterval
	// while no member has messages.
	lookInterval, idleInterval = 100 * time.Millisecond, time.Second
	// settleTime is the least time after which a decrease has an effect: flow keeps the
	// slots of a connection for 10 ms after it.
	settleTime = 12 * time.Millisecond
	// A connection that uses this part of its RDY counts as using all of it, and a member
	// that has this part of its slots at its connections as having all of them there.
	fullLoad = 0.85
	// A member that used each slot this often between two looks is too fast for a look to
	// find its messages in flight.
	fastPerSlot = 2
	// maxSlots is more than any Group can use. It keeps sums from overflowing where an int
	// has 32 bits.
	maxSlots = 1 << 24
	// hunger is a moving average of the looks that found all slots in use: two such looks in
	// a row take it above hungryFrom, two others below hungryTo.
	hungryFrom, hungryTo = 0.7, 0.3
)

// ID names one member from its Add to its Remove. The owner never reuses an ID.
type ID uint64

// Decision is a max_in_flight to set.
type Decision struct {
	ID          ID
	MaxInFlight int
}

// Member says which part of the slots a Consumer may have.
type Member struct {
	Weight int // at least 1
	Limit  int // most slots; 0: no limit
	// Strict keeps all slots from members of lower weight while this one uses all of its
	// slots and has more messages.
	Strict bool
}

// Conn is the traffic of one connection.
type Conn struct {
	RDY, InFlight int
	Peak          int // the largest InFlight since the last Sample
}

// Sample tells what a Consumer does with its slots. The Consumer has adopted all decisions so
// far.
type Sample struct {
	Held     int    // most messages that can be in flight unless an RDY rises
	Received uint64 // messages since the member was added
	Conns    []Conn // those that can get an RDY
}

// member is one Consumer.
type member struct {
	Member
	id      ID
	leaving bool // it gets no more slots; its messages in flight still count

	granted int // max_in_flight last decided
	held    int // slots that no other member may have: at least granted
	want    int // slots that it should have, by the last plan

	sample   Sample
	sampled  bool    // since the last look
	received uint64  // as of the last look
	used     float64 // moving average of the slots in use
	hunger   float64
	hungry   bool // it uses all its slots and has more messages
	need     int  // slots that it can use

	lo, hi, next int // bounds and result of the split being made

	since time.Time // when its current time with slots, or without, began
	last  time.Time // the last look that found messages
}

// Machine holds the state.
type Machine struct {
	slots   int
	members []*member // in the order of Add

	stale     bool // members came or went since the last plan
	weights   int  // sum of the weights of those that share the slots, as of the last plan
	probeEach bool // a member without messages keeps a slot for each nsqd, not one in all
	turning   bool // there are fewer slots than members that share them

	lookAt       time.Time
	waiting      bool // a member has fewer slots than it should have
	waitingSince time.Time
	retryAt      time.Time // when waiting: next attempt to grant more
}

// New returns a machine without members that shares so many slots.
func New(slots int) *Machine { return &Machine{slots: min(slots, maxSlots)} }

// Add adds a member. It has no slots yet.
func (m *Machine) Add(now time.Time, id ID, is Member) {
	if is.Limit == 0 || is.Limit > m.slots {
		is.Limit = m.slots
	}
	// Until looks have measured it, it may need all slots.
	m.members = append(m.members, &member{Member: is, id: id, since: now, need: is.Limit})
	m.stale = true
}

// Drain takes a member's slots away for good: its Consumer is stopping. Those of its
// messages in flight are free when samples say so.
func (m *Machine) Drain(id ID) {
	if c := m.find(id); c != nil && !c.leaving {
		c.leaving, m.stale = true, true
	}
}

// Remove removes a member, whose Consumer has stopped.
func (m *Machine) Remove(id ID) {
	m.members = slices.DeleteFunc(m.members, func(c *member) bool { return c.id == id })
	m.stale = true
}

func (m *Machine) find(id ID) *member {
	for _, c := range m.members {
		if c.id == id {
			return c
		}
	}
	return nil
}

// Sample reports what a member does. If a sample is missing, because the Consumer is slow,
// the member keeps the slots that it had.
func (m *Machine) Sample(id ID, s Sample) {
	c := m.find(id)
	if c == nil {
		return
	}
	c.sample, c.held, c.sampled = s, max(c.granted, s.Held), true
}

// Next returns when Tick has something to do, zero for at once.
func (m *Machine) Next() time.Time {
	switch {
	case m.stale:
		return time.Time{}
	case m.waiting && m.retryAt.Before(m.lookAt):
		return m.retryAt
	}
	return m.lookAt
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time) {
	looked := !now.Before(m.lookAt)
	if looked {
		m.look(now)
	}
	if looked || m.stale {
		m.plan(now)
	}
}

// Take appends the decisions to carry out now, decreases first.
func (m *Machine) Take(now time.Time, dst []Decision) []Decision {
	free := m.slots
	for _, c := range m.members {
		if c.want < c.granted {
			if c.want == 0 {
				c.since = now
			}
			c.granted = c.want
			dst = append(dst, Decision{c.id, c.granted})
		}
		free -= c.held
	}
	// A member without slots gets one before any gets more: it may have messages. The one that
	// has waited longest comes first. If it were the one that was added first:
	//
	//  1. A long handler has made attempts as rare as looks: see await. Slots go round.
	//  2. A look takes slots from members whose turn is over. They are free at the next look.
	//  3. By then members that were added earlier want them as well, and get them.
	//  4. So the one that was added last never has a turn, although it never stops wanting one.
	waiting := slices.Clone(m.members)
	slices.SortStableFunc(waiting, func(a, b *member) int { return a.since.Compare(b.since) })
	for _, first := range []bool{true, false} {
		for _, c := range waiting {
			want := c.want
			if first {
				want = min(want, 1)
			}
			n := min(want, c.held+max(free, 0))
			if n <= c.granted || first != (c.granted == 0) {
				continue
			}
			if first {
				c.since = now
			}
			free -= max(n-c.held, 0)
			c.granted, c.held = n, max(n, c.held)
			dst = append(dst, Decision{c.id, n})
		}
	}
	m.await(now)
	return dst
}

// await plans the next attempt to grant more, if a member still waits for slots. If
// messages keep them in use for long, attempts become rarer.
func (m *Machine) await(now time.Time) {
	waiting := slices.ContainsFunc(m.members, func(c *member) bool { return c.granted < c.want })
	if waiting && !m.waiting {
		m.waitingSince = now
	}
	m.waiting = waiting
	m.retryAt = now.Add(min(max(now.Sub(m.waitingSince)/2, settleTime), lookInterval))
}

// look measures what members use.
func (m *Machine) look(now time.Time) {
	busy := m.turning
	for _, c := range m.members {
		if c.measure(now, m.probeEach, m.share(c)) {
			busy = true
		}
	}
	m.lookAt = now.Add(idleInterval)
	if busy {
		m.lookAt = now.Add(lookInterval)
	}
}

// measure updates what c needs. It reports whether c has, or may have, messages.
func (c *member) measure(now time.Time, probeEach bool, share int) (busy bool) {
	if !c.sampled { // its Consumer is stuck: what it showed last holds no longer
		c.noteHunger(false)
		return c.hungry
	}
	c.sampled = false
	fresh := c.sample.Received - c.received
	c.received = c.sample.Received
	fast := fresh >= uint64(fastPerSlot*max(c.granted, 1)) // #nosec G115 -- positive
	used, full := c.inUse(fast)
	busy = fresh > 0 || used > 0
	if busy {
		c.last = now
	}
	if c.granted == 0 {
		return true // without slots, nothing shows what it could use
	}
	c.used += (float64(used) - c.used) / 4
	c.noteHunger(full)
	probes := 1
	if probeEach {
		probes = max(len(c.sample.Conns), 1)
	}
	need := int(math.Ceil(c.used*5/4-0.1)) + probes // a tenth of a slot is what remains of an old average
	if c.hungry {
		need = max(2*c.granted, share)
	}
	// Traffic comes in bursts, so need falls by at most a quarter per look.
	c.need = min(max(need, c.need-(c.need+3)/4), c.Limit)
	return busy || c.hungry // the next looks find out whether it still is
}

// inUse returns how many slots are in use, and whether all are. They are if a connection
// uses all of its RDY, unless the Consumer holds back slots: in a backoff it does.
func (c *member) inUse(fast bool) (used int, full bool) {
	for _, conn := range c.sample.Conns {
		seen := conn.InFlight
		if fast {
			seen = conn.Peak
		}
		used += seen
		full = full || conn.RDY > 0 && float64(seen) >= fullLoad*float64(conn.RDY)
	}
	return min(used, max(c.held, c.granted)), full && float64(c.sample.Held) >= fullLoad*float64(c.granted)
}

// noteHunger records whether a look found all slots in use.
func (c *member) noteHunger(full bool) {
	c.hunger /= 2
	if full {
		c.hunger += 0.5
	}
	c.hungry = c.hunger >= hungryFrom || c.hungry && c.hunger >= hungryTo
}
