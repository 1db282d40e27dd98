package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

const (
	clientsFor = 30 * time.Second // how long a poll of clients is told
	slowShare  = 0.25             // of what the others finish with the same RDY
)

// programs are the programs that have subscribed to a channel, as the last poll of them says. A
// nil *programs was never polled.
type programs struct {
	at     time.Time
	unread bool // no poll of all channels was judged since
	byKey  map[programKey]*program
	finish map[connKey]counted // by connection
	ready  map[string]int64    // RDY by nsqd
}

type programKey struct{ id, host string }

type connKey struct {
	nsqd, remote string
	connected    time.Time
}

// counted is what nsqd counts for a connection.
type counted struct{ finished, requeued uint64 }

// program is a client id on a host.
type program struct {
	row          Client
	samples      samples
	lastFinished time.Time
}

// AddClients adds the result of PollClients for a topic, a channel, or all. Call it before the Add
// of the next View: that one judges it. Channels that the Judge has not seen are left out.
func (j *Judge) AddClients(view *admin.View) {
	for i := range view.Topics {
		for k := range view.Topics[i].Channels {
			c := &view.Topics[i].Channels[k]
			memory := j.channels[Name{view.Topics[i].Name, c.Name}]
			if memory == nil || len(c.Clients) == 0 && c.ClientCount > 0 { // the latter is not of PollClients
				continue
			}
			if memory.clients == nil || view.At.Sub(memory.clients.at) > clientsFor {
				memory.clients = new(programs)
			}
			memory.clients.add(c.Clients, view.At)
		}
	}
}

// add adds a poll.
func (p *programs) add(clients []admin.Client, at time.Time) {
	interval := at.Sub(p.at)
	first := p.at.IsZero()
	before, connections := p.byKey, p.finish
	p.at, p.unread = at, true
	p.byKey, p.finish, p.ready = make(map[programKey]*program), make(map[connKey]counted, len(clients)), make(map[string]int64)
	news := make(map[*program]sample)
	for i := range clients {
		c := &clients[i]
		key := programKey{c.ID, c.Hostname}
		now := p.byKey[key]
		if now == nil {
			now = new(program)
			if was := before[key]; was != nil {
				now.samples, now.lastFinished = was.samples, was.lastFinished
			}
			p.byKey[key] = now
		}
		now.add(c)
		p.ready[c.NSQD] += c.RDY
		conn := connKey{c.NSQD, c.RemoteAddr, c.Connected}
		p.finish[conn] = counted{c.Finished, c.Requeued}
		s := news[now]
		was := connections[conn]
		s.finished += float64(c.Finished - min(was.finished, c.Finished))
		s.requeued += float64(c.Requeued - min(was.requeued, c.Requeued))
		news[now] = s
	}
	if first || interval <= 0 {
		return
	}
	for now, s := range news {
		if s.finished > 0 {
			now.lastFinished = at
		}
		s.seconds = interval.Seconds()
		s.finished, s.requeued = s.finished/s.seconds, s.requeued/s.seconds
		now.samples.add(s)
	}
}

// add adds a connection to the row of a program.
func (p *program) add(c *admin.Client) {
	r := &p.row
	if len(r.Connections) == 0 {
		r.ID, r.Hostname, r.UserAgent, r.Connected, r.Level = c.ID, c.Hostname, c.UserAgent, c.Connected, Fine
	}
	if c.Connected.Before(r.Connected) {
		r.Connected = c.Connected
	}
	r.InFlight += c.InFlight
	if !c.Closing {
		r.RDY += c.RDY
	}
	r.Connections = append(r.Connections, *c)
}

// closing reports whether the program is leaving: all its connections are.
func (p *program) closing() bool {
	return !slices.ContainsFunc(p.row.Connections, func(c admin.Client) bool { return !c.Closing })
}

// known reports whether the last poll of clients is not too old.
func (p *programs) known(at time.Time) bool { return p != nil && at.Sub(p.at) <= clientsFor }

