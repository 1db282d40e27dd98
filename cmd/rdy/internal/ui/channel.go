package ui

import (
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// maxClientRows bounds the table of clients.
const maxClientRows = 200

// channelPage is the page of a channel.
type channelPage struct {
	name    judge.Name
	clients []clientKey // rows, in their order; new ones come last
}

type clientKey struct{ id, host string }

// channel serves the page of a channel.
func (s *Server) channel(w http.ResponseWriter, r *http.Request) {
	name := judge.Name{Topic: r.PathValue("topic"), Channel: r.PathValue("channel")}
	if !nsq.IsValidTopicName(name.Topic) || !nsq.IsValidChannelName(name.Channel) {
		s.fail(w, r, http.StatusNotFound, "No topic or channel can have this name.")
		return
	}
	st, _ := s.poller.current()
	if st.report != nil && channelsByName(st.report)[name] == nil {
		s.fail(w, r, http.StatusNotFound, fmt.Sprintf("No nsqd has the channel %s of the topic %s.", name.Channel, name.Topic))
		return
	}
	p := &channelPage{name: name}
	s.page(w, r, st, p, "channel", name.Topic+"/"+name.Channel, p.data(s, st))
}

func (p *channelPage) watches(poller *poller) (stop func()) { return poller.watch(p.name) }

type channelData struct {
	Topic, Channel string
	State          cell
	Alert          cell
	Actions        []actionLink
	Figures        []figure
	Series         string
	Clients        cell // the table
	ClientCount    cell
	Connections    cell
	NSQDs          cell // the table
	NSQDCount      cell
	Spread         cell
	Command        string
}

// figure is a large figure of a channel or topic.
type figure struct {
	Name               string
	Value, Unit, Below cell
}

// actionLink is a button that asks before it does something.
type actionLink struct {
	Name, Link string
}

func (p *channelPage) data(s *Server, st *state) *channelData {
	d := &channelData{Topic: p.name.Topic, Channel: p.name.Channel, Command: command(s.Flags, "stat", p.name.Topic, p.name.Channel, "--watch")}
	d.Series = "/series?topic=" + template.URLQueryEscaper(p.name.Topic) + "&channel=" + template.URLQueryEscaper(p.name.Channel)
	c, problem := p.find(st)
	if s.AllowActions {
		pause := "pause"
		if c.Paused {
			pause = "unpause"
		}
		d.Actions = actionLinks(p.name, pause, "empty", "delete")
	}
	d.State, d.Alert = channelState(c), alert(problem)
	d.Figures = channelFigures(c)
	d.Clients, d.ClientCount, d.Connections = p.clientTable(c, st)
	d.NSQDs, d.NSQDCount, d.Spread = p.nsqdTable(c)
	return d
}

func (p *channelPage) cells(st *state) []cell {
	if st.report == nil {
		return nil
	}
	c, problem := p.find(st)
	cells := []cell{channelState(c), alert(problem)}
	for _, f := range channelFigures(c) {
		cells = append(cells, f.Value, f.Unit, f.Below)
	}
	clients, count, connections := p.clientTable(c, st)
	nsqds, nsqdCount, spread := p.nsqdTable(c)
	return append(cells, clients, count, connections, nsqds, nsqdCount, spread)
}

// find returns the channel, and what is wrong with it if anything is.
func (p *channelPage) find(st *state) (*judge.Channel, *judge.Problem) {
	gone := &judge.Channel{Topic: p.name.Topic, Name: p.name.Channel, Level: judge.Notice, State: "gone"}
	if st.report == nil {
		return &judge.Channel{Topic: p.name.Topic, Name: p.name.Channel, Level: judge.Fine}, nil
	}
	c := channelsByName(st.report)[p.name]
	if c == nil {
		return gone, nil
	}
	for i := range st.report.Problems {
		problem := &st.report.Problems[i]
		if problem.Kind == judge.OfChannel && problem.Topic == p.name.Topic && problem.Channel == p.name.Channel && problem.Ended.IsZero() {
			return c, problem
		}
	}
	return c, nil
}

func channelState(c *judge.Channel) cell {
	if c.State == "" {
		return cell{ID: "state"}
	}
	return styled("state", "badge state "+marks[c.Level], capital(string(c.State)))
}

// alert returns the box with what is wrong, why it matters and what to do.
func alert(p *judge.Problem) cell {
	if p == nil {
		return cell{ID: "alert"}
	}
	return cell{"alert", template.HTML(fmt.Sprintf(`<div class="alert %s"><div><p><b>%s.</b></p><p>%s</p></div>`+ // #nosec G203 -- escaped
		`<button class="button" type="button" data-copy="%s">Copy for chat</button></div>`,
		marks[p.Level], template.HTMLEscapeString(capital(p.Text)), template.HTMLEscapeString(p.Advice),
		template.HTMLEscapeString(p.Subject.String()+": "+p.Text)))}
}

func channelFigures(c *judge.Channel) []figure {
	rates, known := c.Rates, c.Rates != nil
	if !known {
		rates = new(judge.Rates)
	}
	share := func(id string, share float64) cell {
		if !known {
			return styled(id, "zero", noFigure)
		}
		return text(id, figures.Share(share))
	}
	growth := cell{ID: "f-depth-below"}
	if known {
		growth = text("f-depth-below", grows(rates.Growth))
	}
	drains := draining("f-drains", c)
	return []figure{
		{"Depth", counted("f-depth", c.Depth, c.Lower), cell{ID: "f-depth-unit"}, growth},
		{"In", rated("f-in", rates.In, known, c.Lower), text("f-in-unit", "/s"), text("f-in-below", "topic "+c.Topic)},
		{"Finished", rated("f-out", rates.Finished, known, c.Lower), text("f-out-unit", "/s"), text("f-out-below", before(c.History))},
		{"Drains in", drains, cell{ID: "f-drains-unit"}, cell{ID: "f-drains-below"}},
		{"In flight", counted("f-flight", c.InFlight, c.Lower), text("f-flight-unit", ofRDY(c)), cell{ID: "f-flight-below"}},
		{"Deferred", counted("f-deferred", c.Deferred, c.Lower), cell{ID: "f-deferred-unit"}, cell{ID: "f-deferred-below"}},
		{"Requeued", share("f-req", rates.RequeuedShare()), cell{ID: "f-req-unit"}, text("f-req-below", figures.Count(int64(c.Requeued))+" since start")},              // #nosec G115 -- counts from 0
		{"Timed out", share("f-timeout", rates.TimedOutShare()), cell{ID: "f-timeout-unit"}, text("f-timeout-below", figures.Count(int64(c.TimedOut))+" since start")}, // #nosec G115
	}
}

// before returns what was finished an hour ago, if that is known.
func before(h judge.History) string {
	for i, f := range h.Finished {
		if f >= 0 {
			if minutes := len(h.Finished) - 1 - i; minutes > 1 {
				return figures.Rate(f) + " /s " + figures.Duration(time.Duration(minutes)*time.Minute) + " ago"
			}
			break
		}
	}
	return ""
}

func ofRDY(c *judge.Channel) string {
	if len(c.Clients) == 0 {
		return ""
	}
	var rdy int64
	for _, client := range c.Clients {
		rdy += client.RDY
	}
	return "of " + figures.Count(rdy) + " RDY"
}

// clientTable returns the rows of the clients, their number and that of their connections. The
// order of rows holds while the page is open; clients that come later are at the end.
func (p *channelPage) clientTable(c *judge.Channel, st *state) (table, count, connections cell) {
	byKey := make(map[clientKey]*judge.Client, len(c.Clients))
	total := 0
	for i := range c.Clients {
		client := &c.Clients[i]
		key := clientKey{client.ID, client.Hostname}
		byKey[key] = client
		total += len(client.Connections)
		if !slices.Contains(p.clients, key) && len(p.clients) < maxClientRows {
			p.clients = append(p.clients, key)
		}
	}
	data := struct {
		Rows []clientRow
		None bool
	}{None: len(c.Clients) == 0}
	p.clients = slices.DeleteFunc(p.clients, func(k clientKey) bool { return byKey[k] == nil })
	for _, key := range p.clients {
		data.Rows = append(data.Rows, newClientRow(byKey[key], st.report.At))
	}
	n := "–"
	words := ""
	if len(c.Clients) > 0 {
		n, words = strconv.Itoa(len(c.Clients)), "one row a program, "+figures.Things(total, "connection")
	}
	return part("clients", "clients", data), styled("client-count", "count", n), text("connections", words)
}

type clientRow struct {
	State, Client, Host, Version, Conns, Flight string
	Class                                       string
	Meter                                       template.HTML
	Finished, Requeued, Last, Connected         string
}

func newClientRow(c *judge.Client, now time.Time) clientRow {
	row := clientRow{
		State: string(c.State), Class: marks[c.Level], Client: c.ID, Host: c.Hostname, Version: c.UserAgent, Conns: strconv.Itoa(len(c.Connections)),
		Flight: figures.Count(c.InFlight) + " / " + figures.Count(c.RDY), Finished: noFigure, Requeued: noFigure,
		Last: noFigure, Connected: ago(c.Connected, now),
	}
	if c.RDY > 0 {
		row.Meter = template.HTML(meter(float64(c.InFlight)/float64(c.RDY), "full")) // #nosec G203 -- made of numbers
	}
	if c.RatesKnown {
		row.Finished, row.Requeued = figures.Rate(c.Finished), figures.Rate(c.Requeued)
	}
	if !c.LastFinished.IsZero() {
		row.Last = ago(c.LastFinished, now) + " ago"
	}
	return row
}

// nsqdTable returns the rows of the nsqds that have the channel, their number, and how evenly
// the messages are spread.
func (p *channelPage) nsqdTable(c *judge.Channel) (table, count, spread cell) {
	var rows []nsqdRow
	for _, on := range c.NSQDs {
		rows = append(rows, newNSQDRow(on, c.Depth))
	}
	words := ""
	switch {
	case len(c.NSQDs) < 2:
	case c.Skew > 3:
		words = fmt.Sprintf("uneven: one has %.1f times as much as the others", c.Skew)
	default:
		words = "evenly spread"
	}
	return part("nsqds", "nsqd-rows", rows), styled("nsqd-count", "count", strconv.Itoa(len(c.NSQDs))), text("spread", words)
}

type nsqdRow struct {
	Addr, Link, Depth, Memory, InFlight, Deferred, Clients, Share string
	Meter                                                         template.HTML
}

func newNSQDRow(on admin.ChannelOn, of int64) nsqdRow {
	row := nsqdRow{
		Addr: on.NSQD, Link: nodeLink(on.NSQD), Depth: figures.Count(on.Depth),
		Memory:   figures.Count(on.Depth-on.DiskDepth) + " + " + figures.Count(on.DiskDepth),
		InFlight: figures.Count(on.InFlight), Deferred: figures.Count(on.Deferred), Clients: strconv.Itoa(on.ClientCount), Share: noFigure,
	}
	if of > 0 {
		share := float64(on.Depth) / float64(of)
		row.Share, row.Meter = figures.Share(share), template.HTML(meter(share, "full")) // #nosec G203 -- made of numbers
	}
	return row
}
