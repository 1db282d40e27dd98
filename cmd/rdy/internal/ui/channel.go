package ui

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
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
	server  *Server
	name    judge.Name
	clients []clientKey // rows, in their order; new ones come last
}

type clientKey struct{ id, host string }

// channel serves the page of a channel.
func (s *Server) channel(w http.ResponseWriter, r *http.Request) {
	name := judge.Name{Topic: nameIn(r, "topic"), Channel: nameIn(r, "channel")}
	if !nsq.IsValidTopicName(name.Topic) || !nsq.IsValidChannelName(name.Channel) {
		s.notFound(w, r, "No topic or channel can have this name.")
		return
	}
	st := s.poller.first(r.Context())
	if st.report != nil && st.channels[name] == nil {
		s.notFound(w, r, fmt.Sprintf("No nsqd has the channel %s of the topic %s.", name.Channel, name.Topic))
		return
	}
	p := &channelPage{server: s, name: name}
	s.page(w, r, st, p, "channel", name.Topic+"/"+name.Channel, p.data(s, r, st))
}

func (p *channelPage) watches(poller *poller) (stop func()) { return poller.watch(p.name) }

type channelData struct {
	Topic, TopicLink, Channel string
	State                     cell
	Alert                     cell
	Read                      []choice // links to pages with messages
	Actions                   cell
	Figures                   []figure
	Charts                    charts
	Clients                   cell // the table
	ClientCount               cell
	Connections               cell
	NSQDs                     cell // the table
	NSQDCount                 cell
	Spread                    cell
	Command                   string
}

func (p *channelPage) data(s *Server, r *http.Request, st *state) *channelData {
	c, problem := p.find(st)
	d := &channelData{
		Topic: p.name.Topic, TopicLink: subjectPath(judge.Name{Topic: p.name.Topic}), Channel: p.name.Channel, State: badge(c.Level, string(c.State)),
		Alert: alert(problem, c), Figures: channelFigures(c), Charts: s.charts(r, p.name), Actions: buttons(s.channelActions(c)),
		Command: command(s.with("--watch"), "stat", p.name.Topic, p.name.Channel),
	}
	d.Read = s.readLinks(p.name)
	d.Clients, d.ClientCount, d.Connections = p.clientTable(c, st)
	d.NSQDs, d.NSQDCount, d.Spread = p.nsqdTable(c)
	return d
}

// channelActions returns what a viewer may do with a channel.
func (s *Server) channelActions(c *judge.Channel) []actionLink {
	if !s.AllowActions {
		return nil
	}
	pause := "pause"
	if c.Paused {
		pause = "unpause"
	}
	return actionLinks(target{Name: judge.Name{Topic: c.Topic, Channel: c.Name}}, pause, "empty", "delete")
}

func (p *channelPage) cells(st *state) []cell {
	c, problem := p.find(st)
	clients, count, connections := p.clientTable(c, st)
	nsqds, nsqdCount, spread := p.nsqdTable(c)
	return append(figureCells(channelFigures(c)),
		badge(c.Level, string(c.State)), buttons(p.server.channelActions(c)), alert(problem, c), clients, count, connections, nsqds, nsqdCount, spread)
}

// find returns the channel, and what is wrong with it if anything is. The channel is empty if no
// nsqd has it.
func (p *channelPage) find(st *state) (*judge.Channel, *judge.Problem) {
	if c := st.channels[p.name]; c != nil {
		return c, problemOf(st.report, judge.Subject{Kind: judge.OfChannel, Topic: p.name.Topic, Channel: p.name.Channel})
	}
	c := &judge.Channel{Topic: p.name.Topic, Name: p.name.Channel, Level: judge.Fine}
	if st.report != nil {
		c.Level, c.State = judge.Notice, "gone"
	}
	return c, nil
}

// alert returns the box with what is wrong, why it matters and what to do.
func alert(p *judge.Problem, c *judge.Channel) cell {
	if p == nil {
		return cell{ID: "alert", Inner: []cell{}}
	}
	// What it says changes with each poll, and its button must stay where it is.
	first, rest, _ := strings.Cut(p.Advice, ". ")
	what, advice, copying := text("alert-what", strings.TrimSuffix(first, ".")+"."), text("alert-advice", rest), cell{ID: "alert-chat"}
	copying.HTML = escaped(chat(p.Subject, p, c))
	return cell{ID: "alert", Key: marks[p.Level], Inner: []cell{what, advice, copying}, HTML: part("alert", "alert", struct {
		Mark, Link         string
		What, Advice, Chat cell
	}{marks[p.Level], subjectLink(p.Subject), what, advice, copying}).HTML}
}

