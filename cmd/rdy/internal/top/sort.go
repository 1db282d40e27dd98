package top

import (
	"cmp"
	"slices"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// sorting is what rows are sorted by.
type sorting string

// The orders. All but byState and byName put the highest figure first.
const (
	byState    sorting = "state" // the worst first, then the deepest
	byName     sorting = "name"
	byDepth    sorting = "depth"
	byIn       sorting = "in"
	byOut      sorting = "out"
	byDrain    sorting = "drain"
	byClients  sorting = "clients"
	byChannels sorting = "channels"
	byBytes    sorting = "bytes"
)

// The orders that a key goes through.
var (
	channelSortings = []sorting{byState, byName, byDepth, byIn, byOut, byDrain, byClients}
	topicSortings   = []sorting{byState, byName, byChannels, byDepth, byIn, byBytes, byClients}
)

// nextSorting returns the order that is n further in a list.
func nextSorting(orders []sorting, s sorting, n int) sorting {
	return orders[(slices.Index(orders, s)+n+len(orders))%len(orders)]
}

// sortedChannels returns the names of the channels of a report in an order.
func sortedChannels(r *judge.Report, by sorting) []subject {
	rows := make([]*judge.Channel, len(r.Channels))
	for i := range r.Channels {
		rows[i] = &r.Channels[i]
	}
	slices.SortFunc(rows, func(a, b *judge.Channel) int {
		return cmp.Or(compareChannels(a, b, by), judge.Worse(a, b))
	})
	order := make([]subject, len(rows))
	for i, c := range rows {
		order[i] = subject{c.Topic, c.Name}
	}
	return order
}

func compareChannels(a, b *judge.Channel, by sorting) int {
	rate := func(of func(*judge.Rates) float64) int { return cmp.Compare(rateOf(b, of), rateOf(a, of)) }
	switch by {
	case byName:
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Name, b.Name))
	case byDepth:
		return cmp.Compare(b.Depth, a.Depth)
	case byIn:
		return rate(func(r *judge.Rates) float64 { return r.In })
	case byOut:
		return rate(func(r *judge.Rates) float64 { return r.Finished })
	case byDrain:
		return cmp.Or(cmp.Compare(drainRank(b.Drain), drainRank(a.Drain)), cmp.Compare(b.Drain.Time, a.Drain.Time))
	case byClients:
		return cmp.Compare(b.ClientCount, a.ClientCount)
	}
	return 0
}

// rateOf returns a rate, -1 if it is not known.
func rateOf(c *judge.Channel, of func(*judge.Rates) float64) float64 {
	if c.Rates == nil {
		return -1
	}
	return of(c.Rates)
}

// drainRank orders the kinds of drains: those that last longest are the highest.
func drainRank(d judge.Drain) int {
	return slices.Index([]judge.DrainKind{
		judge.DrainUnknown, judge.DrainsEmpty, judge.KeepsUp, judge.DrainsIn, judge.DrainsLate, judge.DrainPaused, judge.NoClients, judge.DrainsNever,
	}, d.Kind)
}

// sortedTopics returns the names of the topics of a report in an order.
func sortedTopics(r *judge.Report, by sorting) []subject {
	rows := make([]*judge.Topic, len(r.Topics))
	for i := range r.Topics {
		rows[i] = &r.Topics[i]
	}
	slices.SortFunc(rows, func(a, b *judge.Topic) int {
		return cmp.Or(compareTopics(a, b, by), cmp.Compare(a.Level, b.Level), cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(a.Name, b.Name))
	})
	order := make([]subject, len(rows))
	for i, t := range rows {
		order[i] = subject{topic: t.Name}
	}
	return order
}

func compareTopics(a, b *judge.Topic, by sorting) int {
	switch by {
	case byName:
		return cmp.Compare(a.Name, b.Name)
	case byChannels:
		return cmp.Compare(b.Channels, a.Channels)
	case byDepth:
		return cmp.Compare(b.Waiting, a.Waiting)
	case byIn:
		return cmp.Compare(b.Published, a.Published)
	case byBytes:
		return cmp.Compare(b.Bytes, a.Bytes)
	case byClients:
		return cmp.Compare(b.Clients, a.Clients)
	}
	return 0
}
