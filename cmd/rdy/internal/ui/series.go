package ui

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// chartPoints is how many points a chart gets at most: about one for each pixel or two.
const chartPoints = 360

// missedPolls is how many polls are missing before a chart has a gap.
const missedPolls = 3

// week is the span that only Prometheus has.
const week = "7d"

// spans are the lengths of time that charts show, by their name in an address.
var spans = map[string]time.Duration{
	"15m": 15 * time.Minute, "": time.Hour, "1h": time.Hour, "24h": 24 * time.Hour, week: 7 * 24 * time.Hour,
}

// ranges are the links to the spans of a page.
func (s *Server) ranges(v view, path string) (links []choice) {
	now := v.Range
	if now == "" {
		now = "1h"
	}
	for _, r := range []struct{ key, name string }{{"15m", "15 min"}, {"1h", "1 h"}, {"24h", "24 h"}, {week, "7 d"}} {
		if r.key == week && s.Prometheus == nil {
			continue
		}
		to := view{Range: r.key}
		if path == "/" {
			to = v
			to.Range = r.key
		}
		links = append(links, choice{Name: r.name, Link: path + "?" + to.query(), On: r.key == now})
	}
	return links
}

// figuresJSON are figures as JSON takes them: null where nothing is known.
type figuresJSON []float32

// MarshalJSON returns the array.
func (f figuresJSON) MarshalJSON() ([]byte, error) {
	out := append(make([]byte, 0, 8*len(f)+2), '[')
	for i, v := range f {
		if i > 0 {
			out = append(out, ',')
		}
		if x := float64(v); math.IsNaN(x) || math.IsInf(x, 0) {
			out = append(out, "null"...)
		} else {
			out = strconv.AppendFloat(out, math.Round(x*100)/100, 'f', -1, 64)
		}
	}
	return append(out, ']'), nil
}

// chart is what the charts of a page get. Times are in Unix seconds.
type chart struct {
	From     int64       `json:"from"`
	To       int64       `json:"to"`
	Times    []int64     `json:"times"`
	Depth    figuresJSON `json:"depth"`
	In       figuresJSON `json:"in"`
	Finished figuresJSON `json:"finished"`
	Lower    []int       `json:"lower"` // the points that are lower bounds, by their index
	Gaps     []chartGap  `json:"gaps"`
	Marks    []chartMark `json:"marks"`
	Source   string      `json:"source"` // where the figures come from; empty: memory has all of them
	Failed   bool        `json:"failed"` // Source says why figures are missing
}

// chartGap is a time of which not everything is known.
type chartGap struct {
	From  int64  `json:"from"`
	To    int64  `json:"to"`
	Text  string `json:"text"`
	Rates bool   `json:"rates"` // the depth is known
}

// The reasons of gaps.
const (
	gapNothing = "not known"       // nobody asked, or no nsqd responded
	gapLower   = "an nsqd missing" // figures are lower bounds
	gapRates   = "rates not known" // as after a restart: they take two polls
)

// chartMark is when a problem began or ended, or when a viewer has done something.
type chartMark struct {
	At    int64  `json:"at"`
	Text  string `json:"text"`
	About string `json:"about"` // of what, if it is not the channel
	Mark  string `json:"mark"`  // the class of a level; empty if it is neither
}

// series serves the points of a channel, a topic or the cluster.
func (s *Server) series(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	span, ok := spans[q.Get("range")]
	if !ok {
		span = time.Hour
	}
	key := seriesKey{q.Get("topic"), q.Get("channel")}
	now := time.Now()
	c := chart{From: now.Add(-span).Unix(), To: now.Unix(), Gaps: []chartGap{}, Marks: []chartMark{}}
	st, _ := s.poller.current()
	times, points, step := s.poller.history.since(key, c.From, span <= time.Hour)
	apart := step + missedPolls*int64(st.interval/time.Second)
	if s.Prometheus != nil && span > time.Hour && st.knows(key) {
		times, points = c.ask(r.Context(), s.Prometheus, key, span, times, points)
		apart = max(apart, 2*int64(stepOf(span)/time.Second))
	}
	c.add(times, points, apart, span)
	c.mark(st, s.log.all(), key)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c) // the browser may be gone
}

