package ui

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

const (
	pageRows  = 100 // of a table, unless it is asked for all
	maxPage   = 1_000_000
	maxFilter = 200 // bytes of a filter: no name of a topic and channel is longer
)

// view is which channels or topics a table shows, and in which order. It is in the page's
// address.
type view struct {
	Filter string // part of topic/channel; * stands for anything
	Only   string // needs, growing, paused, orphans or ephemeral; empty for all but ephemeral ones
	Sort   string // a column; with a minus the largest first
	Range  string // of charts: 15m, 24h, or empty for an hour
	Topics bool
	Page   int  // from 1
	All    bool // all rows instead of one page
}

func viewOf(q url.Values) view {
	v := view{
		Filter: filterOf(q.Get("q")), Only: q.Get("only"), Sort: q.Get("sort"), Range: q.Get("range"),
		Topics: q.Get("view") == "topics", All: q.Get("page") == "all",
	}
	if _, ok := only[v.Only]; !ok || v.Topics {
		v.Only = ""
	}
	if _, ok := spans[v.Range]; !ok {
		v.Range = ""
	}
	key := strings.TrimPrefix(v.Sort, "-")
	_, ok := channelOrders[key]
	if v.Topics {
		_, ok = topicOrders[key]
	}
	if !ok {
		v.Sort = ""
	}
	page, _ := strconv.Atoi(q.Get("page"))
	v.Page = min(max(page, 1), maxPage)
	return v
}

// filterOf returns what a viewer has typed as a filter.
func filterOf(words string) string {
	return strings.TrimSpace(strings.ToValidUTF8(words[:min(len(words), maxFilter)], ""))
}

// query returns the address's query.
func (v view) query() string {
	q := make(url.Values)
	for _, p := range []struct{ key, value string }{{"q", v.Filter}, {"only", v.Only}, {"sort", v.Sort}, {"range", v.Range}} {
		if p.value != "" {
			q.Set(p.key, p.value)
		}
	}
	if v.Topics {
		q.Set("view", "topics")
	}
	switch {
	case v.All:
		q.Set("page", "all")
	case v.Page > 1:
		q.Set("page", strconv.Itoa(v.Page))
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

func ephemeral(c *judge.Channel) bool { return isEphemeral(c.Name) }

func isEphemeral(channel string) bool { return strings.HasSuffix(channel, "#ephemeral") }

// only are the choices above the table.
var only = map[string]func(*judge.Channel) bool{
	"":          func(c *judge.Channel) bool { return !ephemeral(c) },
	"needs":     func(c *judge.Channel) bool { return c.Level.NeedsYou() },
	"growing":   func(c *judge.Channel) bool { return c.Growing() && !ephemeral(c) },
	"paused":    func(c *judge.Channel) bool { return c.Paused },
	"orphans":   func(c *judge.Channel) bool { return c.ClientCount == 0 && !c.Lower },
	"ephemeral": ephemeral,
}

// channelOrders are the orders of channels. "state" is the one when there is no other.
var channelOrders = map[string]func(a, b *judge.Channel) int{
	"":         judge.Worse,
	"state":    judge.Worse,
	"name":     byName,
	"depth":    func(a, b *judge.Channel) int { return cmp.Compare(a.Depth, b.Depth) },
	"in":       byRate(func(r *judge.Rates) float64 { return r.In }),
	"finished": byRate(func(r *judge.Rates) float64 { return r.Finished }),
	"requeued": byRate((*judge.Rates).RequeuedShare),
	"drains":   func(a, b *judge.Channel) int { return cmp.Compare(drainRank(a), drainRank(b)) },
	"flight":   func(a, b *judge.Channel) int { return cmp.Compare(a.InFlight, b.InFlight) },
	"clients":  func(a, b *judge.Channel) int { return cmp.Compare(a.ClientCount, b.ClientCount) },
}

// topicOrders are the orders of topics.
var topicOrders = map[string]func(a, b *judge.Topic) int{
	"":          worseTopic,
	"state":     worseTopic,
	"name":      func(a, b *judge.Topic) int { return cmp.Compare(a.Name, b.Name) },
	"depth":     func(a, b *judge.Topic) int { return cmp.Compare(a.Waiting+a.Depth, b.Waiting+b.Depth) },
	"published": func(a, b *judge.Topic) int { return cmp.Compare(a.Published, b.Published) },
	"bytes":     func(a, b *judge.Topic) int { return cmp.Compare(a.Bytes, b.Bytes) },
	"in":        func(a, b *judge.Topic) int { return cmp.Compare(a.In, b.In) },
	"finished":  func(a, b *judge.Topic) int { return cmp.Compare(a.Finished, b.Finished) },
	"clients":   func(a, b *judge.Topic) int { return cmp.Compare(a.Clients, b.Clients) },
}

func worseTopic(a, b *judge.Topic) int {
	return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(b.Waiting+b.Depth, a.Waiting+a.Depth))
}

func byName(a, b *judge.Channel) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Name, b.Name))
}

// byRate orders channels by a rate: those whose rates are not known come first.
func byRate(of func(*judge.Rates) float64) func(a, b *judge.Channel) int {
	rate := func(c *judge.Channel) float64 {
		if c.Rates == nil {
			return -1
		}
		return of(c.Rates)
	}
	return func(a, b *judge.Channel) int { return cmp.Compare(rate(a), rate(b)) }
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

// rows returns the names of all rows, in their order.
func (v view) rows(r *judge.Report) []judge.Name {
	order, descending := strings.CutPrefix(v.Sort, "-")
	filter := strings.ToLower(v.Filter)
	if v.Topics {
		return names(r.Topics, func(t *judge.Topic) bool { return fits(filter, strings.ToLower(t.Name)) },
			topicOrders[order], topicOrders["name"], descending, func(t *judge.Topic) judge.Name { return judge.Name{Topic: t.Name} })
	}
	return names(r.Channels, v.shows(filter), channelOrders[order], byName, descending,
		func(c *judge.Channel) judge.Name { return judge.Name{Topic: c.Topic, Channel: c.Name} })
}

// shows returns whether a channel is in the table.
func (v view) shows(filter string) func(*judge.Channel) bool {
	return func(c *judge.Channel) bool {
		return only[v.Only](c) && fits(filter, strings.ToLower(c.Topic+"/"+c.Name))
	}
}

// names returns the names of those that are shown, in an order. Equal ones are in the order of
// their names.
func names[T any](all []T, shown func(*T) bool, order, byName func(a, b *T) int, descending bool, name func(*T) judge.Name) (names []judge.Name) {
	var found []*T
	for i := range all {
		if shown(&all[i]) {
			found = append(found, &all[i])
		}
	}
	slices.SortFunc(found, func(a, b *T) int {
		by := order(a, b)
		if descending {
			by = -by
		}
		return cmp.Or(by, byName(a, b))
	})
	for _, x := range found {
		names = append(names, name(x))
	}
	return names
}

// page returns the rows that are shown of all.
func (v view) page(all []judge.Name) []judge.Name {
	if v.All {
		return all
	}
	from := min((v.Page-1)*pageRows, len(all))
	return all[from:min(from+pageRows, len(all))]
}
