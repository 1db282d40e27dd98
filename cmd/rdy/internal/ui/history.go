package ui

import (
	"math"
	"sync"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

const (
	fineStep, finePoints     = 2 * time.Second, 1800 // an hour
	coarseStep, coarsePoints = time.Minute, 1440     // a day
)

// history is what channels have done, in memory: for each channel 12 bytes a point, 39 KB in
// all. A channel that is gone is forgotten after a day.
type history struct {
	mu           sync.Mutex
	fine, coarse *rings
}

func newHistory() *history {
	return &history{fine: newRings(fineStep, finePoints), coarse: newRings(coarseStep, coarsePoints)}
}

// point is what a series has at a time. A figure that is not known is not a number.
type point struct{ depth, in, finished float32 }

var gap = point{float32(math.NaN()), float32(math.NaN()), float32(math.NaN())}

// seriesKey names a series: a channel, a topic if channel is empty, or the cluster.
type seriesKey struct{ topic, channel string }

// add adds what a poll says.
func (h *history) add(r *judge.Report) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range []*rings{h.fine, h.coarse} {
		g.move(r.At)
		c := r.Cluster
		g.put(seriesKey{}, newPoint(c.Waiting, c.In, c.Finished, c.RatesKnown))
		for i := range r.Topics {
			t := &r.Topics[i]
			g.put(seriesKey{topic: t.Name}, newPoint(t.Waiting, t.In, t.Finished, t.RatesKnown))
		}
		for i := range r.Channels {
			ch := &r.Channels[i]
			var in, finished float64
			if ch.Rates != nil {
				in, finished = ch.Rates.In, ch.Rates.Finished
			}
			g.put(seriesKey{ch.Topic, ch.Name}, newPoint(ch.Depth, in, finished, ch.Rates != nil))
		}
	}
}

func newPoint(depth int64, in, finished float64, known bool) point {
	if !known {
		return point{float32(depth), gap.in, gap.finished}
	}
	return point{float32(depth), float32(in), float32(finished)}
}

// rings hold series whose points are at the same times.
type rings struct {
	step   time.Duration
	times  []int64 // in seconds, by slot; 0 if there is none
	slot   int     // of the last poll
	series map[seriesKey]*series
}

type series struct {
	points []point
	last   int64 // time of the last point
}

func newRings(step time.Duration, points int) *rings {
	return &rings{step: step, times: make([]int64, points), series: make(map[seriesKey]*series)}
}

// move makes room for a poll. A poll that comes within step of the one before takes its place.
func (g *rings) move(at time.Time) {
	now := at.Unix()
	if g.times[g.slot] != 0 && now-g.times[g.slot] < int64(g.step/time.Second) {
		return
	}
	if g.times[g.slot] != 0 {
		g.slot = (g.slot + 1) % len(g.times)
	}
	g.times[g.slot] = now
	oldest := g.times[(g.slot+1)%len(g.times)]
	for key, s := range g.series {
		if s.last < oldest {
			delete(g.series, key)
			continue
		}
		s.points[g.slot] = gap
	}
}

func (g *rings) put(key seriesKey, p point) {
	s := g.series[key]
	if s == nil {
		s = &series{points: make([]point, len(g.times))}
		for i := range s.points {
			s.points[i] = gap
		}
		g.series[key] = s
	}
	s.points[g.slot], s.last = p, g.times[g.slot]
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
			times, points = append(times, t), append(points, s.points[slot])
		}
	}
	return times, points
}
