package judge

import (
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// sample is what happened to a channel between two polls. Its rates are per second. finished may
// be negative: nsqd does not read its counts at one instant.
type sample struct {
	seconds                          float64
	in, finished, requeued, timedOut float64
}

// samples are the last ones, the oldest first.
type samples struct {
	ring [window]sample
	n    int
}

func (s *samples) add(x sample) {
	if s.n == window {
		copy(s.ring[:], s.ring[1:])
		s.n--
	}
	s.ring[s.n] = x
	s.n++
}

// mean returns the mean rates, nil if there is no sample.
func (s *samples) mean() *Rates {
	if s.n == 0 {
		return nil
	}
	var sum sample
	for _, x := range s.ring[:s.n] {
		sum.seconds += x.seconds
		sum.in += x.in * x.seconds
		sum.finished += x.finished * x.seconds
		sum.requeued += x.requeued * x.seconds
		sum.timedOut += x.timedOut * x.seconds
	}
	return &Rates{
		In: sum.in / sum.seconds, Finished: max(sum.finished/sum.seconds, 0),
		Requeued: sum.requeued / sum.seconds, TimedOut: sum.timedOut / sum.seconds,
		Growth: (sum.in - sum.finished) / sum.seconds,
	}
}

// deliveries are messages that were delivered, and what became of them.
type deliveries struct {
	all, requeued, timedOut float64
	last                    time.Time // when a poll found some
}

func (d *deliveries) add(x sample) {
	requeued, timedOut := x.requeued*x.seconds, x.timedOut*x.seconds
	d.all += max(x.finished*x.seconds, 0) + requeued + timedOut
	d.requeued += requeued
	d.timedOut += timedOut
}

// follow adds a sample, and forgets older deliveries in proportion: a sample of as many as telling
// replaces all of them.
func (d *deliveries) follow(x sample, at time.Time) {
	before := *d
	*d = deliveries{last: before.last}
	d.add(x)
	if d.all > 0 {
		d.last = at
	}
	keep := max(1-d.all/telling, 0)
	d.all, d.requeued, d.timedOut = d.all+keep*before.all, d.requeued+keep*before.requeued, d.timedOut+keep*before.timedOut
}

// delivered returns the deliveries of the last polls or, if they are fewer than telling, the recent
// ones.
func (c *channel) delivered() deliveries {
	d := deliveries{last: c.recent.last}
	for _, x := range c.samples.ring[:c.samples.n] {
		d.add(x)
	}
	if d.all < telling {
		return c.recent
	}
	return d
}

// channel is what is remembered of a channel.
type channel struct {
	name    Name
	tracks  tracks
	history history
	samples samples
	recent  deliveries // about as many as telling, since the rates are known
	seen    time.Time  // when an nsqd was seen to have it last

	counts admin.ChannelCounts // when it was seen last
	closed bool                // it was paused then, on all nsqds
	placement
	// sameSince is since when it is on these nsqds, and none has restarted. It is born if no poll
	// has seen that change.
	born, sameSince time.Time

	// done counts finished messages from when sameSince. doneMost is the most it has been:
	// nsqd does not read its counts at one instant, so done wavers by a few messages.
	done, doneMost float64
	lastFinished   time.Time // zero if none was seen
	// busySince is since when clients have, or could have, messages, and waitSince since when
	// messages wait all the same. They are zero if it is not so.
	busySince, waitSince time.Time
	quietPolls           int // polls since something was finished, or since waitSince

	emptied   time.Time // when it was emptied last
	emptiedOf int64     // of how many messages

	clients *programs // nil unless they were polled lately
}

func (c *channel) ephemeral() bool { return strings.HasSuffix(c.name.Channel, "#ephemeral") }

// observation is what a poll says of a channel.
type observation struct {
	at    time.Time
	now   *admin.Channel
	rates *Rates // the mean, nil if not known
	// last is what happened since the poll before, nil if that is not known.
	last     *sample
	finished bool // something was finished or requeued since the poll before
	lower    bool
	drain    Drain
	nodes    map[string]*node
}

// observe adds a poll. before is when the poll before was.
func (c *channel) observe(now *admin.Channel, rates *admin.ChannelRates, interval time.Duration, nodes map[string]*node, before, at time.Time) *observation {
	o := &observation{at: at, now: now, nodes: nodes}
	first := c.seen.IsZero()
	if first {
		c.born = at
	}
	same, fresh := place(&c.placement, now.NSQDs, func(on *admin.ChannelOn) string { return on.NSQD }, nodes)
	if !same || fresh {
		c.samples, c.recent, c.done, c.doneMost, c.sameSince = samples{}, deliveries{}, 0, 0, at
	}
	if !c.seen.Equal(before) && !c.isStuck() { // nobody knows what happened meanwhile
		c.busySince, c.waitSince, c.quietPolls = time.Time{}, time.Time{}, 0
	}
	if rates != nil && !fresh && !first && interval > 0 {
		s := sample{seconds: interval.Seconds(), in: rates.In, finished: rates.In - rates.Growth, requeued: rates.Requeued, timedOut: rates.TimedOut}
		if lost := c.lost(now, s, same, at); lost > 0 {
			c.emptied, c.emptiedOf, c.samples, c.recent = at, lost, samples{}, deliveries{}
			c.lastFinished, c.quietPolls = at, 0 // there is nothing left to be stuck with
		} else {
			c.samples.add(s)
			c.recent.follow(s, at)
			c.history.rate(at, s.seconds, s.in, s.finished)
			o.last = &s
			c.progress(o)
		}
	}
	o.rates = c.samples.mean()
	if o.rates == nil {
		o.drain = drainWithoutRates(now.ChannelCounts)
	} else {
		o.drain = DrainOf(now.ChannelCounts, o.rates.In, o.rates.Finished)
	}
	c.watch(o)
	c.history.depth(at, now.Depth)
	c.counts, c.closed, c.seen = now.ChannelCounts, closed(now), at
	return o
}

// progress notes whether something was finished or requeued. A client that requeues all it gets is
// not stuck: it fails.
func (c *channel) progress(o *observation) {
	const some = 0.5 // of a message: rates are not exact
	c.done += o.last.finished * o.last.seconds
	o.finished = c.done > c.doneMost+some || o.last.requeued > 0
	c.doneMost = max(c.doneMost, c.done)
}

// watch notes how long nothing is finished.
func (c *channel) watch(o *observation) {
	work := o.now.ClientCount > 0 && !o.now.Paused
	inARow := !c.lastFinished.IsZero() && c.lastFinished.Equal(c.seen)
	start := o.at
	if inARow {
		start = c.lastFinished // what waits now has come since
	}
	since(&c.busySince, work && o.now.Depth+o.now.InFlight > 0, start)
	if c.waitSince.IsZero() {
		c.quietPolls = 0
	}
	since(&c.waitSince, work && o.now.Depth > 0, start)
	if !o.finished {
		c.quietPolls++
		return
	}
	// In a row, there may be nothing left at the time of a poll.
	if busy := !c.busySince.IsZero() && !c.lastFinished.Before(c.busySince); (inARow || busy) && !c.isStuck() {
		c.history.gap(o.at, o.at.Sub(c.lastFinished))
	}
	c.lastFinished, c.quietPolls = o.at, 0
}

// since notes since when something is so.
func since(t *time.Time, so bool, at time.Time) {
	switch {
	case !so:
		*t = time.Time{}
	case t.IsZero():
		*t = at
	}
}

func (c *channel) isStuck() bool {
	return slices.ContainsFunc(c.tracks, func(t *track) bool { return t.state == Stuck && t.begun })
}

// quietSince returns since when messages wait and none is finished. It is zero if none waits.
func (c *channel) quietSince() time.Time {
	if !c.waitSince.IsZero() && c.lastFinished.After(c.waitSince) {
		return c.lastFinished
	}
	return c.waitSince
}

// lost returns how many messages were deleted since the poll before: more have left than clients
// can have finished. nsqd does not count them.
func (c *channel) lost(now *admin.Channel, s sample, same bool, at time.Time) int64 {
	const (
		certain = 10   // messages, more than counts waver by
		many    = 1000 // messages, of which it is told if clients are there
		far     = 10   // times the best rate of the last hour
	)
	if !same || c.ephemeral() { // nsqd drops what is too much for an ephemeral channel
		return 0
	}
	// Those in flight may be finished in any case, and what came since is not meant.
	left := min(int64(s.finished*s.seconds)-c.counts.InFlight, c.counts.Depth+c.counts.Deferred)
	idle := c.counts.ClientCount == 0 && now.ClientCount == 0 || c.closed && closed(now)
	switch {
	case idle && left >= certain:
		return left
	case idle, now.ClientCount > c.counts.ClientCount, c.counts.Paused:
		return 0 // new clients may be fast
	case c.samples.n < window, left < many, now.Backlog() > c.counts.Backlog()/far:
		return 0
	case float64(left) < far*c.history.best(at)*s.seconds:
		return 0
	}
	return left
}

// closed reports whether a channel is paused on all nsqds.
func closed(c *admin.Channel) bool {
	return !slices.ContainsFunc(c.NSQDs, func(on admin.ChannelOn) bool { return !on.Paused })
}

// row returns the channel for a report.
func (c *channel) row(now *admin.Channel, o *observation) Channel {
	return Channel{
		Topic: c.name.Topic, Name: c.name.Channel, ChannelCounts: now.ChannelCounts, Rates: o.rates, Drain: o.drain,
		Lower: o.lower, Skew: skew(now.NSQDs), NSQDs: now.NSQDs, History: c.history.points(o.at), Clients: c.clients.rows(o.at),
	}
}

// skew returns the depth of the deepest nsqd, divided by the mean of the others, or by 1 if that is
// less. Those that never had a message are left out.
func skew(on []admin.ChannelOn) float64 {
	var sum, most int64
	n := 0
	for i := range on {
		if on[i].Messages > 0 {
			sum, most, n = sum+on[i].Depth, max(most, on[i].Depth), n+1
		}
	}
	if n < 2 {
		return 0
	}
	return float64(most) / max(float64(sum-most)/float64(n-1), 1)
}
