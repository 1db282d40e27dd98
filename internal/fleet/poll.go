package fleet

import "time"

// While an nsqd is lost, nsqlookupds are asked ahead of their schedule, so that it is
// found soon after it has registered again, at the same or another address. All lost
// nsqds share the schedule, which follows the one that was lost last.
const (
	// The first poll follows a loss after firstPoll to firstPoll+firstSpread. An nsqd
	// that deletes a topic, or ends, tells nsqlookupds sooner than that. The spread keeps
	// many consumers that lose an nsqd together from asking together.
	firstPoll   = 100 * time.Millisecond
	firstSpread = 400 * time.Millisecond
	// The next ones follow each other after briskPoll at most, for as long as restarts
	// take. An nsqd is then consumed from within a second of its registration: nsqd may
	// hold back the first message for 0.25 s (output-buffer-timeout).
	briskPoll = 650 * time.Millisecond
	brisk     = 30 * time.Second
	// After that, the time beyond brisk is added, divided by pollGrowth. When the sum
	// would exceed MaxDelay, the regular polls are enough.
	pollGrowth = 10
)

// schedulePoll makes Poll due because n, which was dialled or connected, waits again.
// fresh is true if its trouble begins now.
func (m *Machine) schedulePoll(now time.Time, n *nsqd, fresh bool) {
	switch {
	case !n.listed:
	case fresh:
		first := firstPoll + time.Duration(m.rand.Int64N(int64(firstSpread)))
		if at := now.Add(first); first < m.cfg.MaxDelay && (!m.pollAt.After(now) || at.Before(m.pollAt)) {
			m.pollAt = at
		}
	case !m.pollAt.After(now):
		m.pollAt = m.nextPoll(now)
	}
}

// nextPoll draws when the poll after one at now is due; zero: the regular ones are
// enough.
func (m *Machine) nextPoll(now time.Time) time.Time {
	delay := briskPoll + max(0, now.Sub(m.lastLoss)-brisk)/pollGrowth
	if delay >= m.cfg.MaxDelay {
		return time.Time{}
	}
	return now.Add(delay - time.Duration(m.rand.Int64N(int64(delay)/4)))
}

// NextPoll returns when Poll is due. ok is false while no nsqd is lost, or the regular
// polls are enough.
func (m *Machine) NextPoll() (due time.Time, ok bool) {
	return m.pollAt, !m.pollAt.IsZero() && m.lost > 0 && !m.responses.None
}

// Poll reports whether to ask all nsqlookupds now, ahead of schedule, because a listed
// nsqd is lost: it has been connected or dialled, and waits. The delays between such
// polls are 0.1 to 0.5 s at first, 0.65 s at most for 30 s, and then grow by a tenth of
// the time that has passed since, up to MaxDelay. Each is drawn from the upper quarter.
func (m *Machine) Poll(now time.Time) bool {
	if due, ok := m.NextPoll(); !ok || due.After(now) {
		return false
	}
	m.pollAt = m.nextPoll(now)
	return true
}
