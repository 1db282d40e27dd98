package admin

import (
	"cmp"
	"time"
)

// Rates is what happened between two Views, per second. It leaves out an nsqd that is missing in
// one of them or has restarted in between, because its counts do not tell what happened.
type Rates struct {
	// Interval is the time between the beginnings of the two Polls, in nanoseconds in JSON. The
	// rates of an nsqd are for the time between its two responses.
	Interval time.Duration `json:"interval"`
	// Compared is the number of nsqds that the rates include.
	Compared int            `json:"compared"`
	Topics   []TopicRates   `json:"topics"`   // in the order of the later View
	Channels []ChannelRates `json:"channels"` // by topic, in the order of the later View
}

// TopicRates is what happened to a topic, per second.
type TopicRates struct {
	Topic     string  `json:"topic"`
	Published float64 `json:"published"` // messages
	Bytes     float64 `json:"bytes"`
}

// ChannelRates is what happened to a channel, per second.
type ChannelRates struct {
	Topic   string `json:"topic"`
	Channel string `json:"channel"`
	// In is how many messages came from the topic.
	In float64 `json:"in"`
	// Finished is how many messages left the channel: those that came, minus the growth of the
	// backlog. Requeues do not change it. Most of these messages were acked. A message also
	// leaves when the channel is emptied (see Vanished), when nsqd skips it for a client with a
	// SampleRate, and when an ephemeral channel overflows.
	Finished float64 `json:"finished"`
	Requeued float64 `json:"requeued"`
	TimedOut float64 `json:"timed_out"`
	// Growth is by how much the backlog grew. It is negative if the backlog shrank.
	Growth float64 `json:"growth"`
	// Vanished is the backlog in the earlier View if the later one has none, else 0. The channel
	// was drained or emptied in between.
	Vanished int64 `json:"vanished,omitempty"`
	// Restarted means that the rates leave out an nsqd because it has restarted.
	Restarted bool `json:"restarted,omitempty"`

	backlog int64 // in the later View
}

// Drain returns how long the backlog of the later View takes to drain at these rates. ok is false
// if it never drains.
func (c ChannelRates) Drain() (d time.Duration, ok bool) {
	const longest = 100 * 365 * 24 * time.Hour
	switch {
	case c.backlog <= 0:
		return 0, true
	case c.Finished <= c.In:
		return 0, false
	}
	seconds := float64(c.backlog) / (c.Finished - c.In)
	if seconds > longest.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// Between returns what happened between an earlier View and a later one of the same Cluster. It
// leaves out topics and channels that the earlier View was not polled for. Rates are 0 if no time
// passed.
func Between(earlier, later *View) *Rates {
	r := &Rates{Interval: later.At.Sub(earlier.At), Topics: []TopicRates{}, Channels: []ChannelRates{}}
	b := between{earlier.scope, make(map[string]float64), make(map[string]bool)}
	former := make(map[string]NSQD)
	for _, n := range earlier.NSQDs {
		former[n.Addr] = n
	}
	for _, n := range later.NSQDs {
		before, there := former[n.Addr]
		switch {
		case n.Error != "" || !there || before.Error != "":
		case before.Started.Equal(n.Started):
			// Views that a test makes by hand may lack the times of nsqds.
			b.perSecond[n.Addr] = perSecond(cmp.Or(n.At, later.At).Sub(cmp.Or(before.At, earlier.At)))
			r.Compared++
		default:
			b.restarted[n.Addr] = true
		}
	}
	topics := make(map[string]*Topic, len(earlier.Topics))
	for i := range earlier.Topics {
		topics[earlier.Topics[i].Name] = &earlier.Topics[i]
	}
	for i := range later.Topics {
		t := &later.Topics[i]
		if b.scope.topic != "" && b.scope.topic != t.Name {
			continue
		}
		before := topics[t.Name]
		if before == nil {
			before = new(Topic)
		}
		r.Topics = append(r.Topics, b.topic(before, t))
		r.Channels = b.channels(r.Channels, before, t)
	}
	return r
}

// perSecond returns the factor that turns a difference into a rate.
func perSecond(d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return 1 / d.Seconds()
}

// between compares two Views.
type between struct {
	scope scope // of the earlier View
	// perSecond has the nsqds that both Views have and that have not restarted. The time between
	// their responses is not the time between the Views: a daemon that hangs delays requests to
	// others.
	perSecond map[string]float64
	restarted map[string]bool
}

func (b *between) topic(earlier, later *Topic) TopicRates {
	r := TopicRates{Topic: later.Name}
	former := make(map[string]TopicCounts, len(earlier.NSQDs))
	for _, on := range earlier.NSQDs {
		former[on.NSQD] = on.TopicCounts
	}
	for _, on := range later.NSQDs {
		before, there := former[on.NSQD] // 0 for a new topic
		if !there && b.scope.channel != "" {
			continue // the topic may be old, and the channel new
		}
		perSecond := b.perSecond[on.NSQD]
		r.Published += rate(before.Messages, on.Messages, perSecond)
		r.Bytes += rate(before.Bytes, on.Bytes, perSecond)
	}
	return r
}

func (b *between) channels(dst []ChannelRates, earlier, later *Topic) []ChannelRates {
	former := make(map[string]*Channel, len(earlier.Channels))
	for i := range earlier.Channels {
		former[earlier.Channels[i].Name] = &earlier.Channels[i]
	}
	for i := range later.Channels {
		c := &later.Channels[i]
		if b.scope.channel != "" && b.scope.channel != c.Name {
			continue
		}
		before := former[c.Name]
		if before == nil {
			before = new(Channel)
		}
		dst = append(dst, b.channel(later.Name, before, c))
	}
	return dst
}

func (b *between) channel(topic string, earlier, later *Channel) ChannelRates {
	r := ChannelRates{Topic: topic, Channel: later.Name, backlog: later.Backlog()}
	former := make(map[string]ChannelCounts, len(earlier.NSQDs))
	for _, on := range earlier.NSQDs {
		former[on.NSQD] = on.ChannelCounts
	}
	vanished := int64(0)
	for _, on := range later.NSQDs {
		perSecond, ok := b.perSecond[on.NSQD]
		if !ok {
			r.Restarted = r.Restarted || b.restarted[on.NSQD]
			continue
		}
		before := former[on.NSQD] // 0 for a new channel
		if on.Messages < before.Messages {
			before = ChannelCounts{} // it was deleted and created again
		}
		in, growth := rate(before.Messages, on.Messages, perSecond), float64(on.Backlog()-before.Backlog())*perSecond
		r.In += in
		r.Growth += growth
		r.Finished += max(in-growth, 0) // below 0, because nsqd does not read its counts at one instant
		r.Requeued += rate(before.Requeued, on.Requeued, perSecond)
		r.TimedOut += rate(before.TimedOut, on.TimedOut, perSecond)
		vanished += before.Backlog()
	}
	if r.backlog == 0 {
		r.Vanished = vanished
	}
	return r
}

// rate returns by how much a count has grown, per second. A lower count is that of a topic or
// channel that was deleted and created again.
func rate(earlier, later uint64, perSecond float64) float64 {
	if later < earlier {
		earlier = 0
	}
	return float64(later-earlier) * perSecond
}

// Backlog returns how many messages the channel holds: those that wait, those in flight and the
// deferred ones.
func (c ChannelCounts) Backlog() int64 { return c.Depth + c.InFlight + c.Deferred }
