package ui

import (
	"encoding/json"
	"math"
	"net/http"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// chartPoints is how many points a chart gets at most: about one for each pixel or two.
const chartPoints = 360

// spans are the lengths of time that charts show, by their name in an address.
var spans = map[string]time.Duration{"15m": 15 * time.Minute, "": time.Hour, "1h": time.Hour, "24h": 24 * time.Hour}

// ranges are the links to the spans of a page.
func (v view) ranges(path string) (links []choice) {
	now := v.Range
	if now == "" {
		now = "1h"
	}
	for _, r := range []struct{ key, name string }{{"15m", "15 min"}, {"1h", "1 h"}, {"24h", "24 h"}} {
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
	values := make([]any, len(f))
	for i, v := range f {
		if !math.IsNaN(float64(v)) {
			values[i] = math.Round(float64(v)*100) / 100
		}
	}
	return json.Marshal(values)
}

// chart is what the charts of a page get. Times are in Unix seconds.
type chart struct {
	From     int64       `json:"from"`
	To       int64       `json:"to"`
	Times    []int64     `json:"times"`
	Depth    figuresJSON `json:"depth"`
	In       figuresJSON `json:"in"`
	Finished figuresJSON `json:"finished"`
	Marks    []chartMark `json:"marks"`
}

// chartMark is when a problem began or ended, or when a viewer has done something.
type chartMark struct {
	At   int64  `json:"at"`
	Text string `json:"text"`
	Mark string `json:"mark"` // the class of a level; empty if it is neither
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
	c := chart{From: now.Add(-span).Unix(), To: now.Unix(), Marks: []chartMark{}}
	h := s.poller.history
	h.mu.Lock()
	rings := h.fine
	if span > time.Hour {
		rings = h.coarse
	}
	times, points := rings.since(key, c.From)
	h.mu.Unlock()
	c.add(times, points, span)
	if key.channel != "" {
		c.mark(s, judge.Name{Topic: key.topic, Channel: key.channel})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c) // the browser may be gone
}

// add adds points, as many as a chart can show: the mean of those that are close to each other,
// and of depths the highest.
func (c *chart) add(times []int64, points []point, span time.Duration) {
	c.Times, c.Depth, c.In, c.Finished = []int64{}, figuresJSON{}, figuresJSON{}, figuresJSON{}
	width := max(int64(span/time.Second)/chartPoints, 1)
	for i := 0; i < len(times); {
		bucket, end := times[i]/width, i
		sum, n := point{}, float32(0)
		for ; end < len(times) && times[end]/width == bucket; end++ {
			p := points[end]
			if p.depth > sum.depth || math.IsNaN(float64(p.depth)) {
				sum.depth = p.depth
			}
			if !math.IsNaN(float64(p.in)) {
				sum.in, sum.finished, n = sum.in+p.in, sum.finished+p.finished, n+1
			}
		}
		c.Times, c.Depth = append(c.Times, times[end-1]), append(c.Depth, sum.depth)
		c.In, c.Finished = append(c.In, sum.in/n), append(c.Finished, sum.finished/n) // 0/0 is no number
		i = end
	}
}

// mark adds what happened to a channel.
func (c *chart) mark(s *Server, n judge.Name) {
	st, _ := s.poller.current()
	for _, e := range st.events {
		if e.Kind != judge.OfChannel || e.Topic != n.Topic || e.Channel != n.Channel {
			continue
		}
		m := chartMark{At: e.Since.Unix(), Text: string(e.State), Mark: marks[e.Level]}
		if !e.Ended.IsZero() {
			m = chartMark{At: e.Ended.Unix(), Text: string(e.State) + " ended"}
		}
		c.note(m)
	}
	for _, a := range s.log.all() {
		if !a.reads() && a.Topic == n.Topic && (a.Channel == n.Channel || a.Channel == "") {
			c.note(chartMark{At: a.At.Unix(), Text: a.Action})
		}
	}
}

func (c *chart) note(m chartMark) {
	if m.At >= c.From {
		c.Marks = append(c.Marks, m)
	}
}
