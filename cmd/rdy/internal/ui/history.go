package ui

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

const (
	fineStep, finePoints     = 2 * time.Second, 1800 // an hour
	coarseStep, coarsePoints = time.Minute, 1440     // a day

	// goneEphemeral is for how many seconds an ephemeral channel that is gone is kept. Programs
	// that make up a new name with each start would leave thousands of them in a day.
	goneEphemeral = 10 * 60

	// mostSeries is how many channels and topics have a history, which takes 450 MB. A daemon that
	// makes up names must not fill the memory. The help of "rdy ui" names the number.
	mostSeries = 10_000
)

// history is what channels have done, in memory: for each channel 13 bytes a point, 45 KB in
// all. A channel that is gone is forgotten after a day, and an ephemeral one after ten minutes. Beyond
// mostSeries those that have not been seen for longest are forgotten.
type history struct {
	mu           sync.Mutex
	fine, coarse *rings
}

func newHistory() *history {
	return &history{fine: newRings(fineStep, finePoints), coarse: newRings(coarseStep, coarsePoints)}
}

// point is what a series has at a time. A figure that is not known is not a number.
type point struct {
	depth, in, finished float32
	// lower means that an nsqd is missing from the figures.
	lower bool
}

var unknown = float32(math.NaN())

func isKnown(figure float32) bool { return !math.IsNaN(float64(figure)) }

// seriesKey names a series: a channel, a topic if channel is empty, or the cluster.
type seriesKey struct{ topic, channel string }

// add adds what a poll says. It reports whether there was room for all of it.
func (h *history) add(r *judge.Report) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	room := true
	for _, g := range []*rings{h.fine, h.coarse} {
		g.move(r.At.Unix())
		c := r.Cluster
		room = g.put(seriesKey{}, newPoint(c.Waiting, c.In, c.Finished, ratesKnown(r), c.Lower)) && room
		for i := range r.Topics {
			t := &r.Topics[i]
			room = g.put(seriesKey{topic: t.Name}, newPoint(t.Waiting, t.In, t.Finished, t.RatesKnown, t.Lower)) && room
		}
		for i := range r.Channels {
			ch := &r.Channels[i]
			var in, finished float64
			if ch.Rates != nil {
				in, finished = ch.Rates.In, ch.Rates.Finished
			}
			room = g.put(seriesKey{ch.Topic, ch.Name}, newPoint(ch.Depth, in, finished, ch.Rates != nil, ch.Lower)) && room
		}
	}
	return room
}

// ratesKnown reports whether the rates of the cluster are known. Those of channels on an nsqd that
// has restarted are not in its sums for one poll, which would look as if the messages had stopped.
func ratesKnown(r *judge.Report) bool {
	const few = 10 // one channel in ten: some are always new
	lacking := 0
	for i := range r.Channels {
		if c := &r.Channels[i]; c.Rates == nil && !c.Lower {
			lacking++
		}
	}
	return r.Cluster.RatesKnown && lacking*few <= len(r.Channels)
}

func newPoint(depth int64, in, finished float64, known, lower bool) point {
	if !known {
		return point{float32(depth), unknown, unknown, lower}
	}
	return point{float32(depth), float32(in), float32(finished), lower}
}

// since returns the times and points after a time, the oldest first, and how far two points are
// apart at most, in seconds. They are fine ones as far as these go back, or as finest says.
func (h *history) since(key seriesKey, after int64, finest bool) (times []int64, points []point, step int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !finest {
		times, points = h.coarse.since(key, after)
		return times, points, h.coarse.step
	}
	times, points = h.fine.since(key, after)
	coarse, more := h.coarse.since(key, after)
	step = h.fine.step
	if n := countBefore(coarse, times); n > 0 {
		times, points, step = append(coarse[:n:n], times...), append(more[:n:n], points...), h.coarse.step
	}
	return times, points, step
}

// countBefore returns how many of the coarse times are before all of the fine ones.
func countBefore(coarse, fine []int64) int {
	n := len(coarse)
	for n > 0 && len(fine) > 0 && coarse[n-1] >= fine[0] {
		n--
	}
	return n
}

// rings hold series whose points are at the same times.
type rings struct {
	step   int64   // in seconds
	times  []int64 // in seconds, by slot; 0 if there is none
	slot   int     // of the last poll
	series map[seriesKey]*series
	full   int64 // the time of a slot at which no series could be dropped
}

type series struct {
	points []figuresAt
	lower  []bool
	last   int64 // time of the last point
	polls  int   // that the last point is made of
}

// figuresAt are the figures of a point, without what would make it larger by a third.
type figuresAt struct{ depth, in, finished float32 }

func newRings(step time.Duration, points int) *rings {
	return &rings{step: int64(step / time.Second), times: make([]int64, points), series: make(map[seriesKey]*series)}
}