// figure is a large figure of a channel or topic.
type figure struct {
	Name               string
	Value, Unit, Below cell
}

func newFigure(name, id string, value template.HTML, unit, below string) figure {
	return figure{name, cell{ID: id, HTML: value}, text(id+"-unit", unit), text(id+"-below", below)}
}

func figureCells(figures []figure) (cells []cell) {
	for _, f := range figures {
		cells = append(cells, f.Value, f.Unit, f.Below)
	}
	return cells
}

func channelFigures(c *judge.Channel) []figure {
	rates, known := c.Rates, c.Rates != nil
	growth := ""
	if known {
		growth = grows(rates.Growth)
	} else {
		rates = new(judge.Rates)
	}
	rate := func(perSecond float64) template.HTML { return rated("", perSecond, known, c.Lower).HTML }
	share := func(name, id string, share float64, total uint64) figure {
		value := within("zero", noFigure)
		if known {
			value = escaped(figures.Share(share))
		}
		return newFigure(name, id, value, "", figures.Count(int64(total))+" since start") // #nosec G115 -- counts from 0
	}
	finished := rate(rates.Finished)
	if c.State == judge.Stuck && known && rates.Finished == 0 {
		finished = within("critical", "0")
	}
	full, accepted := "", ""
	if rdy := readyFor(c); len(c.Clients) > 0 {
		accepted = "of " + figures.Count(rdy) + " RDY"
		if c.InFlight >= rdy && rdy > 0 {
			full = "all that clients accept"
		}
	}
	return []figure{
		newFigure("Depth", "f-depth", count(c.Depth, c.Lower), "", growth),
		newFigure("In", "f-in", rate(rates.In), "/s", "topic "+shortened(c.Topic)),
		newFigure("Finished", "f-out", finished, "/s", before(c.History)),
		newFigure("Drains in", "f-drains", draining(c), "", ""),
		newFigure("In flight", "f-flight", count(c.InFlight, c.Lower), accepted, full),
		newFigure("Deferred", "f-deferred", count(c.Deferred, c.Lower), "", ""),
		share("Requeued", "f-req", rates.RequeuedShare(), c.Requeued),
		share("Timed out", "f-timeout", rates.TimedOutShare(), c.TimedOut),
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

// clientTable returns the rows of the clients, their number and that of their connections. The
// order of rows holds while the page is open; clients that come later are at the end.
func (p *channelPage) clientTable(c *judge.Channel, st *state) (table, number, connections cell) {
	g := &grid{ID: "clients", Caption: "Clients", None: "No clients are connected.", Columns: []gridColumn{
		{"State", ""}, {"Client", ""}, {"Host", ""}, {"Version", "wide quiet"}, {"Conns", "n"}, {"In flight / RDY", "n"}, {"Finished /s", "n rate"},
		{"Requeued /s", "n rate"}, {"Last finished", "n"}, {"Connected", "n wide"},
	}}
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
	p.clients = slices.DeleteFunc(p.clients, func(k clientKey) bool { return byKey[k] == nil })
	for _, key := range p.clients {
		g.Rows = append(g.Rows, gridRow{key.id + "\n" + key.host, clientTexts(p.name, byKey[key], st.report.At)})
	}
	n, words := strconv.Itoa(len(c.Clients)), ""
	switch {
	case len(c.Clients) > 0:
		words = "one row for each program, " + figures.Things(total, "connection")
		if len(c.Clients) > maxClientRows {
			words += fmt.Sprintf("; the first %d are shown", maxClientRows)
		}
	case c.ClientCount > 0:
		n, g.None = noFigure, "Asking the nsqds for "+figures.Things(c.ClientCount, "connection")+"…"
	}
	return g.cell(), styled("client-count", "count", n), text("connections", words)
}

func clientTexts(n judge.Name, c *judge.Client, now time.Time) []template.HTML {
	finished, requeued, last, class := noFigure, noFigure, noFigure, "full"
	if c.RatesKnown {
		finished, requeued = figures.Rate(c.Finished), figures.Rate(c.Requeued)
	}
	if !c.LastFinished.IsZero() {
		last = ago(c.LastFinished, now) + " ago"
	}
	if c.State == judge.Stuck {
		class = "warning"
	}
	q := url.Values{"topic": {n.Topic}, "channel": {n.Channel}, "id": {c.ID}, "host": {c.Hostname}}
	return []template.HTML{
		stateMark(c.Level, string(c.State)), within("strong", c.ID), escaped(c.Hostname), escaped(c.UserAgent),
		part("", "connections-button", struct {
			Number int
			Link   string
		}{len(c.Connections), "/connections?" + q.Encode()}).HTML,
		held(c.InFlight, c.RDY, false, class), escaped(finished), escaped(requeued), escaped(last), escaped(ago(c.Connected, now)),
	}
}

// connections serves the connections of a program, as of the last poll.
func (s *Server) connections(w http.ResponseWriter, r *http.Request) {
	st, _ := s.poller.current()
	name := judge.Name{Topic: r.FormValue("topic"), Channel: r.FormValue("channel")}
	id, host := r.FormValue("id"), r.FormValue("host")
	c := st.channels[name]
	if c == nil {
		s.refuse(w, http.StatusNotFound, "No nsqd has this channel.")
		return
	}
	i := slices.IndexFunc(c.Clients, func(c judge.Client) bool { return c.ID == id && c.Hostname == host })
	if i < 0 {
		s.refuse(w, http.StatusNotFound, "This client is gone.")
		return
	}
	g := &grid{ID: "connection", Caption: "Connections", Columns: []gridColumn{
		{"Remote address", "narrow-off"}, {"nsqd", ""}, {"In flight / RDY", "n"}, {"Finished", "n"}, {"Requeued", "n"}, {"Connected", "n"},
	}}
	for _, conn := range c.Clients[i].Connections {
		g.Rows = append(g.Rows, gridRow{"", []template.HTML{
			escaped(conn.RemoteAddr), escaped(conn.NSQD), held(conn.InFlight, conn.RDY, false, "full"), count(int64(conn.Finished), false), // #nosec G115 -- counts from 0
			count(int64(conn.Requeued), false), escaped(ago(conn.Connected, st.report.At)), // #nosec G115
		}})
	}
	s.render(w, http.StatusOK, "connections", struct {
		Title string
		Table cell
	}{seen(id + " on " + host), g.cell()})
}

// nsqdTable returns the rows of the nsqds that have the channel, their number, and how evenly
// the messages are spread.
func (p *channelPage) nsqdTable(c *judge.Channel) (table, number, spread cell) {
	g := &grid{ID: "on", Caption: "nsqds", None: "No nsqd that responds has it.", Columns: []gridColumn{
		{"nsqd", ""}, {"Depth", "n"}, {"Memory + disk", "n wide quiet"}, {"In flight", "n"}, {"Deferred", "n"}, {"Clients", "n"}, {"Share", "n"},
	}}
	for i := range c.NSQDs {
		g.Rows = append(g.Rows, gridRow{c.NSQDs[i].NSQD, nsqdTexts(&c.NSQDs[i], c.Depth)})
	}
	words := ""
	switch {
	case len(c.NSQDs) < 2:
	case c.Skew > 3:
		words = fmt.Sprintf("uneven: one has %.1f times the mean of the others", c.Skew)
	default:
		words = "evenly spread"
	}
	return g.cell(), styled("nsqd-count", "count", strconv.Itoa(len(c.NSQDs))), text("spread", words)
}

func nsqdTexts(on *admin.ChannelOn, of int64) []template.HTML {
	share := within("zero", noFigure)
	if of > 0 {
		part := float64(on.Depth) / float64(of)
		share = escaped(figures.Share(part)) + template.HTML(meter(part, "full")) // #nosec G203 -- made of numbers
	}
	return []template.HTML{
		named(nodeLink(on.NSQD), on.NSQD), count(on.Depth, false), escaped(memory(on)), count(on.InFlight, false), count(on.Deferred, false),
		count(int64(on.ClientCount), false), share,
	}
}

// memory returns how many messages are in memory and on disk.
func memory(on *admin.ChannelOn) string {
	return figures.Count(on.Depth-on.DiskDepth) + " + " + figures.Count(on.DiskDepth)
}
