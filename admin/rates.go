package admin

import "time"

// Rates is what has happened between two Views, per second. An nsqd that is missing in one of
// them, or has restarted in between, is left out: its counts say nothing of that time.
type Rates struct {
	Interval time.Duration `json:"interval"`
	// Compared is the number of nsqds that both Views have.
	Compared int            `json:"compared"`
	Topics   []TopicRates   `json:"topics"`   // in the order of the later View
	Channels []ChannelRates `json:"channels"` // by topic, in the order of the later View
}

// TopicRates is what has happened to a topic, per second.
type TopicRates struct {
	Topic     string  `json:"topic"`
	Published float64 `json:"published"` // messages
	Bytes     float64 `json:"bytes"`
}

// ChannelRates is what has happened to a channel, per second.
type ChannelRates struct {
	Topic   string `json:"topic"`
	Channel string `json:"channel"`
	// In is how many messages came from the topic.
	In float64 `json:"in"`
	// Finished is how many messages left the channel: those that came and those that have
	// waited, less those that are still there. Requeues do not disturb it. Emptying the channel
	// looks the same, see Vanished.
	Finished float64 `json:"finished"`
	Requeued float64 `json:"requeued"`
	TimedOut float64 `json:"timed_out"`
	// Growth is by how much more messages wait, are in flight or deferred.
	Growth float64 `json:"growth"`
	// Vanished is how many messages waited, were in flight or deferred in the earlier View, if
	// there are none now: the channel was drained or emptied.
	Vanished int64 `json:"vanished,omitempty"`
	// Restarted reports whether an nsqd of the channel is left out because it has restarted.
	Restarted bool `json:"restarted,omitempty"`

	backlog int64 // what waits now
}

// Drain returns how long the channel takes to drain if all goes on like this. ok is false if
// it never does.
func (c ChannelRates) Drain() (d time.Duration, ok bool) {
	const longest = 100 * 365 * 24 * time.Hour
	switch {
	case c.backlog == 0:
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

// Between returns what has happened between an earlier View and a later one of the same
// Cluster. Rates are 0 if no time has passed.
func Between(earlier, later *View) *Rates {
	r := &Rates{Interval: later.At.Sub(earlier.At), Topics: []TopicRates{}, Channels: []ChannelRates{}}
	b := between{alive: make(map[string]bool), restarted: make(map[string]bool)}
	if r.Interval > 0 {
		b.perSecond = 1 / r.Interval.Seconds()
	}
	started := make(map[string]time.Time)
	for _, n := range earlier.NSQDs {
		if n.Error == "" {
			started[n.Addr] = n.Started
		}
	}
	for _, n := range later.NSQDs {
		before, there := started[n.Addr]
		switch {
		case n.Error != "" || !there:
		case before.Equal(n.Started):
			b.alive[n.Addr] = true
			r.Compared++
		default:
			b.restarted[n.Addr] = true
		}
	}
	former := make(map[string]*Topic, len(earlier.Topics))
	for i := range earlier.Topics {
		former[earlier.Topics[i].Name] = &earlier.Topics[i]
	}
	for i := range later.Topics {
		t := &later.Topics[i]
		before := former[t.Name]
		if before == nil {
			before = new(Topic)
		}
		r.Topics = append(r.Topics, b.topic(before, t))
		r.Channels = b.channels(r.Channels, before, t)
	}
	return r
}

// between compares two Views.
type between struct {
	perSecond float64
	alive     map[string]bool // nsqds that both Views have, and that have not restarted
	restarted map[string]bool
}

func (b *between) topic(earlier, later *Topic) TopicRates {
	r := TopicRates{Topic: later.Name}
	former := make(map[string]TopicCounts, len(earlier.NSQDs))
	for _, on := range earlier.NSQDs {
		former[on.NSQD] = on.TopicCounts
	}
	for _, on := range later.NSQDs {
		if b.alive[on.NSQD] {
			before := former[on.NSQD] // 0 for a new topic
			r.Published += b.rate(before.Messages, on.Messages)
			r.Bytes += b.rate(before.Bytes, on.Bytes)
		}
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
		if !b.alive[on.NSQD] {
			r.Restarted = r.Restarted || b.restarted[on.NSQD]
			continue
		}
		before := former[on.NSQD] // 0 for a new channel
		if on.Messages < before.Messages {
			before = ChannelCounts{} // it was deleted and made again
		}
		in, growth := b.rate(before.Messages, on.Messages), float64(on.Backlog()-before.Backlog())*b.perSecond
		r.In += in
		r.Growth += growth
		r.Finished += max(in-growth, 0) // nsqd does not read its counts at one instant
		r.Requeued += b.rate(before.Requeued, on.Requeued)
		r.TimedOut += b.rate(before.TimedOut, on.TimedOut)
		vanished += before.Backlog()
	}
	if r.backlog == 0 {
		r.Vanished = vanished
	}
	return r
}

// rate returns by how much a count has grown, per second. A lower count was begun anew, with
// the topic or channel.
func (b *between) rate(earlier, later uint64) float64 {
	if later < earlier {
		earlier = 0
	}
	return float64(later-earlier) * b.perSecond
}

// Backlog returns how many messages of the channel are not finished: they wait, are in flight
// or deferred.
func (c ChannelCounts) Backlog() int64 { return c.Depth + c.InFlight + c.Deferred }
