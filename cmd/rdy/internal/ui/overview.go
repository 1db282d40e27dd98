package ui

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// allEvery is how often a table with all rows is renewed.
const allEvery = 10 * time.Second

// overview is the first page.
type overview struct {
	server *Server
	view   view
	hidden hiding
	known  map[judge.Name]bool // what the table had when it was sorted
	names  []judge.Name        // rows of the table, in their order
	sent   time.Time           // the poll whose rows were sent last, if all are shown
}

// overview serves the first page, or to a page that is open its table alone. That begins a stream
// of its own: what the page's own stream sends while the table is on its way would be put into the
// rows of the table before it.
func (s *Server) overview(w http.ResponseWriter, r *http.Request) {
	st := s.poller.first(r.Context())
	p := &overview{server: s, view: viewOf(r.URL.Query()), hidden: hidingOf(r), known: make(map[judge.Name]bool)}
	if st.report != nil {
		all := p.view.rows(st.report)
		for _, name := range all {
			p.known[name] = true
		}
		p.names = p.view.page(all)
	}
	data := p.data(st)
	if r.Header.Get("X-Screen") != "" {
		data.Part = s.screens.open(p, st, p.rows(st)).id
		s.render(w, http.StatusOK, "rows", data)
		return
	}
	s.page(w, r, st, p, "overview", "Overview", data)
}

func (p *overview) watches(*poller) (stop func()) { return func() {} }

// overviewData is what the template of the overview gets.
type overviewData struct {
	Part     string // the id of the screen, if only the table is sent
	View     view
	Choices  []choice
	Views    []choice
	Headings []heading
	Verdict  cell
	Lede     cell
	Totals   []total
	Problems []problemRow
	Aside    []cell // above the problems
	Rows     []row
	Foot     string
	New      cell
	Pages    []choice
	Ranges   []choice
	Asking   []string // the daemons that are asked before the first poll ends
	Empty    bool     // there is no topic yet
	Silent   bool     // no nsqd has responded
	Publish  string   // a command that makes a topic
}

// choice is a link that is one of several.
type choice struct {
	Name  string
	Count cell
	Link  string
	On    bool
}

type total struct {
	Name        string
	Value, Unit cell
}

func (p *overview) data(st *state) *overviewData {
	d := &overviewData{View: p.view}
	d.Verdict, d.Lede = verdict(st)
	if st.report == nil {
		c := p.server.Cluster
		d.Asking = append(append(d.Asking, c.Lookupds...), c.NSQDs...)
		return d
	}
	d.Empty, d.Silent = len(st.report.Topics) == 0, st.report.Cluster.NSQDs == 0
	d.Totals, d.Problems, d.Aside = totals(st.report), problems(st, p.hidden), p.aside(st)
	d.Choices, d.Views, d.Pages, d.New, d.Foot = p.choices(st.report), p.views(), p.pages(), p.added(st.report), p.foot()
	d.Ranges = p.server.ranges(p.view, "/")
	if up := slices.IndexFunc(st.report.NSQDs, func(n judge.NSQD) bool { return n.Up }); d.Empty && up >= 0 {
		d.Publish = "echo hello | " + command([]string{"--nsqd", st.report.NSQDs[up].TCPAddr()}, "pub", "orders")
	}
	d.Headings = sorted(channelHeadings, p.view)
	if p.view.Topics {
		d.Headings = sorted(topicHeadings, p.view)
	}
	for i, name := range p.names {
		d.Rows = append(d.Rows, newRow(i, name, st))
	}
	return d
}

func (p *overview) cells(st *state) []cell {
	if st.report == nil {
		return nil
	}
	verdict, lede := verdict(st)
	cells := append([]cell{verdict, lede, p.added(st.report)}, p.aside(st)...)
	for _, t := range totals(st.report) {
		cells = append(cells, t.Value, t.Unit)
	}
	for _, row := range problems(st, p.hidden) {
		cells = append(cells, row.cells()...)
	}
	for _, c := range p.choices(st.report) {
		cells = append(cells, c.Count)
	}
	if p.view.All && st.report.At.Sub(p.sent) < allEvery {
		return cells
	}
	p.sent = st.report.At
	return append(cells, p.rows(st)...)
}

// rows returns the cells of the table.
func (p *overview) rows(st *state) (cells []cell) {
	for i, name := range p.names {
		cells = append(cells, newRow(i, name, st).cells()...)
	}
	return cells
}

// verdict returns the largest text of the page, and the line below it.
func verdict(st *state) (verdict, lede cell) {
	const verdictID, ledeID = "verdict", "lede"
	if st.report == nil {
		return text(verdictID, "Asking the daemons…"), text(ledeID, "Figures come with the first poll, rates with the second.")
	}
	c := st.report.Cluster
	channels := len(st.report.Channels)
	var words string
	switch {
	case c.ChannelsNeedYou > 0 && c.DaemonsNeedYou > 0:
		words = figures.Things(c.DaemonsNeedYou, "daemon") + " and " + figures.Things(c.ChannelsNeedYou, "channel") + " need you"
	case c.DaemonsNeedYou > 0:
		words = figures.Things(c.DaemonsNeedYou, "daemon") + " " + figures.Verb(c.DaemonsNeedYou, "needs", "need") + " you"
	case c.ChannelsNeedYou > 0:
		words = figures.Things(c.ChannelsNeedYou, "channel") + " " + figures.Verb(c.ChannelsNeedYou, "needs", "need") + " you"
	case channels == 0 && c.NSQDs == 0:
		words = "No nsqd responds"
	case channels == 0:
		words = "No channels yet"
	case channels == 1:
		words = "The channel keeps up"
	default:
		words = fmt.Sprintf("All %d channels keep up", channels)
	}
	return text(verdictID, words), text(ledeID, respond(st.report))
}

