package ui

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	prometheusTimeout = 10 * time.Second
	prometheusFresh   = time.Minute      // for which figures are kept
	prometheusRetry   = 10 * time.Second // after an error
	prometheusKept    = 200              // series
	prometheusBytes   = 4 << 20          // of a response
	prometheusAtOnce  = 4                // queries
	leastRate         = 5 * time.Minute  // over which rates are taken
)

// Prometheus has the figures of "rdy exporter" for times that the memory of a Server does not go
// back to. Its methods may be called from any goroutine.
type Prometheus struct {
	url    *url.URL
	match  string
	client *http.Client
	slots  chan struct{} // one for each query under way

	mu   sync.Mutex
	kept map[promKey]*promReading
}

type promKey struct {
	seriesKey
	span time.Duration
}

// promReading is the result of a query.
type promReading struct {
	done   chan struct{} // closed at the end; the rest is read after that
	until  time.Time     // when it is too old
	times  []int64
	points []point
	err    error
}

// NewPrometheus returns the Prometheus at an address, such as http://127.0.0.1:9090. match are
// label matchers that tell the metrics of this cluster from those of others, such as
// cluster="prod"; it may be empty.
func NewPrometheus(address, match string) (*Prometheus, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("want a URL with http or https, such as http://127.0.0.1:9090")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	return &Prometheus{
		url: u.JoinPath("api/v1/query_range"), match: match, kept: make(map[promKey]*promReading), slots: make(chan struct{}, prometheusAtOnce),
		client: &http.Client{Transport: transport, Timeout: prometheusTimeout},
	}, nil
}

// Close closes the connections.
func (p *Prometheus) Close() { p.client.CloseIdleConnections() }

// name returns the address for viewers, who need not know its password.
func (p *Prometheus) name() string { return "Prometheus at " + p.url.Host }

// ask returns the points of a chart from Prometheus, and after its last one those of the memory. If
// Prometheus has none, the chart says so, and gets what the memory has.
func (c *chart) ask(ctx context.Context, p *Prometheus, key seriesKey, span time.Duration, times []int64, points []point) ([]int64, []point) {
	const instead = "These figures are from the memory of rdy ui."
	asked, found, err := p.read(ctx, key, span)
	switch {
	case err != nil:
		c.Source, c.Failed = fmt.Sprintf("%s has no figures: %v. %s", p.name(), err, instead), true
		return times, points
	case len(asked) == 0:
		c.Source, c.Failed = p.name()+" has nothing on this: does it scrape rdy exporter? "+instead, true
		return times, points
	}
	c.Source = "From " + p.name()
	n := len(times)
	for n > 0 && times[n-1] > asked[len(asked)-1] {
		n--
	}
	return slices.Concat(asked, times[n:]), slices.Concat(found, points[n:])
}

// stepOf returns the time between two points.
func stepOf(span time.Duration) time.Duration { return span / chartPoints }

// read returns the points of a series. Viewers that ask for the same share a query, and figures
// that are a minute old are good enough.
func (p *Prometheus) read(ctx context.Context, series seriesKey, span time.Duration) ([]int64, []point, error) {
	key := promKey{series, span}
	now := time.Now()
	p.mu.Lock()
	r := p.kept[key]
	if r == nil || r.ended() && now.After(r.until) {
		r = &promReading{done: make(chan struct{})}
		p.tidy(now)
		p.kept[key] = r
		p.mu.Unlock()
		// The viewer who asks first may leave: others wait for the result.
		p.fill(context.WithoutCancel(ctx), r, key)
	} else {
		p.mu.Unlock()
	}
	select {
	case <-r.done:
		return r.times, r.points, r.err
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// fill asks Prometheus.
func (p *Prometheus) fill(ctx context.Context, r *promReading, key promKey) {
	defer close(r.done)
	ctx, cancel := context.WithTimeout(ctx, prometheusTimeout)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		r.times, r.points, r.err = p.query(ctx, key)
		<-p.slots
	case <-ctx.Done():
		r.err = errors.New("too many queries are under way")
	}
	r.until = time.Now().Add(prometheusFresh)
	if r.err != nil {
		r.until = time.Now().Add(prometheusRetry)
	}
}

func (r *promReading) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// tidy drops what is too old, and all if that is not enough.
func (p *Prometheus) tidy(now time.Time) {
	for key, r := range p.kept {
		if r.ended() && now.After(r.until) {
			delete(p.kept, key)
		}
	}
	if len(p.kept) >= prometheusKept {
		clear(p.kept)
	}
}

// promQL returns the query of the three figures, each with a label "figure". What is finished is what
// came and did not stay, as everywhere on the page.
func (p *Prometheus) promQL(key promKey) string {
	labels := p.match
	for _, l := range []struct{ name, value string }{{"topic", key.topic}, {"channel", key.channel}} {
		if l.value != "" {
			labels = strings.TrimPrefix(labels+","+l.name+"="+strconv.Quote(l.value), ",")
		}
	}
	metric := func(function, name string, window time.Duration) string {
		if function == "" {
			return fmt.Sprintf("sum(nsqd_channel_%s{%s})", name, labels)
		}
		return fmt.Sprintf("sum(%s(nsqd_channel_%s{%s}[%ds]))", function, name, labels, int(window.Seconds()))
	}
	window := max(stepOf(key.span), leastRate)
	in := metric("rate", "messages_total", window)
	growth := metric("deriv", "depth_messages", window) + " + " + metric("deriv", "in_flight_messages", window) + " + " +
		metric("deriv", "deferred_messages", window)
	figure := func(name, of string) string { return fmt.Sprintf(`label_replace(%s, "figure", %q, "", "")`, of, name) }
	return figure("depth", metric("", "depth_messages", 0)) + " or " + figure("in", in) + " or " +
		figure("finished", "clamp_min("+in+" - ("+growth+"), 0)")
}

// matrix is Prometheus' response.
type matrix struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Values []sample          `json:"values"`
		} `json:"result"`
	} `json:"data"`
}

