package judge

import (
	"fmt"
	"math"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
)

// channelRules judge a channel, a rule for each state.
var channelRules = []struct {
	state State
	polls int // that begin and end it; 0 means enough
	judge func(*channel, *observation) finding
}{
	{Stuck, 0, stuck},
	{Orphan, 0, orphan},
	{Starved, 0, starved},
	{Retrying, 0, retrying},
	{Growing, 0, growing},
	{Skewed, 0, skewed},
	{Draining, 0, draining},
	{Emptied, 1, emptied},
	{Saturated, 0, saturated},
	{Slow, 0, slow},
	{Paused, 1, paused},
}

const (
	requeuedLimit = 0.05 // of deliveries
	timedOutLimit = 0.01
	telling       = 200         // deliveries: a share of fewer says little
	quietFor      = time.Minute // without deliveries, after which earlier requeues are no problem
	skewLimit     = 3
	skewDepth     = 1000 // that the deepest nsqd has at least
)

// certainly reports whether part is more of all than the share, by more than chance explains: by
// two standard deviations.
func certainly(part, share, all float64) bool {
	return part > share*all+2*math.Sqrt(share*all)
}

// end returns the finding that a state is not so, if all nsqds have responded: a missing one may
// say otherwise.
func (o *observation) end() finding {
	if o.lower {
		return finding{}
	}
	return finding{verdict: good}
}

// works reports whether clients get messages of the channel.
func (o *observation) works() bool { return o.now.ClientCount > 0 && !o.now.Paused }

// waits reports whether more messages wait than in any channel at work.
func (o *observation) waits() bool {
	if o.rates == nil {
		return o.now.Depth > few(0)
	}
	return o.now.Depth > few(o.rates.In)
}

func (c *channel) describe() []string {
	return []string{"channel", "describe", c.name.Topic, c.name.Channel}
}

func (o *observation) wait() string    { return wait(o.now.Depth) }
func (o *observation) waiting() string { return waiting(o.now.Depth) }

// wait returns "8,412 wait".
func wait(n int64) string {
	return figures.Count(n) + " " + figures.Verb(int(min(n, 2)), "waits", "wait")
}

// waiting returns "8,412 messages wait".
func waiting(n int64) string {
	return fmt.Sprintf("%s %s %s", figures.Count(n), figures.Noun(n, "message"), figures.Verb(int(min(n, 2)), "waits", "wait"))
}

// patience returns how long nothing may be finished: twice the longest time in the last hour after
// which something was, but two minutes at most. A consumer that works in bursts is not stuck
// between two of them. A minute stands for what is not known.
func (c *channel) patience(at time.Time) time.Duration {
	const unknown, most = time.Minute, 2 * time.Minute
	gap := c.history.longestGap(at)
	if gap == 0 {
		return unknown
	}
	return min(2*gap, most)
}

func stuck(c *channel, o *observation) finding {
	since := c.quietSince()
	switch {
	case o.finished, !o.lower && (since.IsZero() || !o.works()):
		return finding{verdict: good}
	case since.IsZero(), o.last == nil: // this poll does not tell
		return finding{}
	}
	quiet := o.at.Sub(since)
	if quiet < c.patience(o.at) {
		return o.end()
	}
	long := figures.Duration(quiet)
	f := finding{
		verdict: bad, level: Critical, since: since, polls: c.quietPolls,
		text:    fmt.Sprintf("nothing finished for %s, %s", long, o.wait()),
		command: c.describe(),
	}
	f.advice = fmt.Sprintf("Nothing has finished for %s. %s and %s %s %s", long, o.waiting(),
		figures.Things(o.now.ClientCount, "connection"), figures.Verb(o.now.ClientCount, "holds", "hold"), figures.Count(o.now.InFlight))
	if rdy, known := c.clients.rdy(o.at); known {
		f.advice += fmt.Sprintf(" of RDY %s", figures.Count(rdy))
	}
	switch {
	case o.now.InFlight == 0:
		f.advice += ". The clients accept no messages: check whether they are backing off, are paused, or have too small a max_in_flight."
	case o.rates != nil && o.rates.TimedOut > 0:
		f.advice += fmt.Sprintf(". They time out: %s/s. See what the handlers wait for.", figures.Rate(o.rates.TimedOut))
	default:
		f.advice += ". No timeouts were counted: see what the handlers wait for. If the clients restart, nsqd delivers these messages again."
	}
	return f
}

func orphan(c *channel, o *observation) finding {
	if o.now.ClientCount > 0 || o.now.Paused {
		return finding{verdict: good}
	}
	if c.name.Channel == letters.DefaultChannel { // letters wait there until somebody looks at them
		return finding{verdict: good}
	}
	if o.now.Depth == 0 {
		return o.end()
	}
	f := finding{verdict: bad, level: Warning, text: "no clients, " + o.wait(), command: []string{"channel", "delete", c.name.Topic, c.name.Channel}}
	grows := o.rates != nil && o.rates.Growth > 0
	if grows {
		f.text = fmt.Sprintf("no clients, grows %s/s", figures.Rate(o.rates.Growth))
	}
	f.advice = fmt.Sprintf("No client is subscribed, and %s.", o.waiting())
	if o.now.DiskDepth > 0 {
		f.level = Critical
		f.text += ", on disk"
		f.advice += fmt.Sprintf(" %s of them are on disk", figures.Count(o.now.DiskDepth))
		if grows {
			f.advice += ", and the disk is filling up"
		}
		f.advice += "."
	}
	f.advice += " Start the consumers. If the channel is no longer needed, delete it and its messages."
	return f
}

