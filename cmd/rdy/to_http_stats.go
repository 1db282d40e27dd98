package main

import (
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// httpStats counts what becomes of messages and requests, for the lines of --status-every
// and for the one at the end.
type httpStats struct {
	every int // messages between two lines; 0 means only one at the end

	mu     sync.Mutex // guards the fields below
	total  httpCounts
	latest httpCounts // since the last line
}

// httpCounts is what a line reports.
type httpCounts struct {
	since       time.Time
	delivered   int // messages that every server they were meant for has
	requeued    int // deliveries that ended with a requeue
	deadLetters int
	notSampled  int // messages that were finished without a request
	urls        []urlCounts
}

// urlCounts is what a line reports of one URL.
type urlCounts struct {
	delivered, failed, refused int
	latencies                  latencies
}

func newHTTPStats(urls, every int, now time.Time) *httpStats {
	return &httpStats{every: every, total: newHTTPCounts(urls, now), latest: newHTTPCounts(urls, now)}
}

func newHTTPCounts(urls int, now time.Time) httpCounts {
	return httpCounts{since: now, urls: make([]urlCounts, urls)}
}

// request counts a request to the i-th URL.
func (s *httpStats) request(i int, f *httpFailure, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range []*urlCounts{&s.total.urls[i], &s.latest.urls[i]} {
		c.latencies.add(took)
		switch {
		case f == nil:
			c.delivered++
		case f.refused:
			c.refused++
		default:
			c.failed++
		}
	}
}

// message counts the end of a delivery: count changes the counts. If a line is due, message
// returns its counts and true.
func (s *httpStats) message(count func(*httpCounts), now time.Time) (line httpCounts, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count(&s.total)
	count(&s.latest)
	l := &s.latest
	if s.every == 0 || l.delivered+l.requeued+l.deadLetters+l.notSampled < s.every {
		return httpCounts{}, false
	}
	line = s.latest
	s.latest = newHTTPCounts(len(line.urls), now)
	return line, true
}

// whole returns the counts since the start. Nothing may be counted after that.
func (s *httpStats) whole() httpCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// httpReport is what --json prints.
type httpReport struct {
	Final       bool        `json:"final"`   // the whole run; otherwise what happened since the last line
	Seconds     float64     `json:"seconds"` // the time that it covers
	Delivered   int         `json:"delivered"`
	Requeued    int         `json:"requeued"`
	DeadLetters int         `json:"dead_letters"`
	NotSampled  int         `json:"not_sampled"`
	URLs        []urlReport `json:"urls"`
}

type urlReport struct {
	URL       string  `json:"url"`
	Delivered int     `json:"delivered"`
	Failed    int     `json:"failed"`
	Refused   int     `json:"refused"`
	MeanMS    float64 `json:"mean_ms"` // of all requests
	P95MS     float64 `json:"p95_ms"`  // at most an eighth too high
	P99MS     float64 `json:"p99_ms"`
}

func (c *httpCounts) report(destinations []*destination, now time.Time, final bool) *httpReport {
	r := &httpReport{
		Final: final, Seconds: now.Sub(c.since).Seconds(),
		Delivered: c.delivered, Requeued: c.requeued, DeadLetters: c.deadLetters, NotSampled: c.notSampled,
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for i := range c.urls {
		u := &c.urls[i]
		r.URLs = append(r.URLs, urlReport{
			URL: destinations[i].name, Delivered: u.delivered, Failed: u.failed, Refused: u.refused,
			MeanMS: ms(u.latencies.mean()), P95MS: ms(u.latencies.quantile(0.95)), P99MS: ms(u.latencies.quantile(0.99)),
		})
	}
	return r
}

// line returns the report on one line.
func (r *httpReport) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s delivered, %d requeued", figures.Things(r.Delivered, "message"), r.Requeued)
	if r.DeadLetters > 0 {
		fmt.Fprintf(&b, ", %s", figures.Things(r.DeadLetters, "dead letter"))
	}
	if r.NotSampled > 0 {
		fmt.Fprintf(&b, ", %d not in the sample", r.NotSampled)
	}
	fmt.Fprintf(&b, " in %.1f s", r.Seconds)
	for _, u := range r.URLs {
		requests := u.Delivered + u.Failed + u.Refused
		fmt.Fprintf(&b, "; %s: %s", u.URL, figures.Things(requests, "request"))
		if requests > 0 {
			fmt.Fprintf(&b, ", %d failed, %d refused, mean %.1f ms, 95%% %.1f ms, 99%% %.1f ms",
				u.Failed, u.Refused, u.MeanMS, u.P95MS, u.P99MS)
		}
	}
	return b.String()
}

// latencies counts durations. Each power of two of nanoseconds is divided into eight
// buckets.
type latencies struct {
	n       int
	sum     time.Duration
	buckets [64 * 8]int
}

func (l *latencies) add(d time.Duration) {
	l.n++
	l.sum += d
	ns := uint64(max(d, 8)) // #nosec G115 -- positive
	exponent := bits.Len64(ns) - 1
	l.buckets[exponent*8+int(ns>>(exponent-3)&7)]++ // #nosec G115 -- below 8
}

func (l *latencies) mean() time.Duration {
	if l.n == 0 {
		return 0
	}
	return l.sum / time.Duration(l.n)
}

// quantile returns a duration that a share q of all did not exceed: the end of a bucket.
func (l *latencies) quantile(q float64) time.Duration {
	below := 0
	for i, n := range l.buckets {
		if below += n; n > 0 && float64(below) >= q*float64(l.n) {
			return time.Duration(9+i%8) << (i/8 - 3)
		}
	}
	return 0
}
