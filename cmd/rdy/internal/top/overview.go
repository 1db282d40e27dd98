package top

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

const (
	// wide is from how many cells on there are all columns.
	wide = 132
	// problemRows is how many problems the screen has room for. They take it also if there are
	// none, so that the table does not move.
	problemRows = 3
	// leastName is how many cells a name should have at least.
	leastName = 16
	// problemName is how many cells the name in the line of a problem has at least.
	problemName = 20
)

// title returns the first line: the verdict, and what it is of.
func (m *Model) title() string {
	gap, before, after := "  ", "  ", ""
	if m.width >= wide {
		gap, before, after = "   ", blank(16), "  "
	}
	right := m.daemons(gap) + before + m.clock() + after
	return titleLine(" rdy top  ", m.options.name(), "   "+m.verdict(), right, m.width)
}

// titleLine returns a line of w cells with right at its end. Where all do not fit, the name is
// cut.
func titleLine(left, name, behind, right string, w int) string {
	const shortest = 8
	room := w - width(left) - width(behind) - width(right) - 1
	return between(left+middle(name, max(room, shortest))+behind, right, w)
}

// verdict returns how the cluster is, in a few words.
func (m *Model) verdict() string {
	if m.report == nil {
		return ""
	}
	n := m.report.Cluster.ChannelsNeedYou + m.report.Cluster.DaemonsNeedYou
	_, stale := m.stale()
	switch {
	case n > 0 && stale:
		return fmt.Sprintf("%d needed you", n)
	case n > 0:
		return fmt.Sprintf("%d %s you", n, figures.Verb(n, "needs", "need"))
	case len(m.report.Topics) == 0:
		return "no topics yet"
	case m.early():
		return "judging…"
	case stale:
		return "all kept up"
	}
	return "all keep up"
}

// daemons returns how many daemons respond.
func (m *Model) daemons(gap string) string {
	if m.report == nil {
		return ""
	}
	c := &m.report.Cluster
	text := ofKnown("nsqd", c.NSQDs, c.KnownNSQDs)
	if c.KnownLookupds > 0 {
		text += gap + ofKnown("lookupd", c.Lookupds, c.KnownLookupds)
	}
	return text
}

func ofKnown(kind string, up, known int) string {
	text := fmt.Sprintf("%s %d/%d", kind, up, known)
	if up < known {
		return paint(red, text)
	}
	return text
}

// clock returns whether the screen is live, and the time.
func (m *Model) clock() string {
	clock, live, gap := m.now.Format("15:04"), "live "+seconds(m.options.Interval), "  "
	if m.width >= wide {
		clock, live, gap = m.now.Format("15:04:05"), "live, every "+seconds(m.options.Interval), "   "
	}
	if age, stale := m.stale(); stale {
		live = paint(amber, "stale "+figures.Duration(age))
	} else if !m.held.IsZero() {
		live = "held " + figures.Duration(m.now.Sub(m.held))
	}
	return live + gap + clock
}

// sums returns the line with the figures of the cluster.
func (m *Model) sums() string {
	c := &m.report.Cluster
	gap := "   "
	if m.width >= wide {
		gap = "     "
	}
	waiting, in, finished, published := "waiting "+count(c.Waiting, c.Lower), unknown, unknown, unknown
	if c.RatesKnown && !m.ratesOld() {
		waiting += growth(c.Growth)
		in, finished = atLeast(figures.Rate(c.In), c.Lower)+"/s", atLeast(figures.Rate(c.Finished), c.Lower)+"/s"
		published = atLeast(figures.Rate(c.Published), c.Lower) + "/s"
	}
	parts := []string{" " + waiting, "in " + in, "finished " + finished, "published " + published}
	if m.width >= wide {
		parts = append(parts, "clients "+count(int64(c.Clients), c.Lower))
	}
	if text := strings.Join(parts, gap); width(text) <= m.width {
		return text
	}
	return strings.Join(parts, "  ")
}

// problems returns the lines of what needs the user, and if there is room, what was resolved.
func (m *Model) problems() []string {
	var shown []*judge.Problem
	for i := range m.report.Problems {
		if p := &m.report.Problems[i]; p.Level.NeedsYou() {
			shown = append(shown, p)
		}
	}
	more := len(shown) - problemRows
	shown = shown[:min(len(shown), problemRows)]
	names := problemName
	for _, p := range shown {
		names = max(names, min(width(clean(p.String())), m.width/3))
	}
	lines := make([]string, problemRows)
	for i, p := range shown {
		lines[i] = m.problem(p, names)
		if i == problemRows-1 && more > 0 {
			rest := fmt.Sprintf("%d more", more)
			lines[i] = between(cut(lines[i], m.width-width(rest)-3), rest+"  ", m.width)
		}
	}
	if len(shown) == 0 && !m.early() {
		lines[0] = " Nothing needs you."
	}
	return lines
}

// problem returns the line of a problem.
func (m *Model) problem(p *judge.Problem, names int) string {
	icon, text := mark(p.Level), p.Text
	if !p.Ended.IsZero() {
		icon, text = resolved(), fmt.Sprintf("resolved %s, after %s", ago(p.Ended, m.now), figures.Duration(p.Ended.Sub(p.Since)))
	}
	return fmt.Sprintf(" %s %s %s  %s", icon, alignLeft(string(p.State), 8), alignLeft(clean(p.String()), names), clean(text))
}