// move makes room for a poll. A poll that comes within step of the one that began a slot shares
// that slot.
func (g *rings) move(now int64) {
	g.undo(now)
	if g.times[g.slot] != 0 && now-g.times[g.slot] < g.step {
		return
	}
	if g.times[g.slot] != 0 {
		g.slot = (g.slot + 1) % len(g.times)
	}
	g.times[g.slot] = now
	oldest := g.times[(g.slot+1)%len(g.times)]
	for key, s := range g.series {
		if s.last < oldest || s.last < now-goneEphemeral && isEphemeral(key.channel) {
			delete(g.series, key)
			continue
		}
		s.points[g.slot], s.lower[g.slot] = figuresAt{unknown, unknown, unknown}, false
	}
}

// undo forgets points that are later than now: the clock was set back. Otherwise all polls would
// share the slot of the last one of them until the clock is there again.
func (g *rings) undo(now int64) {
	for g.times[g.slot] >= now+g.step {
		g.times[g.slot] = 0
		for _, s := range g.series {
			s.points[g.slot], s.lower[g.slot] = figuresAt{unknown, unknown, unknown}, false
			s.last = min(s.last, now)
		}
		g.slot = (g.slot + len(g.times) - 1) % len(g.times)
	}
}

// makeRoom drops a tenth of the series, those that have not been seen for longest, and reports
// whether there were any. What the slot before has seen stays: this poll may be about to see it.
func (g *rings) makeRoom() bool {
	now, before := g.times[g.slot], g.times[(g.slot+len(g.times)-1)%len(g.times)]
	if g.full == now {
		return false
	}
	var gone []seriesKey
	for key, s := range g.series {
		if s.last < before {
			gone = append(gone, key)
		}
	}
	if len(gone) == 0 {
		g.full = now
		return false
	}
	slices.SortFunc(gone, func(a, b seriesKey) int { return cmp.Compare(g.series[a].last, g.series[b].last) })
	for _, key := range gone[:min(len(gone), mostSeries/10)] {
		delete(g.series, key)
	}
	return true
}

// put adds a point at the slot. Of polls that share it, the deepest depth and the mean of the
// rates are kept. It reports whether there was room for a series that is new.
func (g *rings) put(key seriesKey, p point) bool {
	s := g.series[key]
	if s == nil {
		if len(g.series) >= mostSeries && !g.makeRoom() {
			return false
		}
		s = &series{points: make([]figuresAt, len(g.times)), lower: make([]bool, len(g.times))}
		for i := range s.points {
			s.points[i] = figuresAt{unknown, unknown, unknown}
		}
		g.series[key] = s
	}
	if s.last != g.times[g.slot] {
		s.last, s.polls = g.times[g.slot], 0
	}
	at := &s.points[g.slot]
	if !isKnown(at.depth) || p.depth > at.depth {
		at.depth = p.depth
	}
	s.lower[g.slot] = s.lower[g.slot] || p.lower
	switch {
	case !isKnown(p.in):
	case s.polls == 0:
		at.in, at.finished, s.polls = p.in, p.finished, 1
	default:
		s.polls++
		at.in += (p.in - at.in) / float32(s.polls)
		at.finished += (p.finished - at.finished) / float32(s.polls)
	}
	return true
}

// at returns the point of a slot.
func (s *series) at(slot int) point {
	f := s.points[slot]
	return point{f.depth, f.in, f.finished, s.lower[slot]}
}

// since returns the times and points after a time, the oldest first.
func (g *rings) since(key seriesKey, after int64) (times []int64, points []point) {
	s := g.series[key]
	if s == nil {
		return nil, nil
	}
	for i := range g.times {
		slot := (g.slot + 1 + i) % len(g.times)
		if t := g.times[slot]; t > after {
			times, points = append(times, t), append(points, s.at(slot))
		}
	}
	return times, points
}

// minute is what all series have at a coarse point.
type minute struct {
	at     int64
	points map[seriesKey]point
}

// minutes returns the coarse points after a time, the oldest first, and most of them at most. The
// newest one still changes. It is among them also if the clock was set back to before the time.
func (h *history) minutes(after int64, most int) (found []minute) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.coarse
	after = min(after, g.times[g.slot]-1)
	for i := range g.times {
		slot := (g.slot + 1 + i) % len(g.times)
		if t := g.times[slot]; t <= after || len(found) == most {
			continue
		}
		m := minute{at: g.times[slot], points: make(map[seriesKey]point, len(g.series))}
		for key, s := range g.series {
			if p := s.at(slot); isKnown(p.depth) {
				m.points[key] = p
			}
		}
		found = append(found, m)
	}
	return found
}

// restore adds a coarse point that is later than those before.
func (h *history) restore(m minute) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.coarse.move(m.at)
	for key, p := range m.points {
		h.coarse.put(key, p)
	}
}
