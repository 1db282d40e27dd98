package judge

import "time"

// slot is a minute of a channel.
type slot struct {
	minute       int64   // since 1970
	known        bool    // whether a depth was noted
	depth, low   int64   // the highest and the lowest
	seconds      float32 // that the counts below are of
	in, finished float32
	best         float32 // highest rate of finished
	gap          float32 // longest time in seconds that nothing was finished while messages were there
}

// history is the last hour of a channel, a slot for each minute, by the minute modulo Points.
type history struct{ slots [Points]slot }

func minuteOf(at time.Time) int64 { return at.Unix() / 60 }

// at returns the slot of a time.
func (h *history) at(at time.Time) *slot {
	minute := minuteOf(at)
	s := &h.slots[uint64(minute)%Points] // #nosec G115 -- only its remainder counts
	if s.minute != minute {
		*s = slot{minute: minute}
	}
	return s
}

// depth notes a depth.
func (h *history) depth(at time.Time, depth int64) {
	s := h.at(at)
	if !s.known {
		s.known, s.low, s.depth = true, depth, depth
	}
	s.low, s.depth = min(s.low, depth), max(s.depth, depth)
}

// rate notes what came and went in an interval, whose rates are per second.
func (h *history) rate(at time.Time, seconds, in, finished float64) {
	s := h.at(at)
	s.seconds += float32(seconds)
	s.in += float32(in * seconds)
	s.finished += float32(max(finished, 0) * seconds)
	s.best = max(s.best, float32(finished))
}

// gap notes a time without a finished message.
func (h *history) gap(at time.Time, d time.Duration) {
	s := h.at(at)
	s.gap = max(s.gap, float32(d.Seconds()))
}

// each calls f for the slots of the last minutes.
func (h *history) each(at time.Time, minutes int64, f func(*slot)) {
	now := minuteOf(at)
	for i := range h.slots {
		if s := &h.slots[i]; s.known && s.minute > now-minutes && s.minute <= now {
			f(s)
		}
	}
}

// longestGap returns the longest gap of the last hour, 0 if none is known.
func (h *history) longestGap(at time.Time) time.Duration {
	var longest float32
	h.each(at, Points, func(s *slot) { longest = max(longest, s.gap) })
	return time.Duration(float64(longest) * float64(time.Second))
}

// best returns the highest rate of finished messages in the last hour.
func (h *history) best(at time.Time) float64 {
	var best float32
	h.each(at, Points, func(s *slot) { best = max(best, s.best) })
	return float64(best)
}

// points returns the last hour.
func (h *history) points(at time.Time) History {
	r := History{Depth: make([]int64, Points), Finished: make([]float64, Points), In: make([]float64, Points)}
	now := minuteOf(at)
	for i := range Points {
		minute := now - Points + 1 + int64(i)
		s := &h.slots[uint64(minute)%Points] // #nosec G115 -- only its remainder counts
		r.Depth[i], r.Finished[i], r.In[i] = -1, -1, -1
		if s.minute != minute || !s.known {
			continue
		}
		r.Depth[i] = s.depth
		if s.seconds > 0 {
			r.Finished[i], r.In[i] = float64(s.finished/s.seconds), float64(s.in/s.seconds)
		}
	}
	return r
}

// before returns the highest depth of the minute that began this many minutes ago, and the lowest
// depth since. Both are 0 if they are not known.
func (h *history) before(at time.Time, minutes int64) (then, least int64) {
	then, least = 0, 0
	known := int64(0)
	h.each(at, minutes+1, func(s *slot) {
		if known++; known == 1 || s.low < least {
			least = s.low
		}
		if s.minute == minuteOf(at)-minutes {
			then = s.depth
		}
	})
	if known < minutes+1 {
		return 0, 0
	}
	return then, least
}
