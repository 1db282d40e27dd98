package ui

import (
	"encoding/json"
	"math"
	"net/http"
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
	fine, coarse *grid
}

func newHistory() *history {
	return &history{fine: newGrid(fineStep, finePoints), coarse: newGrid(coarseStep, coarsePoints)}
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
	for _, g := range []*grid{h.fine, h.coarse} {
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

// grid holds series whose points are at the same times.
type grid struct {
	step   time.Duration
	times  []int64 // in seconds, by slot; 0 if there is none
	slot   int     // of the last poll
	series map[seriesKey]*series
}

type series struct {
	points []point
	last   int64 // time of the last point
}

func newGrid(step time.Duration, points int) *grid {
	return &grid{step: step, times: make([]int64, points), series: make(map[seriesKey]*series)}
}

// move makes room for a poll. A poll that comes within step of the one before takes its place.
func (g *grid) move(at time.Time) {
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

func (g *grid) put(key seriesKey, p point) {
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

// figuresJSON are figures as JSON takes them: null where nothing is known.
type figuresJSON []float32

func (f figuresJSON) MarshalJSON() ([]byte, error) {
	values := make([]any, len(f))
	for i, v := range f {
		if !math.IsNaN(float64(v)) {
			values[i] = v
		}
	}
	return json.Marshal(values)
}

// chart is what a chart gets.
type chart struct {
	Times    []int64     `json:"times"`
	Depth    figuresJSON `json:"depth"`
	In       figuresJSON `json:"in"`
	Finished figuresJSON `json:"finished"`
}

// since returns the points after a time, the oldest first.
func (g *grid) since(key seriesKey, after int64) chart {
	c := chart{Times: []int64{}, Depth: figuresJSON{}, In: figuresJSON{}, Finished: figuresJSON{}}
	s := g.series[key]
	if s == nil {
		return c
	}
	for i := range g.times {
		slot := (g.slot + 1 + i) % len(g.times)
		if t := g.times[slot]; t > after {
			p := s.points[slot]
			c.Times, c.Depth, c.In, c.Finished = append(c.Times, t), append(c.Depth, p.depth), append(c.In, p.in), append(c.Finished, p.finished)
		}
	}
	return c
}

// series serves the points of a chart: of a channel, a topic or the cluster.
func (s *Server) series(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	h := s.poller.history
	span := map[string]time.Duration{"15m": 15 * time.Minute, "24h": 24 * time.Hour}[q.Get("range")]
	if span == 0 {
		span = time.Hour
	}
	h.mu.Lock()
	g := h.fine
	if span > time.Hour {
		g = h.coarse
	}
	after := time.Now().Add(-span).Unix()
	c := g.since(seriesKey{q.Get("topic"), q.Get("channel")}, after)
	h.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c) // the browser may be gone
}