// add adds points, as many as a chart can show: the mean of those that are close to each other,
// and of depths the highest. Points that are further apart than apart seconds have a gap between
// them. The last point is as it is: it says how things are.
func (c *chart) add(times []int64, points []point, apart int64, span time.Duration) {
	c.Times, c.Depth, c.In, c.Finished, c.Lower = []int64{}, figuresJSON{}, figuresJSON{}, figuresJSON{}, []int{}
	width := max(int64(span/time.Second)/chartPoints, 1)
	for i := 0; i < len(times); {
		bucket, end := (times[i]-1)/width, i // a point of Prometheus is about the time before it
		mean := meanPoint{depth: unknown}
		for ; end < len(times) && (times[end]-1)/width == bucket && (end == i || end < len(times)-1 && times[end]-times[end-1] <= apart); end++ {
			mean.add(points[end])
		}
		if i > 0 && times[i]-times[i-1] > apart {
			c.put(times[i-1]+1, point{unknown, unknown, unknown, false}) // so that no line is drawn
			c.gap(times[i-1], times[i], gapNothing)
		}
		c.put(times[end-1], mean.point())
		i = end
	}
	c.findGaps(times, points)
}

// meanPoint is the mean of points, and a lower bound if one of them is.
type meanPoint struct {
	depth, in, finished, n float32
	lower                  bool
}

func (m *meanPoint) add(p point) {
	if !isKnown(m.depth) || p.depth > m.depth {
		m.depth = p.depth
	}
	m.lower = m.lower || p.lower
	if isKnown(p.in) {
		m.in, m.finished, m.n = m.in+p.in, m.finished+p.finished, m.n+1
	}
}

// point returns the mean. Without a known rate it is 0/0, which is no number.
func (m *meanPoint) point() point { return point{m.depth, m.in / m.n, m.finished / m.n, m.lower} }

func (c *chart) put(at int64, p point) {
	if p.lower {
		c.Lower = append(c.Lower, len(c.Times))
	}
	c.Times, c.Depth = append(c.Times, at), append(c.Depth, p.depth)
	c.In, c.Finished = append(c.In, p.in), append(c.Finished, p.finished)
}

// findGaps adds the gaps of points that are not known, or that are lower bounds.
func (c *chart) findGaps(times []int64, points []point) {
	why := func(i int) string {
		switch {
		case i == len(points):
			return ""
		case !isKnown(points[i].depth):
			return gapNothing
		case points[i].lower:
			return gapLower
		case !isKnown(points[i].in):
			return gapRates
		}
		return ""
	}
	for i := 0; i < len(times); {
		begin, text := i, why(i)
		if text != gapLower { // the line ends at the point before
			begin = max(begin-1, 0)
		}
		for i++; i < len(times) && why(i) == text; i++ {
		}
		if text != "" {
			c.gap(times[begin], times[min(i, len(times)-1)], text)
		}
	}
	slices.SortFunc(c.Gaps, func(a, b chartGap) int { return int(a.From - b.From) })
}

func (c *chart) gap(from, to int64, text string) {
	c.Gaps = append(c.Gaps, chartGap{max(from, c.From), to, text, text == gapRates})
}

// mark adds what happened to a channel, and the restarts of nsqds that it is on.
func (c *chart) mark(st *state, actions []Action, key seriesKey) {
	for _, e := range st.events {
		switch {
		case e.Kind == judge.OfNSQD && e.State == judge.Restarted && e.Ended.IsZero() && st.holds(key, e.Addr):
			c.note(chartMark{At: e.Since.Unix(), Text: "restart", About: e.Addr})
		case key.channel == "", e.Kind != judge.OfChannel, e.Topic != key.topic, e.Channel != key.channel:
		case !e.Ended.IsZero():
			c.note(chartMark{At: e.Ended.Unix(), Text: string(e.State) + " ended"})
		default:
			c.note(chartMark{At: e.Since.Unix(), Text: string(e.State), Mark: marks[e.Level]})
		}
	}
	for _, a := range actions {
		if key.channel != "" && !a.reads() && a.Topic == key.topic && (a.Channel == key.channel || a.Channel == "") {
			c.note(chartMark{At: a.At.Unix(), Text: a.Action})
		}
	}
	slices.SortStableFunc(c.Marks, func(a, b chartMark) int { return int(a.At - b.At) })
}

// knows reports whether there is such a series.
func (s *state) knows(key seriesKey) bool {
	switch {
	case key.topic == "":
		return key.channel == ""
	case key.channel == "":
		return s.topics[key.topic] != nil
	}
	return s.channels[judge.Name{Topic: key.topic, Channel: key.channel}] != nil
}

// holds reports whether an nsqd has a channel, or any channel of a topic if the channel is empty.
// The cluster is on all nsqds.
func (s *state) holds(key seriesKey, addr string) bool {
	if key.topic == "" {
		return true
	}
	for name, c := range s.channels {
		if name.Topic != key.topic || key.channel != "" && name.Channel != key.channel {
			continue
		}
		for i := range c.NSQDs {
			if c.NSQDs[i].NSQD == addr {
				return true
			}
		}
	}
	return false
}

func (c *chart) note(m chartMark) {
	if m.At >= c.From {
		c.Marks = append(c.Marks, m)
	}
}