// read notes that the last poll was judged. It returns p, or nil if that poll is too old.
func (p *programs) read(at time.Time) *programs {
	if !p.known(at) {
		return nil
	}
	p.unread = false
	return p
}

// rdy returns the RDY of all clients.
func (p *programs) rdy(at time.Time) (rdy int64, known bool) {
	if !p.known(at) {
		return 0, false
	}
	for _, n := range p.ready {
		rdy += n
	}
	return rdy, true
}

// judge notes the states of the programs of a channel in which messages wait.
func (p *programs) judge(waits bool) {
	for _, now := range p.byKey {
		r := &now.row
		r.State, r.Level = "", Fine
		mean := now.samples.mean()
		if mean != nil {
			r.RatesKnown, r.Finished, r.Requeued = true, mean.Finished, mean.Requeued
		}
		r.LastFinished = now.lastFinished
		switch {
		case !waits || now.closing():
		case r.RDY == 0:
			r.State, r.Level = Starved, Warning
		case !Full(r.InFlight, r.RDY):
		case now.samples.n == window && mean.Finished == 0:
			r.State, r.Level = Stuck, Warning
		case p.isSlow(now):
			r.State, r.Level = Slow, Notice
		default:
			r.State, r.Level = Saturated, Notice
		}
	}
}

// Full reports whether clients hold about all that they accept. While they finish messages, a few
// are always on their way.
func Full(inFlight, rdy int64) bool {
	const most = 0.8
	return rdy > 0 && float64(inFlight) >= most*float64(rdy)
}

// isSlow reports whether a program finishes much less than the others do with the same RDY.
func (p *programs) isSlow(one *program) bool {
	var finished, rdy float64
	for _, other := range p.byKey {
		mean := other.samples.mean()
		if mean == nil {
			return false
		}
		if other != one {
			finished, rdy = finished+mean.Finished, rdy+float64(other.row.RDY)
		}
	}
	return rdy > 0 && one.samples.mean().Finished/float64(one.row.RDY) < slowShare*finished/rdy
}

// rows returns the programs by id and host, or nil if they are not known.
func (p *programs) rows(at time.Time) []Client {
	if !p.known(at) {
		return nil
	}
	rows := make([]Client, 0, len(p.byKey))
	for _, now := range p.byKey {
		rows = append(rows, now.row)
	}
	slices.SortFunc(rows, func(a, b Client) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), strings.Compare(a.ID, b.ID), strings.Compare(a.Hostname, b.Hostname))
	})
	return rows
}

// in returns how many programs are in a state.
func (p *programs) in(s State) (n int) {
	for _, now := range p.byKey {
		if now.row.State == s {
			n++
		}
	}
	return n
}

// starved judges whether messages wait that no client, or not each, accepts.
func starved(c *channel, o *observation) finding {
	if !o.works() {
		return o.end()
	}
	polled := c.clients != nil && c.clients.unread
	if f := c.starvedOn(o, polled); f.verdict == bad {
		return f
	}
	switch {
	case !o.waits():
		return o.end()
	case !polled:
		return finding{}
	}
	n, all := c.clients.in(Starved), len(c.clients.byKey)
	if n == 0 {
		return o.end()
	}
	return finding{
		verdict: bad, level: Warning, command: c.describe(),
		text: fmt.Sprintf("%d of %d clients %s RDY 0, %s", n, all, figures.Verb(n, "has", "have"), o.wait()),
		advice: fmt.Sprintf("%d of %d clients %s no messages, while %s. They are backing off after errors, are paused, or have too small a max_in_flight.",
			n, all, figures.Verb(n, "accepts", "accept"), o.waiting()),
	}
}

