package sharing

import (
	"slices"
	"time"
)

const (
	// A slot that goes round waits for a first message at a member for so long, plus
	// visitEach for each of its nsqds, before it moves on.
	visitTime, visitEach = 100 * time.Millisecond, 40 * time.Millisecond
	// turnTime is how long a slot stays at the member of least weight while its messages
	// keep coming. A member of n times that weight keeps it n times as long.
	turnTime = 250 * time.Millisecond
)

// plan sets all wants from scratch, but keeps those that would hardly change.
//
// While a strict member uses all its slots and has more messages, those of lower weight
// get none. The others share:
//
//  1. Each gets one slot. It shows when a topic has messages again.
//  2. Each gets what it needs. If that is too much in all, slots go out by weight, and
//     those that need less than that leave the rest to the others.
//  3. Slots that nobody needs go out by weight as well, for bursts.
//
// If there are fewer slots than members, single slots go round: see takeTurns.
func (m *Machine) plan(now time.Time) {
	eligible := make([]*member, 0, len(m.members))
	changed := m.stale
	m.stale, m.weights = false, 0
	nsqds := 0
	for _, c := range m.members {
		if c.leaving || m.blocked(c) {
			changed = changed || c.want > 0
			c.want = 0
			continue
		}
		changed = changed || c.want == 0
		eligible = append(eligible, c)
		m.weights += c.Weight
		nsqds += len(c.sample.Conns)
	}
	m.probeEach = 2*nsqds <= m.slots
	turning := len(eligible) > m.slots
	changed = changed || turning != m.turning
	m.turning = turning
	if turning {
		m.takeTurns(now, eligible)
		return
	}
	m.split(eligible)
	if changed || slices.ContainsFunc(eligible, (*member).gains) {
		for _, c := range eligible {
			c.want = c.next
		}
	}
}

// blocked reports whether a strict member of higher weight has more messages than slots.
func (m *Machine) blocked(c *member) bool {
	return slices.ContainsFunc(m.members, func(o *member) bool {
		return o.Strict && o.hungry && !o.leaving && o.Weight > c.Weight
	})
}

// share returns how many slots c gets by its weight.
func (m *Machine) share(c *member) int {
	if m.weights == 0 {
		return m.slots
	}
	return int(int64(m.slots) * int64(c.Weight) / int64(m.weights))
}

// gains reports whether the split gives a member that needs more slots enough of them to be
// worth the RDYs: a sixteenth more, or one.
func (c *member) gains() bool { return c.hungry && c.next-c.want >= max(c.want/16, 1) }

// split sets next of each member, of which there are no more than slots.
func (m *Machine) split(members []*member) {
	needs := int64(0)
	for _, c := range members {
		c.lo, c.hi = 1, max(c.need, 1)
		needs += int64(c.hi)
	}
	if needs < int64(m.slots) { // all get what they need, and share the rest
		for _, c := range members {
			c.lo, c.hi = c.hi, c.Limit
		}
	}
	fill(members, m.slots)
}

// fill sets next of each member to its part of the slots by weight, within lo and hi.
func fill(members []*member, slots int) {
	// The level is slots per weight. The highest one for which slots suffice is found by
	// halving. Then some may be left, fewer than members.
	low, high := 0.0, float64(slots)
	for range 64 {
		mid := (low + high) / 2
		if atLevel(members, mid) <= int64(slots) {
			low = mid
		} else {
			high = mid
		}
	}
	for left := int64(slots) - atLevel(members, low); left > 0; left-- {
		var best *member
		for _, c := range members {
			if c.next < c.hi && (best == nil || c.perWeight() < best.perWeight()) {
				best = c
			}
		}
		if best == nil {
			return // all are at their limits
		}
		best.next++
	}
}

// perWeight returns how many slots per weight a member would have with one more.
func (c *member) perWeight() float64 { return float64(c.next+1) / float64(c.Weight) }

// atLevel sets next of each member to level times its weight, within lo and hi, and returns
// the sum.
func atLevel(members []*member, level float64) (sum int64) {
	for _, c := range members {
		c.next = c.hi
		if part := level * float64(c.Weight); part < float64(c.hi) {
			c.next = max(int(part), c.lo)
		}
		sum += int64(c.next)
	}
	return sum
}

// takeTurns gives one slot each to as many members as there are slots. A slot leaves a
// member that has no messages, or whose turn is over, and goes to the one that has waited
// longest.
func (m *Machine) takeTurns(now time.Time, members []*member) {
	lightest := slices.MinFunc(members, func(a, b *member) int { return a.Weight - b.Weight }).Weight
	stays := func(c *member) bool { return c.want > 0 && !c.turnOver(now, c.Weight/lightest) }
	queue := slices.Clone(members)
	slices.SortStableFunc(queue, func(a, b *member) int {
		switch {
		case stays(a) && !stays(b):
			return -1
		case stays(b) && !stays(a):
			return 1
		case a.want != b.want && !stays(a): // those that wait come before those whose turn is over
			return a.want - b.want
		}
		return a.since.Compare(b.since)
	})
	for i, c := range queue {
		c.want = 0
		if i < m.slots {
			c.want = 1
		}
	}
}

// turnOver reports whether a slot has been long enough at c, whose turns are so many times
// as long as those of the lightest member.
func (c *member) turnOver(now time.Time, times int) bool {
	if c.granted == 0 {
		return false // the slot has not been freed elsewhere yet
	}
	from := c.since
	if c.last.After(from) {
		from = c.last
	}
	if now.Sub(from) >= visitTime+visitEach*time.Duration(len(c.sample.Conns)) {
		return true
	}
	return c.last.After(c.since) && now.Sub(c.since) >= turnTime*time.Duration(times)
}