// channelColumns returns the columns of the table of channels.
func (m *Model) channelColumns() []column {
	columns := []column{
		{title: "STATE", sort: byState, width: 8, left: true},
		{title: "TOPIC/CHANNEL", sort: byName, gap: 1, flex: leastName},
		{title: "DEPTH", sort: byDepth, gap: 1, width: 7},
		{title: "LAST HOUR", gap: 1, width: 10, left: true},
		{title: "IN/S", sort: byIn, gap: 1, width: 6},
		{title: "OUT/S", sort: byOut, gap: 1, width: 6},
		{title: "DRAINS IN", sort: byDrain, gap: 1, width: 10},
		{title: "CLI", sort: byClients, gap: 1, width: 3},
	}
	if m.width < wide {
		return columns
	}
	columns[len(columns)-1].gap = 2
	columns = slices.Insert(columns, 7,
		column{title: "FLIGHT/RDY", gap: 2, width: 10}, column{title: "REQ", gap: 2, width: 5}, column{title: "TIMEOUT", gap: 2, width: 7})
	return slices.Insert(columns, 4, column{title: "MEM+DISK", gap: 1, width: 12})
}

// channelRows returns the cells of channels.
func (m *Model) channelRows(page []subject) [][]string {
	rows := make([][]string, len(page))
	for i, s := range page {
		rows[i] = m.channelCells(s, m.channelOf(s))
	}
	return rows
}

// channelOf returns a channel of the report, nil if it is gone.
func (m *Model) channelOf(s subject) *judge.Channel {
	i, found := slices.BinarySearchFunc(m.report.Channels, s, func(c judge.Channel, s subject) int {
		return cmpSubjects(subject{c.Topic, c.Name}, s)
	})
	if !found {
		return nil
	}
	return &m.report.Channels[i]
}

func cmpSubjects(a, b subject) int {
	if a.topic != b.topic {
		return strings.Compare(a.topic, b.topic)
	}
	return strings.Compare(a.channel, b.channel)
}

// channelCells returns the cells of a channel. c is nil if it is gone.
func (m *Model) channelCells(s subject, c *judge.Channel) []string {
	if c == nil {
		c = &judge.Channel{State: "gone", Drain: judge.Drain{Kind: judge.DrainUnknown}}
		cells := []string{string(c.State), s.String(), unknown, "", unknown, unknown, unknown, unknown}
		if m.width >= wide {
			cells = append(cells, unknown, unknown, unknown, unknown)
		}
		return cells
	}
	in, out, requeued, timedOut, drain := unknown, unknown, unknown, unknown, c.Drain.String()
	if m.ratesOld() {
		drain = unknown
	} else if c.Rates != nil {
		in, out = figures.Rate(c.Rates.In), figures.Rate(c.Rates.Finished)
		requeued, timedOut = figures.Share(c.Rates.RequeuedShare()), figures.Share(c.Rates.TimedOutShare())
	}
	cells := []string{string(c.State), s.String(), count(c.Depth, c.Lower), spark(c.History.Depth, 10), in, out, drain, figures.Count(int64(c.ClientCount))}
	if m.width < wide {
		return cells
	}
	cells = slices.Insert(cells, 7, flight(c), requeued, timedOut)
	return slices.Insert(cells, 4, short(c.Depth-c.DiskDepth)+"+"+short(c.DiskDepth))
}

// flight returns what clients hold, and of how many if that is known.
func flight(c *judge.Channel) string {
	if c.Clients == nil {
		return figures.Count(c.InFlight) + "/" + unknown
	}
	return fmt.Sprintf("%s/%s", figures.Count(c.InFlight), figures.Count(rdyOf(c.Clients)))
}

// rdyOf returns how many messages clients accept at a time.
func rdyOf(clients []judge.Client) (sum int64) {
	for i := range clients {
		sum += clients[i].RDY
	}
	return sum
}

// shownChannels returns the channels that the filter and the topic leave, in their order.
func (m *Model) shownChannels() []subject {
	return filtered(m.channels.order, func(s subject) bool {
		return (m.topic == "" || m.topic == s.topic) && matches(s.String(), m.filter)
	})
}

// filtered returns those that fit.
func filtered(all []subject, fits func(subject) bool) []subject {
	var shown []subject
	for _, s := range all {
		if fits(s) {
			shown = append(shown, s)
		}
	}
	return shown
}

// channelTable draws the channels.
func (m *Model) channelTable(rows int) []string {
	page := m.channels.page(m.shownChannels(), rows)
	t := newTable(m.channelColumns(), m.channels.needs, m.tableWidth())
	lines := []string{t.header(m.channels.sort)}
	current := m.channels.current(m.shownChannels())
	for i, cells := range m.channelRows(page) {
		level := judge.Fine
		if c := m.channelOf(page[i]); c != nil {
			level = c.Level
		}
		lines = append(lines, t.line(cursor(page[i] == current)+mark(level)+" ", cells))
	}
	return lines
}

// tableWidth returns the width of tables. Where all columns fit, there is a margin.
func (m *Model) tableWidth() int {
	if m.width >= wide {
		return m.width - 3
	}
	return m.width
}

// cursor returns the mark of the selected row.
func cursor(selected bool) string {
	if selected {
		return ">"
	}
	return " "
}
