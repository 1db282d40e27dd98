package top

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// The kinds of Events.
const (
	Summary = "summary"
	Began   = "began"
	Ended   = "ended"
)

// Event is a line of Plain.
type Event struct {
	At    time.Time `json:"at"`
	Event string    `json:"event"` // Summary, Began or Ended
	Name  string    `json:"cluster"`
	// Figures are of a Summary.
	Figures *judge.Cluster `json:"figures,omitempty"`
	// Problem is what began or ended.
	Problem *judge.Problem `json:"problem,omitempty"`

	early bool // there were too few polls for a verdict
}

// String returns the event as a line for people.
func (e Event) String() string {
	at := e.At.Local().Format(time.TimeOnly)
	switch p, c := e.Problem, e.Figures; e.Event {
	case Began:
		return fmt.Sprintf("%s %s: %s: %s.", at, p.State, clean(p.String()), clean(p.Text))
	case Ended:
		return fmt.Sprintf("%s ended: %s: %s, after %s.", at, p.State, clean(p.String()), figures.Duration(p.Ended.Sub(p.Since)))
	default:
		text := fmt.Sprintf("%s %s: %s. Waiting %s. In %s/s. Finished %s/s. nsqd %d of %d.", at, clean(e.Name), needing(c, e.early),
			count(c.Waiting, c.Lower), atLeast(figures.Rate(c.In), c.Lower), atLeast(figures.Rate(c.Finished), c.Lower), c.NSQDs, c.KnownNSQDs)
		if c.Lookupds < c.KnownLookupds {
			text += fmt.Sprintf(" nsqlookupd %d of %d.", c.Lookupds, c.KnownLookupds)
		}
		return text
	}
}

// needing returns how much needs the user: "4 channels need you". early means that this is not known
// yet.
func needing(c *judge.Cluster, early bool) string {
	channels, daemons := c.ChannelsNeedYou, c.DaemonsNeedYou
	switch {
	case channels > 0 && daemons > 0:
		return fmt.Sprintf("%s and %s need you", figures.Things(channels, "channel"), figures.Things(daemons, "daemon"))
	case channels > 0:
		return fmt.Sprintf("%s %s you", figures.Things(channels, "channel"), figures.Verb(channels, "needs", "need"))
	case daemons > 0:
		return fmt.Sprintf("%s %s you", figures.Things(daemons, "daemon"), figures.Verb(daemons, "needs", "need"))
	case c.NSQDs == 0:
		return "no nsqd responds"
	case early:
		return "judging"
	}
	return "all channels keep up"
}

// Plain tells print of each problem that begins or ends, and of a summary as soon as rates are
// known and then every so often. It tells warn why daemons do not respond, when that changes. It
// returns when ctx ends, or with the error of print; an Output that was closed is none.
func Plain(ctx context.Context, o Options, every time.Duration, print func(Event) error, warn func(string)) error {
	j := judge.New()
	failing, summed := "", time.Time{}
	for polls := 1; ; polls++ {
		p := ask(ctx, &o, j, subject{})
		if p.canceled {
			return nil
		}
		if p.failing != failing {
			failing = p.failing
			warn(failing)
		}
		events := changes(p.report)
		if p.report.Cluster.RatesKnown && (summed.IsZero() || p.report.At.Sub(summed) >= every) {
			summed = p.report.At
			events = append(events, Event{At: p.report.At, Event: Summary, Figures: &p.report.Cluster, early: polls < recentReports-1})
		}
		for _, e := range events {
			e.Name = o.name()
			if err := print(e); err != nil {
				if errors.Is(err, syscall.EPIPE) {
					return nil // the program that reads the lines has had enough
				}
				return err
			}
		}
		select {
		case <-time.After(o.Interval - time.Since(p.began)):
		case <-ctx.Done():
			return nil
		}
	}
}

// changes returns the events of problems.
func changes(r *judge.Report) []Event {
	var events []Event
	for i := range r.Ended {
		events = append(events, Event{At: r.At, Event: Ended, Problem: &r.Ended[i]})
	}
	for i := range r.Began {
		events = append(events, Event{At: r.At, Event: Began, Problem: &r.Began[i]})
	}
	return events
}