// starvedOn judges whether there is an nsqd from which no client accepts what waits.
func (c *channel) starvedOn(o *observation, polled bool) finding {
	f := finding{verdict: bad, level: Warning, command: c.describe()}
	for i := range o.now.NSQDs {
		on := &o.now.NSQDs[i]
		switch {
		case on.Depth <= few(0) || on.Paused:
		case on.ClientCount == 0:
			if c.isYoung(o, on.NSQD) {
				continue
			}
			f.text = fmt.Sprintf("no client on %s, where %s", on.NSQD, wait(on.Depth))
			f.advice = fmt.Sprintf("%s on %s, where no client is connected; %s %s to other nsqds. Check that consumers find this nsqd, "+
				"and can reach its broadcast address.", waiting(on.Depth), on.NSQD,
				figures.Things(o.now.ClientCount, "connection"), figures.Verb(o.now.ClientCount, "goes", "go"))
			return f
		case polled && c.clients.ready[on.NSQD] == 0:
			f.text = fmt.Sprintf("RDY 0 on %s, where %s", on.NSQD, wait(on.Depth))
			f.advice = fmt.Sprintf("%s on %s, and no client there accepts messages. The clients are backing off, are paused, or have a max_in_flight "+
				"below the number of nsqds.", waiting(on.Depth), on.NSQD)
			return f
		}
	}
	return finding{}
}

// isYoung reports whether consumers may not have found an nsqd yet, because it is new or has
// restarted, or because the channel is new there. They ask nsqlookupd once a minute or so.
func (c *channel) isYoung(o *observation, addr string) bool {
	const discovery = 2 * time.Minute
	changed := !c.sameSince.Equal(c.born) && o.at.Sub(c.sameSince) < discovery
	n := o.nodes[addr]
	return changed || n != nil && o.at.Sub(n.Started) < discovery
}

// saturated judges whether clients hold all that they accept.
func saturated(c *channel, o *observation) finding {
	return ofClients(c, o, Saturated, func(n, all int) finding {
		if n < all {
			return finding{verdict: good}
		}
		return finding{
			text:   fmt.Sprintf("clients hold all that they accept, %s", o.wait()),
			advice: fmt.Sprintf("The clients hold %s, all that they accept, while %s. More concurrency or a higher max_in_flight may help.", figures.Count(o.now.InFlight), o.waiting()),
		}
	})
}

// slow judges whether a client finishes much less than the others.
func slow(c *channel, o *observation) finding {
	return ofClients(c, o, Slow, func(n, all int) finding {
		if n == 0 {
			return finding{verdict: good}
		}
		return finding{
			text:   fmt.Sprintf("%d of %d clients %s slow, %s", n, all, figures.Verb(n, "is", "are"), o.wait()),
			advice: fmt.Sprintf("%d of %d clients %s less than a quarter as much as the others with the same RDY. See what keeps their hosts busy.", n, all, figures.Verb(n, "finishes", "finish")),
		}
	})
}

// ofClients judges by the number of programs in a state, if they were polled. The finding of
// judge is bad unless it is good.
func ofClients(c *channel, o *observation, s State, judge func(n, all int) finding) finding {
	if !o.works() || !o.waits() {
		return o.end()
	}
	if c.clients == nil || !c.clients.unread || o.lower {
		return finding{}
	}
	f := judge(c.clients.in(s), len(c.clients.byKey))
	if f.verdict != good {
		f.verdict, f.level, f.command = bad, Notice, c.describe()
	}
	return f
}

// worthClients returns the channels whose clients tell more: messages wait, and clients are there.
// Those come first whose clients were not polled for the longest time.
func (j *Judge) worthClients() []Name {
	type candidate struct {
		Name
		polled time.Time
		depth  int64
	}
	var all []candidate
	for i := range j.report.Channels {
		c := &j.report.Channels[i]
		in := 0.0
		if c.Rates != nil {
			in = c.Rates.In
		}
		if c.ClientCount == 0 || c.Paused || c.Depth <= few(in) {
			continue
		}
		x := candidate{Name{c.Topic, c.Name}, time.Time{}, c.Depth}
		if memory := j.channels[x.Name]; memory.clients != nil {
			x.polled = memory.clients.at
		}
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Or(a.polled.Compare(b.polled), cmp.Compare(b.depth, a.depth)) })
	names := make([]Name, 0, maxWorth)
	for _, x := range all[:min(len(all), maxWorth)] {
		names = append(names, x.Name)
	}
	return names
}
