package top

import (
	"fmt"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

const (
	// adviceRows is how many lines the advice of a channel may take.
	adviceRows = 4
	// highForCharts is the height from which on a channel has charts.
	highForCharts = 18
)

var clientColumns = []column{
	{title: "CLIENT", flex: 10},
	{title: "HOST", gap: 1, width: 16, left: true},
	{title: "CONNS", gap: 1, width: 5},
	{title: "FLIGHT/RDY", gap: 2, width: 10},
	{title: "OUT/S", gap: 2, width: 5},
	{title: "LAST FINISHED", gap: 2, width: 14},
}

var nsqdColumns = []column{
	{title: "NSQD", flex: 10},
	{title: "ADDRESS", gap: 1, width: 18, left: true},
	{title: "DEPTH", gap: 1, width: 7},
	{title: "FLIGHT", gap: 2, width: 6},
	{title: "IN/S", gap: 1, width: 6},
	{title: "OUT/S", gap: 1, width: 6},
	{title: "SHARE", gap: 2, width: 6},
}

// channelScreen draws the channel that is open, without the keys in the last line.
func (m *Model) channelScreen(rows int) []string {
	c := m.channelOf(m.opened)
	if c == nil {
		return []string{titleLine(" ", m.opened.String(), "", m.clock(), m.width), m.rule(), " The channel is gone."}
	}
	state := ""
	if c.State != "" {
		state = "   " + mark(c.Level) + " " + string(c.State)
	}
	head := []string{titleLine(" ", m.opened.String(), state, m.clock(), m.width), m.rule()}
	if m.height >= highForAll {
		for _, line := range m.advice(c) {
			head = append(head, " "+line)
		}
		head = append(head, "")
	}
	head = append(head, m.channelFigures(c)...)
	if m.height >= highForCharts {
		head = append(append(head, ""), m.charts(c)...)
	}
	if m.height >= highForFigures {
		head = append(head, "")
	}
	body, selected := m.members(c)
	room := max(rows-len(head), 1)
	from := min(max(selected-room+2, 0), max(len(body)-room, 0))
	return append(head, body[from:min(from+room, len(body))]...)
}

// advice returns what is wrong with a channel, and what to do.
func (m *Model) advice(c *judge.Channel) []string {
	text := fine(c)
	if p := m.problemOf(c); p != nil {
		text = p.Advice
		if !p.Ended.IsZero() {
			text = fmt.Sprintf("It was %s until %s.", p.State, ago(p.Ended, m.now))
		}
	}
	lines := wrap(clean(text), m.width-2)
	return lines[:min(len(lines), adviceRows)]
}

// problemOf returns the problem of a channel, nil if it has none.
func (m *Model) problemOf(c *judge.Channel) *judge.Problem {
	for i := range m.report.Problems {
		if p := &m.report.Problems[i]; p.Kind == judge.OfChannel && p.Topic == c.Topic && p.Channel == c.Name {
			return p
		}
	}
	return nil
}

// fine returns a sentence about a channel without a problem.
func fine(c *judge.Channel) string {
	switch c.Drain.Kind {
	case judge.DrainsEmpty:
		return "No messages wait."
	case judge.KeepsUp:
		return "Its clients keep up."
	case judge.NoClients:
		return "It has no clients. Messages wait until one subscribes."
	case judge.DrainsIn:
		return fmt.Sprintf("It drains in %s at these rates.", c.Drain)
	case judge.DrainsNever:
		return "More messages come in than finish. If that lasts, it becomes a problem."
	}
	return "No problem is known."
}

// channelFigures returns the eight figures of a channel, on two lines.
func (m *Model) channelFigures(c *judge.Channel) []string {
	in, finished, grows, requeued, timedOut, drain := unknown, unknown, "", unknown, unknown, drainText(c.Drain)
	if r := c.Rates; r != nil && !m.ratesOld() {
		in, finished = atLeast(precise(r.In), c.Lower)+"/s", atLeast(precise(r.Finished), c.Lower)+"/s"
		grows = growth(r.Growth)
		requeued, timedOut = figures.Share(r.RequeuedShare()), figures.Share(r.TimedOutShare())
	} else if r != nil {
		drain = drainText(judge.Drain{Kind: judge.DrainUnknown})
	}
	held := count(c.InFlight, c.Lower)
	if c.Clients != nil {
		held += " of " + figures.Count(rdyOf(c.Clients)) + " RDY"
	}
	return []string{
		fmt.Sprintf(" depth %s%s    in %s    finished %s    %s", count(c.Depth, c.Lower), grows, in, finished, drain),
		fmt.Sprintf(" in flight %s    deferred %s    requeued %s    timed out %s", held, count(c.Deferred, c.Lower), requeued, timedOut),
	}
}

// drainText returns when a channel drains, as part of a sentence.
func drainText(d judge.Drain) string {
	switch d.Kind {
	case judge.DrainsIn, judge.DrainsLate:
		return "drains in " + d.String()
	case judge.DrainsNever, judge.DrainUnknown:
		return "drains " + d.String()
	}
	return d.String()
}

// charts returns the last hour of a channel.
func (m *Model) charts(c *judge.Channel) []string {
	const before = 34 // cells, for what it is and its highest point
	w := min(max(m.width-before-6, 10), judge.Points)
	depth, finished := unknown, unknown
	if p := highestOf(c.History.Depth); p >= 0 {
		depth = figures.Count(p)
	}
	if p := highestOf(c.History.Finished); p >= 0 {
		finished = figures.Rate(p)
	}
	return []string{
		fmt.Sprintf(" depth, last hour   %s%s", alignLeft("max "+depth, 14), spark(c.History.Depth, w)),
		fmt.Sprintf(" finished/s         %s%s", alignLeft("max "+finished, 14), spark(c.History.Finished, w)),
	}
}

// members returns the clients and nsqds of a channel, and which line is selected.
func (m *Model) members(c *judge.Channel) (lines []string, selected int) {
	var clients [][]string
	for i := range c.Clients {
		clients = append(clients, m.clientCells(&c.Clients[i]))
	}
	t := newTable(clientColumns, needed(nil, clientColumns, "", clients), m.width-2)
	lines = append(lines, t.header(""))
	at := min(m.line, max(m.lineCount(c)-1, 0))
	for i, cells := range clients {
		if i == at {
			selected = len(lines)
		}
		lines = append(lines, t.line(cursor(i == at)+mark(c.Clients[i].Level)+" ", cells))
	}
	switch {
	case len(clients) > 0:
	case c.ClientCount == 0:
		lines = append(lines, "   no clients")
	default:
		lines = append(lines, "   asking for its clients…")
	}
	nsqds := m.nsqdRows(c)
	t = newTable(nsqdColumns, needed(nil, nsqdColumns, "", nsqds), m.width-3)
	lines = append(lines, "", t.header(""))
	for i, cells := range nsqds {
		if i+len(clients) == at {
			selected = len(lines)
		}
		lines = append(lines, t.line(cursor(i+len(clients) == at)+"  ", cells))
	}
	return lines, selected
}

// lineCount returns how many lines of a channel can be selected.
func (m *Model) lineCount(c *judge.Channel) int { return len(c.Clients) + len(c.NSQDs) }

func (m *Model) clientCells(c *judge.Client) []string {
	out := unknown
	if c.RatesKnown && !m.ratesOld() {
		out = figures.Rate(c.Finished)
	}
	return []string{
		clean(c.ID), clean(c.Hostname), figures.Count(int64(len(c.Connections))),
		figures.Count(c.InFlight) + "/" + figures.Count(c.RDY), out, ago(c.LastFinished, m.now),
	}
}

func (m *Model) nsqdRows(c *judge.Channel) [][]string {
	var rows [][]string
	for i := range c.NSQDs {
		on := &c.NSQDs[i]
		in, out := unknown, unknown
		if r, ok := m.ratesOn(on); ok && !m.ratesOld() {
			in, out = figures.Rate(r.In), figures.Rate(r.Finished)
		}
		part := unknown
		if c.Depth > 0 {
			part = figures.Share(float64(on.Depth) / float64(c.Depth))
		}
		rows = append(rows, []string{
			clean(m.hostname(on.NSQD)), clean(on.NSQD), figures.Count(on.Depth), figures.Count(on.InFlight), in, out, part,
		})
	}
	return rows
}

// hostname returns the name of an nsqd's machine.
func (m *Model) hostname(addr string) string {
	for i := range m.report.NSQDs {
		if n := &m.report.NSQDs[i]; n.Addr == addr {
			return n.Hostname
		}
	}
	return unknown
}

// ratesOn returns what happens to the open channel on one nsqd, from the last reports. It is not
// known if an nsqd has restarted meanwhile.
func (m *Model) ratesOn(on *admin.ChannelOn) (r judge.Rates, known bool) {
	if len(m.recent) < 2 {
		return r, false
	}
	first := m.recent[0]
	before, seconds := onNSQD(first, m.opened, on.NSQD), m.report.At.Sub(first.At).Seconds()
	if before == nil || seconds <= 0 || before.Messages > on.Messages {
		return r, false
	}
	came := float64(on.Messages - before.Messages)
	r.In = came / seconds
	r.Finished = max(came-float64(on.Backlog()-before.Backlog()), 0) / seconds
	return r, true
}

// onNSQD returns a channel's counts on one nsqd in a report, nil if there are none.
func onNSQD(r *judge.Report, s subject, nsqd string) *admin.ChannelOn {
	for i := range r.Channels {
		c := &r.Channels[i]
		if c.Topic != s.topic || c.Name != s.channel {
			continue
		}
		for k := range c.NSQDs {
			if c.NSQDs[k].NSQD == nsqd {
				return &c.NSQDs[k]
			}
		}
	}
	return nil
}