// respond returns the line below the verdict.
func respond(r *judge.Report) string {
	c, channels := r.Cluster, len(r.Channels)
	fine, below := channels-c.ChannelsNeedYou, ""
	if channels > 0 {
		below = fmt.Sprintf("%d of %s %s up or %s on purpose. ", fine, figures.Things(channels, "channel"),
			figures.Verb(fine, "keeps", "keep"), figures.Verb(fine, "waits", "wait"))
	}
	nsqds, lookupds := figures.Things(c.KnownNSQDs, "nsqd"), figures.Things(c.KnownLookupds, "nsqlookupd")
	switch {
	case c.NSQDs < c.KnownNSQDs:
		return below + "Figures with ≥ leave out " + missing(r) + "."
	case c.Lookupds < c.KnownLookupds:
		return below + fmt.Sprintf("%d of %s %s.", c.Lookupds, lookupds, figures.Verb(c.Lookupds, "responds", "respond"))
	case c.KnownLookupds == 0:
		return below + "All daemons respond: " + nsqds + "."
	}
	return below + "All daemons respond: " + nsqds + " and " + lookupds + "."
}

// missing names the nsqd that does not respond, or says how many there are. The line must stay
// short: what is below it would move.
func missing(r *judge.Report) string {
	n := r.Cluster.KnownNSQDs - r.Cluster.NSQDs
	for i := range r.Problems {
		if p := &r.Problems[i]; n == 1 && p.Kind == judge.OfNSQD && p.State == judge.Missing && p.Ended.IsZero() {
			return p.Addr
		}
	}
	return figures.Things(n, "nsqd")
}

func totals(r *judge.Report) []total {
	c := r.Cluster
	perSecond := func(name, id string, rate float64) total {
		return total{name, rated(id, rate, c.RatesKnown, c.Lower), text(id+"-unit", "/s")}
	}
	growth := cell{ID: "waiting-unit"}
	if c.RatesKnown {
		class := ""
		if c.Growth > 0 {
			class = "growing"
		}
		growth = styled("waiting-unit", class, grows(c.Growth))
	}
	return []total{
		{"Waiting", cell{ID: "waiting", HTML: count(c.Waiting, c.Lower)}, growth},
		perSecond("In, all channels", "in", c.In), perSecond("Finished", "finished", c.Finished), perSecond("Published", "published", c.Published),
		{"Clients", counted("clients", int64(c.Clients), c.Lower), cell{ID: "clients-unit"}},
		{"nsqds", responding("nsqds", c.NSQDs, c.KnownNSQDs), text("nsqds-unit", "of "+strconv.Itoa(c.KnownNSQDs))},
		{"Lookups", responding("lookups", c.Lookupds, c.KnownLookupds), text("lookups-unit", "of "+strconv.Itoa(c.KnownLookupds))},
	}
}

func responding(id string, n, of int) cell {
	class := ""
	if n < of {
		class = "critical"
	}
	return styled(id, class, strconv.Itoa(n))
}

// choices are those above the table of channels. The last one is there if it has channels.
func (p *overview) choices(r *judge.Report) []choice {
	if p.view.Topics {
		return nil
	}
	keys := []string{"", "needs", "growing", "paused", "orphans", "ephemeral"}
	names := []string{"All", "Needs you", "Growing", "Paused", "No clients", "Ephemeral"}
	var choices []choice
	for i, key := range keys {
		v, n := p.view, 0
		v.Only, v.Page = key, 1
		for j := range r.Channels {
			if only[key](&r.Channels[j]) {
				n++
			}
		}
		if key == "ephemeral" && n == 0 && p.view.Only != key {
			continue
		}
		choices = append(choices, choice{names[i], text(numbered("choice-", i), strconv.Itoa(n)), v.Link(), p.view.Only == key})
	}
	return choices
}

// views are the tables that there are.
func (p *overview) views() []choice {
	channels := view{Filter: p.view.Filter, Range: p.view.Range}
	topics := channels
	topics.Topics = true
	return []choice{{Name: "Channels", Link: channels.Link(), On: !p.view.Topics}, {Name: "Topics", Link: topics.Link(), On: p.view.Topics}}
}

// pages are the links to other rows, none if all fit on one page.
func (p *overview) pages() (links []choice) {
	last := (len(p.known) + pageRows - 1) / pageRows
	if last <= 1 {
		return nil
	}
	v := p.view
	v.All = false
	link := func(name string, page int) {
		v.Page = page
		links = append(links, choice{Name: name, Link: v.Link()})
	}
	if p.view.All {
		link("By page", 1)
		return links
	}
	if p.view.Page > 1 {
		link("Previous", p.view.Page-1)
	}
	if p.view.Page < last {
		link("Next", p.view.Page+1)
	}
	v.All = true
	link("All", 1)
	return links
}

// added says how many channels or topics the table would get if it were sorted again.
func (p *overview) added(r *judge.Report) cell {
	c := cell{ID: "new"}
	n := 0
	for _, name := range p.view.rows(r) {
		if !p.known[name] {
			n++
		}
	}
	if n > 0 {
		c.HTML = within("chip", strconv.Itoa(n)+" new")
	}
	return c
}

func (p *overview) foot() string {
	thing := "channel"
	if p.view.Topics {
		thing = "topic"
	}
	words := figures.Things(len(p.known), thing)
	if n := len(p.names); n > 0 && n < len(p.known) {
		from := (p.view.Page - 1) * pageRows
		words += fmt.Sprintf(", %d to %d shown", from+1, from+n)
	}
	return words
}
