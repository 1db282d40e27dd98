package ui

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// pageRows is how many rows a table shows, unless it is asked for all.
const pageRows = 100

// view is which channels a table shows, and in which order. It is in the page's address.
type view struct {
	Filter string // part of topic/channel; * stands for anything
	Only   string // needs, growing, paused or orphans; empty for all
	Sort   string // a column; with a minus the largest first
	All    bool   // more than pageRows rows
}

func viewOf(q url.Values) view {
	v := view{Filter: strings.TrimSpace(q.Get("q")), Only: q.Get("only"), Sort: q.Get("sort"), All: q.Get("all") != ""}
	if _, ok := only[v.Only]; !ok {
		v.Only = ""
	}
	if _, ok := columns[strings.TrimPrefix(v.Sort, "-")]; !ok {
		v.Sort = ""
	}
	return v
}

// query returns the address's query.
func (v view) query() string {
	q := make(url.Values)
	for _, p := range []struct{ key, value string }{{"q", v.Filter}, {"only", v.Only}, {"sort", v.Sort}} {
		if p.value != "" {
			q.Set(p.key, p.value)
		}
	}
	if v.All {
		q.Set("all", "1")
	}
	return q.Encode()
}

// Link returns the address of the overview with this view.
func (v view) Link() string {
	if q := v.query(); q != "" {
		return "/?" + q
	}
	return "/"
}

// only are the choices above the table.
var only = map[string]func(*judge.Channel) bool{
	"":        func(*judge.Channel) bool { return true },
	"needs":   func(c *judge.Channel) bool { return c.Level.NeedsYou() },
	"growing": (*judge.Channel).Growing,
	"paused":  func(c *judge.Channel) bool { return c.Paused },
	"orphans": func(c *judge.Channel) bool { return c.ClientCount == 0 },
}

// columns are those that order the table. "state" is the order when there is no other.
var columns = map[string]func(a, b *judge.Channel) int{
	"":      judge.Worse,
	"state": judge.Worse,
	"name": func(a, b *judge.Channel) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Name, b.Name))
	},
	"depth":    func(a, b *judge.Channel) int { return cmp.Compare(a.Depth, b.Depth) },
	"in":       byRate(func(r *judge.Rates) float64 { return r.In }),
	"finished": byRate(func(r *judge.Rates) float64 { return r.Finished }),
	"requeued": byRate((*judge.Rates).RequeuedShare),
	"drains":   func(a, b *judge.Channel) int { return cmp.Compare(drainRank(a), drainRank(b)) },
	"flight":   func(a, b *judge.Channel) int { return cmp.Compare(a.InFlight, b.InFlight) },
	"clients":  func(a, b *judge.Channel) int { return cmp.Compare(a.ClientCount, b.ClientCount) },
}

func byRate(of func(*judge.Rates) float64) func(a, b *judge.Channel) int {
	return func(a, b *judge.Channel) int {
		switch {
		case a.Rates == nil && b.Rates == nil:
			return 0
		case a.Rates == nil:
			return -1
		case b.Rates == nil:
			return 1
		}
		return cmp.Compare(of(a.Rates), of(b.Rates))
	}
}

// drainRank orders channels by when they drain: those that never do come last.
func drainRank(c *judge.Channel) float64 {
	switch c.Drain.Kind {
	case judge.DrainsIn:
		return c.Drain.Time.Seconds()
	case judge.DrainsLate:
		return 1e12
	case judge.DrainPaused, judge.NoClients:
		return 1e13
	case judge.DrainsNever:
		return 1e14
	}
	return 0
}

// matches reports whether a channel's name fits the filter.
func (v view) matches(c *judge.Channel) bool {
	return fits(strings.ToLower(v.Filter), strings.ToLower(c.Topic+"/"+c.Name))
}

// fits reports whether the parts of pattern between stars are in text, in their order.
func fits(pattern, text string) bool {
	for part := range strings.SplitSeq(pattern, "*") {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}

// rows returns the channels to show, and how many there are without the bound.
func (v view) rows(r *judge.Report) (names []judge.Name, total int) {
	var found []*judge.Channel
	for i := range r.Channels {
		if c := &r.Channels[i]; only[v.Only](c) && v.matches(c) {
			found = append(found, c)
		}
	}
	order, descending := strings.CutPrefix(v.Sort, "-")
	slices.SortStableFunc(found, func(a, b *judge.Channel) int {
		if descending {
			a, b = b, a
		}
		return cmp.Or(columns[order](a, b), columns["name"](a, b))
	})
	total = len(found)
	if !v.All {
		found = found[:min(len(found), pageRows)]
	}
	for _, c := range found {
		names = append(names, judge.Name{Topic: c.Topic, Channel: c.Name})
	}
	return names, total
}
