package main

import (
	"slices"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// noFigure stands in a table for a figure that there is not.
const noFigure = "–"

// statReport is what "rdy stat --json" prints.
type statReport struct {
	At       time.Time     `json:"at"`
	Interval float64       `json:"interval_seconds,omitempty"` // that the rates are of
	Topics   []statTopic   `json:"topics"`
	Channels []statChannel `json:"channels"` // of all topics
	Errors   []nodeError   `json:"errors"`
}

type statTopic struct {
	Topic string `json:"topic"`
	admin.TopicCounts
	Rates *topicRates `json:"rates,omitempty"`

	channels int
}

// topicRates is what has happened to a topic, per second.
type topicRates struct {
	Published float64 `json:"published"`
	Bytes     float64 `json:"bytes"`
}

type statChannel struct {
	Topic   string `json:"topic"`
	Channel string `json:"channel"`
	admin.ChannelCounts
	Rates *channelRates `json:"rates,omitempty"`
}

// channelRates is what has happened to a channel, per second. See admin.ChannelRates.
type channelRates struct {
	In           float64  `json:"in"`
	Finished     float64  `json:"finished"`
	Requeued     float64  `json:"requeued"`
	TimedOut     float64  `json:"timed_out"`
	Growth       float64  `json:"growth"`
	DrainSeconds *float64 `json:"drain_seconds"`      // nil: never
	Vanished     int64    `json:"vanished,omitempty"` // messages: drained or emptied
	Restarted    bool     `json:"restarted,omitempty"`
}

// newStatReport returns the report of a poll. before is the poll before it, nil if there are
// no rates.
func newStatReport(before, now *admin.View, err error) *statReport {
	r := &statReport{At: now.At.UTC(), Topics: []statTopic{}, Channels: []statChannel{}, Errors: nodeErrors(err)}
	var rates *admin.Rates
	var added map[string]bool
	if before != nil {
		if between := admin.Between(before, now); between.Compared > 0 {
			rates, r.Interval = between, between.Interval.Seconds()
			added = addedNSQDs(before, now)
		}
	}
	for i := range now.Topics {
		t := &now.Topics[i]
		row := statTopic{Topic: t.Name, TopicCounts: t.TopicCounts, channels: len(t.Channels)}
		isNew := func(on admin.TopicOn) bool { return added[on.NSQD] }
		if rates != nil && !slices.ContainsFunc(t.NSQDs, isNew) { // in the order of now.Topics
			row.Rates = &topicRates{rates.Topics[i].Published, rates.Topics[i].Bytes}
		}
		r.Topics = append(r.Topics, row)
		for j := range t.Channels {
			c := &t.Channels[j]
			row := statChannel{Topic: t.Name, Channel: c.Name, ChannelCounts: c.ChannelCounts}
			isNew := func(on admin.ChannelOn) bool { return added[on.NSQD] }
			if rates != nil && !slices.ContainsFunc(c.NSQDs, isNew) { // in the same order
				row.Rates = newChannelRates(rates.Channels[len(r.Channels)])
			}
			r.Channels = append(r.Channels, row)
		}
	}
	return r
}

// addedNSQDs returns the nsqds of now that before lacks. admin.Between leaves them out: rates
// of their channels would be too low, and the time to drain too long.
func addedNSQDs(before, now *admin.View) map[string]bool {
	added := make(map[string]bool)
	for _, n := range now.NSQDs {
		added[n.Addr] = n.Error == ""
	}
	for _, n := range before.NSQDs {
		if n.Error == "" {
			added[n.Addr] = false
		}
	}
	return added
}

func newChannelRates(r admin.ChannelRates) *channelRates {
	rates := &channelRates{
		In: r.In, Finished: r.Finished, Requeued: r.Requeued, TimedOut: r.TimedOut,
		Growth: r.Growth, Vanished: r.Vanished, Restarted: r.Restarted,
	}
	if drain, ok := r.Drain(); ok {
		seconds := drain.Seconds()
		rates.DrainSeconds = &seconds
	}
	return rates
}

// rows returns the table of channels. A topic gets a row of its own if messages wait in it or
// it has no channel.
func (r *statReport) rows(rates, partial bool) [][]string {
	header := []string{"topic", "channel", "depth", "in flight", "deferred", "requeued", "timed out", "clients", "paused"}
	if rates {
		header = append(header, "in/s", "finished/s", "drains in")
	}
	rows := [][]string{header}
	at := 0 // in r.Channels, which are in the order of r.Topics
	for _, t := range r.Topics {
		if t.Depth > 0 || t.Paused || t.channels == 0 {
			row := []string{t.Topic, noFigure, atLeast(t.Depth, partial), noFigure, noFigure, noFigure, noFigure, noFigure, yes(t.Paused)}
			if rates {
				row = append(row, noFigure, noFigure, noFigure)
			}
			rows = append(rows, row)
		}
		for _, c := range r.Channels[at : at+t.channels] {
			row := append([]string{c.Topic, c.Channel}, channelCells(c.ChannelCounts, partial)...)
			if rates {
				row = append(row, c.rateCells(partial)...)
			}
			rows = append(rows, row)
		}
		at += t.channels
	}
	return rows
}

// channelCells returns the cells for what nsqds count of a channel: those of depth to paused.
func channelCells(c admin.ChannelCounts, partial bool) []string {
	return []string{
		atLeast(c.Depth, partial), atLeast(c.InFlight, partial), atLeast(c.Deferred, partial),
		atLeast(int64(c.Requeued), partial), atLeast(int64(c.TimedOut), partial), // #nosec G115 -- counts from 0
		atLeast(int64(c.ClientCount), partial), yes(c.Paused),
	}
}

// atLeast returns a sum for people, marked if a daemon is missing from it.
func atLeast(n int64, partial bool) string { return marked(figures.Count(n), partial) }

// marked returns a figure, marked if a daemon is missing from it.
func marked(figure string, partial bool) string {
	if partial {
		return "≥ " + figure
	}
	return figure
}

// rateCells returns the cells of in/s, finished/s and drains in.
func (c *statChannel) rateCells(partial bool) []string {
	if c.Rates == nil || c.Rates.Restarted {
		return []string{noFigure, noFigure, noFigure}
	}
	return []string{marked(figures.Rate(c.Rates.In), partial), marked(figures.Rate(c.Rates.Finished), partial), c.drains(partial)}
}

// drains returns when the channel is empty if all goes on like this, or why it never is.
func (c *statChannel) drains(partial bool) string {
	if partial {
		return noFigure
	}
	return judge.DrainOf(c.ChannelCounts, c.Rates.In, c.Rates.Finished).String()
}

// yes returns the mark for what is so in a table.
func yes(is bool) string {
	if is {
		return "yes"
	}
	return ""
}