func retrying(c *channel, o *observation) finding {
	if o.rates == nil || o.last == nil {
		return finding{}
	}
	d := c.delivered()
	manyRequeued, manyTimedOut := certainly(d.requeued, requeuedLimit, d.all), certainly(d.timedOut, timedOutLimit, d.all)
	switch {
	case d.requeued <= requeuedLimit*d.all && d.timedOut <= timedOutLimit*d.all, o.at.Sub(d.last) >= quietFor:
		return o.end()
	case !(manyRequeued && o.last.requeued > 0) && !(manyTimedOut && o.last.timedOut > 0):
		return finding{} // what is counted is of the polls before: once is no problem
	}
	f := finding{verdict: bad, level: Warning, command: c.describe()}
	if manyRequeued {
		requeued := figures.Share(d.requeued / d.all)
		f.text, f.advice = requeued+" requeued", fmt.Sprintf("Clients requeue %s of deliveries.", requeued)
	}
	if manyTimedOut {
		if f.text != "" {
			f.text, f.advice = f.text+", ", f.advice+" "
		}
		timedOut := figures.Share(d.timedOut / d.all)
		f.text += timedOut + " timed out"
		f.advice += fmt.Sprintf("%s of deliveries time out, and nsqd delivers those messages again.", timedOut)
	}
	if o.drain.Kind == DrainsNever {
		f.text += ", never drains"
	}
	f.advice += " See the clients' logs for the reason."
	if manyTimedOut {
		f.advice += " Touch messages that take long to handle, or raise msg_timeout."
	}
	return f
}

func growing(c *channel, o *observation) finding {
	if o.rates == nil {
		return finding{}
	}
	if !o.works() || !o.waits() {
		return o.end()
	}
	if o.at.Sub(c.sameSince) < growsFor || o.at.Sub(c.busySince) < growsFor || c.isStuck() {
		return finding{} // what has grown while there were no clients is not meant
	}
	minutes := int64(growsFor / time.Minute)
	then, least := c.history.before(o.at, minutes)
	switch {
	case least <= few(o.rates.In), o.now.Depth <= then:
		return o.end()
	case o.drain.Kind != DrainsNever:
		return finding{} // it may be for one poll only
	}
	return finding{
		verdict: bad, level: Warning,
		text: fmt.Sprintf("grows %s/s, never drains, %s", figures.Rate(o.rates.Growth), o.wait()),
		advice: fmt.Sprintf("%s. For at least five minutes they have come in faster than they finish: now %s/s against %s/s. "+
			"Add consumers, or raise their concurrency and max_in_flight.", o.waiting(), figures.Rate(o.rates.In), figures.Rate(o.rates.Finished)),
		command: c.describe(),
	}
}

func skewed(c *channel, o *observation) finding {
	if o.lower {
		return finding{}
	}
	deepest := &o.now.NSQDs[0]
	for i := range o.now.NSQDs {
		if o.now.NSQDs[i].Depth > deepest.Depth {
			deepest = &o.now.NSQDs[i]
		}
	}
	if s := skew(o.now.NSQDs); !o.works() || s <= skewLimit || deepest.Depth < skewDepth {
		return finding{verdict: good}
	}
	return finding{
		verdict: bad, level: Warning,
		text: fmt.Sprintf("%s of %s wait on %s", figures.Count(deepest.Depth), figures.Count(o.now.Depth), deepest.NSQD),
		advice: fmt.Sprintf("%s of the %s waiting messages are on %s. Producers publish more to it, or clients take less from it: "+
			"check that all clients are connected to it, and what RDY they give it.", figures.Count(deepest.Depth), figures.Count(o.now.Depth), deepest.NSQD),
		command: c.describe(),
	}
}

func draining(_ *channel, o *observation) finding {
	switch {
	case o.rates == nil, o.lower:
		return finding{}
	case o.drain.Kind != DrainsIn:
		return finding{verdict: good}
	}
	return finding{
		verdict: bad, level: Notice,
		text:   fmt.Sprintf("%s, drains in %s", o.wait(), o.drain),
		advice: fmt.Sprintf("%s, and more finish than come in. At these rates the channel drains in %s.", o.waiting(), o.drain),
	}
}

func emptied(c *channel, o *observation) finding {
	if c.emptied.IsZero() || o.at.Sub(c.emptied) >= factFor {
		return finding{verdict: good}
	}
	return finding{
		verdict: bad, level: Notice, since: c.emptied,
		text: fmt.Sprintf("emptied of about %s", figures.Count(c.emptiedOf)),
		advice: fmt.Sprintf("About %s messages left the channel between two polls, many more than its clients finish. "+
			"Somebody emptied it, or deleted and created it again. nsqd does not record who.", figures.Count(c.emptiedOf)),
	}
}

func paused(c *channel, o *observation) finding {
	if !o.now.Paused {
		return o.end()
	}
	return finding{
		verdict: bad, level: ByChoice, text: "paused, " + o.wait(),
		advice:  fmt.Sprintf("The channel is paused: clients get no messages, and %s.", o.waiting()),
		command: []string{"channel", "unpause", c.name.Topic, c.name.Channel},
	}
}
