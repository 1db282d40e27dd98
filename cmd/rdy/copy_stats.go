package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// copyStats counts what becomes of messages, for the lines of --status-every and for the one
// at the end.
type copyStats struct {
	every int // messages between two lines; 0 means only one at the end

	mu     sync.Mutex // guards the fields below
	total  copyCounts
	latest copyCounts // since the last line
}

// copyCounts is what a line reports.
type copyCounts struct {
	since       time.Time
	copied      int // messages whose copies are stored
	published   int // their copies
	filtered    int // messages of which --jq has made nothing
	invalid     int // messages that were to be copied although --jq failed
	notSampled  int // messages that were finished without a copy
	requeued    int // deliveries that ended with a requeue
	deadLetters int
}

func newCopyStats(every int, now time.Time) *copyStats {
	return &copyStats{every: every, total: copyCounts{since: now}, latest: copyCounts{since: now}}
}

// count counts the ends of deliveries: change changes the counts. If a line is due, count
// returns its report.
func (s *copyStats) count(change func(*copyCounts), now time.Time) *copyReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.total)
	change(&s.latest)
	l := s.latest
	if s.every == 0 || l.copied+l.filtered+l.notSampled+l.requeued+l.deadLetters < s.every {
		return nil
	}
	s.latest = copyCounts{since: now}
	return l.report(now, false)
}

// end returns the report of the whole run.
func (s *copyStats) end(now time.Time) *copyReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total.report(now, true)
}

// copyReport is what --json prints.
type copyReport struct {
	Final       bool       `json:"final"`   // the whole run; otherwise what happened since the last line
	Seconds     float64    `json:"seconds"` // the time that it covers
	Copied      int        `json:"copied"`
	Published   int        `json:"published"`
	Filtered    int        `json:"filtered"`
	Invalid     int        `json:"invalid"`
	NotSampled  int        `json:"not_sampled"`
	Requeued    int        `json:"requeued"`
	DeadLetters int        `json:"dead_letters"`
	NSQDs       []copiedTo `json:"nsqds,omitempty"` // of the final report
}

// copiedTo is what became of the copies at an nsqd. It counts tries.
type copiedTo struct {
	NSQD      string `json:"nsqd"`
	Published uint64 `json:"published"`
	Refused   uint64 `json:"refused"`
	NotSent   uint64 `json:"not_sent"`
	Unknown   uint64 `json:"unknown"`
}

func (c copyCounts) report(now time.Time, final bool) *copyReport {
	return &copyReport{
		Final: final, Seconds: now.Sub(c.since).Seconds(), Copied: c.copied, Published: c.published, Filtered: c.filtered,
		Invalid: c.invalid, NotSampled: c.notSampled, Requeued: c.requeued, DeadLetters: c.deadLetters,
	}
}

// line returns the report on one line.
func (r *copyReport) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s copied, %d requeued", figures.Things(r.Copied, "message"), r.Requeued)
	for _, of := range []struct {
		n    int
		what string
	}{
		{r.Filtered, "filtered"}, {r.Invalid, "invalid for --jq"}, {r.NotSampled, "not in the sample"}, {r.DeadLetters, "dead letters"},
	} {
		if of.n > 0 {
			fmt.Fprintf(&b, ", %d %s", of.n, of.what)
		}
	}
	fmt.Fprintf(&b, " in %.1f s", r.Seconds)
	for _, n := range r.NSQDs {
		fmt.Fprintf(&b, "; %s: %d published, %d refused, %d not sent, %d unknown", n.NSQD, n.Published, n.Refused, n.NotSent, n.Unknown)
	}
	return b.String()
}
