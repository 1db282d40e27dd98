package judge

import (
	"slices"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// placement is which nsqds have a topic or channel.
type placement struct {
	on      []string // those that had it in the last poll
	holders []string // the same, and those that have had it and do not respond
}

// place notes which nsqds have a topic or channel. same reports whether they are those of the
// poll before, and fresh whether one of them is new or has restarted, so that rates are not known.
func place[T any](p *placement, on []T, addr func(*T) string, nodes map[string]*node) (same, fresh bool) {
	same = len(on) == len(p.on)
	for i := range on {
		name := addr(&on[i])
		same = same && p.on[i] == name
		fresh = fresh || nodes[name] != nil && nodes[name].fresh
	}
	if same {
		return same, fresh
	}
	down := p.down(nodes)
	p.on = make([]string, 0, len(on))
	for i := range on {
		p.on = append(p.on, addr(&on[i]))
	}
	p.holders = slices.Concat(p.on, down)
	return same, fresh
}

// down returns the nsqds that have had the topic or channel and do not respond.
func (p *placement) down(nodes map[string]*node) []string {
	return slices.DeleteFunc(slices.Clone(p.holders), func(addr string) bool { return nodes[addr] == nil || nodes[addr].up })
}

// lacksAny reports whether one of them does not respond.
func (p *placement) lacksAny(nodes map[string]*node) bool {
	return slices.ContainsFunc(p.holders, func(addr string) bool { return nodes[addr] != nil && !nodes[addr].up })
}

// topic is what is remembered of a topic.
type topic struct {
	placement
	seen    time.Time
	samples samples // in is what was published, and finished its bytes
}

// add adds a poll.
func (t *topic) add(now *admin.Topic, rates *admin.TopicRates, interval time.Duration, nodes map[string]*node, at time.Time) {
	first := t.seen.IsZero()
	same, fresh := place(&t.placement, now.NSQDs, func(on *admin.TopicOn) string { return on.NSQD }, nodes)
	if !same || fresh {
		t.samples = samples{}
	}
	if rates != nil && !fresh && !first && interval > 0 {
		t.samples.add(sample{seconds: interval.Seconds(), in: rates.Published, finished: rates.Bytes})
	}
	t.seen = at
}

// row returns the topic for a report, without the sums of its channels.
func (t *topic) row(now *admin.Topic, lower bool) Topic {
	row := Topic{Name: now.Name, TopicCounts: now.TopicCounts, Channels: len(now.Channels), Lower: lower, Level: Fine}
	if r := t.samples.mean(); r != nil {
		row.RatesKnown, row.Published, row.Bytes = true, r.In, r.Finished
	}
	return row
}

// add adds a channel to the sums.
func (t *Topic) add(c *Channel) {
	t.Waiting += c.Depth
	t.Clients += c.ClientCount
	if c.Rates != nil {
		t.In += c.Rates.In
		t.Finished += c.Rates.Finished
	}
	if c.Level < t.Level {
		t.State, t.Level = c.State, c.Level
	}
}