// sample is a time and a figure.
type sample struct {
	at    int64
	value float32
}

// UnmarshalJSON reads [1700000000.5, "42"].
func (s *sample) UnmarshalJSON(text []byte) error {
	var pair [2]any
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	at, isNumber := pair[0].(float64)
	figure, isText := pair[1].(string)
	value, err := strconv.ParseFloat(figure, 64)
	if !isNumber || !isText || err != nil || math.Abs(at) > math.MaxInt32*1000 {
		return fmt.Errorf("%.40s is no sample", text)
	}
	s.at, s.value = int64(at), float32(value)
	return nil
}

// query asks for the points of a series.
func (p *Prometheus) query(ctx context.Context, key promKey) ([]int64, []point, error) {
	now, step := time.Now().Unix(), int64(stepOf(key.span)/time.Second)
	now -= now % step // so that points stay where they are from one query to the next
	start := now - int64(key.span/time.Second)
	form := url.Values{
		"query": {p.promQL(key)}, "step": {strconv.FormatInt(step, 10)}, "timeout": {prometheusTimeout.String()},
		"start": {strconv.FormatInt(start, 10)}, "end": {strconv.FormatInt(now, 10)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, nil, cause(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, prometheusBytes))
	if err != nil {
		return nil, nil, cause(err)
	}
	var m matrix
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, nil, fmt.Errorf("its response, HTTP %s, cannot be read", resp.Status)
	}
	if m.Status != "success" {
		return nil, nil, fmt.Errorf("it says %.200s", m.Error)
	}
	times, points := m.points(start, now)
	return times, points, nil
}

// cause returns an error without the address, which may have a password, and in few words.
func cause(err error) error {
	failed, ok := errors.AsType[*url.Error](err)
	switch {
	case ok && failed.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("it did not respond within %d s", int(prometheusTimeout.Seconds()))
	case ok:
		return failed.Err
	}
	return err
}

// points puts the figures of each time together. Those of times that were not asked for would make
// a chart of as many points.
func (m *matrix) points(start, end int64) (times []int64, points []point) {
	byTime := make(map[int64]int)
	for _, r := range m.Data.Result {
		for _, s := range r.Values {
			if s.at < start || s.at > end {
				continue
			}
			i, ok := byTime[s.at]
			if !ok {
				i = len(times)
				byTime[s.at], times = i, append(times, s.at)
				points = append(points, point{unknown, unknown, unknown, false})
			}
			switch r.Metric["figure"] {
			case "depth":
				points[i].depth = s.value
			case "in":
				points[i].in = s.value
			case "finished":
				points[i].finished = s.value
			}
		}
	}
	return inOrder(times, points)
}

// inOrder sorts points by time.
func inOrder(times []int64, points []point) ([]int64, []point) {
	order := make([]int, len(times))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(times[a], times[b]) })
	sortedTimes, sorted := make([]int64, len(times)), make([]point, len(times))
	for to, from := range order {
		sortedTimes[to], sorted[to] = times[from], points[from]
	}
	return sortedTimes, sorted
}
