package ui

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// problemRows is how many rows the list of problems has, whatever there is to say: the table
// below it must not move.
const problemRows = 5

// overview is the first page.
type overview struct {
	view  view
	names []judge.Name // rows of the table, in their order
	total int          // without the bound
}

// overview serves the first page, or with the header of htmx only its table.
func (s *Server) overview(w http.ResponseWriter, r *http.Request) {
	st, _ := s.poller.current()
	p := &overview{view: viewOf(r.URL.Query())}
	if st.report != nil {
		p.names, p.total = p.view.rows(st.report)
	}
	if screen := s.screens.get(r.Header.Get("X-Screen")); screen != nil {
		screen.show(p, st)
		s.render(w, r, "table", p.data(s, st))
		return
	}
	s.page(w, r, st, p, "overview", "Overview", p.data(s, st))
}

func (p *overview) watches(*poller) (stop func()) { return func() {} }

// overviewData is what the template of the overview gets.
type overviewData struct {
	View     view
	Choices  []choice
	Columns  []column
	Verdict  cell
	Lede     cell
	Totals   []total
	Problems []problemRow
	NeedYou  cell
	Rows     []channelRow
	Foot     string
	Chart    string
	Empty    bool // there is no topic yet
	Publish  string
}

// choice is one of the choices above the table.
type choice struct {
	Name  string
	Count cell
	Link  string
	On    bool
}

// column is a heading of the table.
type column struct {
	Name  string
	Class string
	Sort  string // ascending or descending, if the table is in the order of this column
	Link  string // that sorts by it; empty if it cannot be sorted
}

type total struct {
	Name        string
	Value, Unit cell
}

type problemRow struct{ State, What, Step, Since cell }

type channelRow struct {
	ID             string
	Topic, Channel string
	Link           string
	State, Depth, Spark, In, Finished,
	Drains, Flight, Requeued, Clients cell
}

func (p *overview) data(s *Server, st *state) *overviewData {
	d := &overviewData{View: p.view, Chart: "/series", Foot: p.foot(), Publish: command(s.Flags, "pub", "orders", "--help")}
	r := st.report
	if r == nil {
		r = new(judge.Report)
	}
	d.Empty = st.report != nil && len(r.Topics) == 0
	d.Verdict, d.Lede = verdict(st)
	d.Totals = totals(r)
	d.Problems = problems(r)
	d.NeedYou = needYou(r)
	d.Choices = p.choices(r)
	d.Columns = p.columns()
	byName := channelsByName(r)
	for i, name := range p.names {
		d.Rows = append(d.Rows, newChannelRow("r"+strconv.Itoa(i), name, byName[name]))
	}
	return d
}

func (p *overview) cells(st *state) []cell {
	if st.report == nil {
		return nil
	}
	verdict, lede := verdict(st)
	cells := append([]cell{verdict, lede, needYou(st.report)}, totalCells(st.report)...)
	for _, row := range problems(st.report) {
		cells = append(cells, row.State, row.What, row.Step, row.Since)
	}
	for _, c := range p.choices(st.report) {
		cells = append(cells, c.Count)
	}
	byName := channelsByName(st.report)
	for i, name := range p.names {
		cells = append(cells, newChannelRow("r"+strconv.Itoa(i), name, byName[name]).cells()...)
	}
	return cells
}

func channelsByName(r *judge.Report) map[judge.Name]*judge.Channel {
	byName := make(map[judge.Name]*judge.Channel, len(r.Channels))
	for i := range r.Channels {
		c := &r.Channels[i]
		byName[judge.Name{Topic: c.Topic, Channel: c.Name}] = c
	}
	return byName
}

// verdict returns the largest text of the page, and the line below it.
func verdict(st *state) (verdict, lede cell) {
	const verdictID, ledeID = "verdict", "lede"
	if st.report == nil {
		return text(verdictID, "Asking the daemons…"), text(ledeID, "The first figures come with the first poll, and rates with the second.")
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
	case channels == 0:
		words = "No channels yet"
	case channels == 1:
		words = "The channel keeps up"
	default:
		words = fmt.Sprintf("All %d channels keep up", channels)
	}
	below := fmt.Sprintf("%d of %s keep up or wait on purpose. ", channels-c.ChannelsNeedYou, figures.Things(channels, "channel"))
	if c.NSQDs == c.KnownNSQDs && c.Lookupds == c.KnownLookupds {
		below += fmt.Sprintf("All of %s and %s respond.", figures.Things(c.KnownNSQDs, "nsqd"), figures.Things(c.KnownLookupds, "nsqlookupd"))
	} else {
		below += fmt.Sprintf("%d of %s and %d of %s respond. Figures with ≥ leave out the others.", c.NSQDs, figures.Things(c.KnownNSQDs, "nsqd"),
			c.Lookupds, figures.Things(c.KnownLookupds, "nsqlookupd"))
	}
	return text(verdictID, words), text(ledeID, below)
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
		{"Waiting", text("waiting", bounded(figures.Count(c.Waiting), c.Lower)), growth},
		perSecond("In, all channels", "in", c.In), perSecond("Finished", "finished", c.Finished), perSecond("Published", "published", c.Published),
		{"Clients", text("clients", bounded(strconv.Itoa(c.Clients), c.Lower)), cell{ID: "clients-unit"}},
		{"nsqds", responding("nsqds", c.NSQDs, c.KnownNSQDs), text("nsqds-unit", "of "+strconv.Itoa(c.KnownNSQDs))},
		{"Lookups", responding("lookups", c.Lookupds, c.KnownLookupds), text("lookups-unit", "of "+strconv.Itoa(c.KnownLookupds))},
	}
}

func totalCells(r *judge.Report) (cells []cell) {
	for _, t := range totals(r) {
		cells = append(cells, t.Value, t.Unit)
	}
	return cells
}

func responding(id string, n, of int) cell {
	class := ""
	if n < of {
		class = "critical"
	}
	return styled(id, class, strconv.Itoa(n))
}

func needYou(r *judge.Report) cell {
	n := r.Cluster.ChannelsNeedYou + r.Cluster.DaemonsNeedYou
	if n == 0 {
		return styled("need-you", "count", "0")
	}
	return styled("need-you", "count critical", strconv.Itoa(n))
}

// problems returns the rows of what needs the viewer: always as many.
func problems(r *judge.Report) []problemRow {
	var shown []judge.Problem
	for _, p := range r.Problems {
		if p.Level.NeedsYou() {
			shown = append(shown, p)
		}
	}
	rows := make([]problemRow, problemRows)
	for i := range rows {
		id := "p" + strconv.Itoa(i)
		rows[i] = problemRow{cell{ID: id + "-state"}, cell{ID: id + "-what"}, cell{ID: id + "-step"}, cell{ID: id + "-since"}}
		switch more := len(shown) - problemRows; {
		case i == problemRows-1 && more > 0:
			rows[i].What = cell{id + "-what", template.HTML(fmt.Sprintf(`<a href="/?only=needs">%d more</a>`, more+1))} // #nosec G203 -- a number
		case i < len(shown):
			rows[i].fill(id, &shown[i], r)
		case i == 0:
			rows[i].What = text(id+"-what", "Nothing needs you.")
		}
	}
	return rows
}

func (row *problemRow) fill(id string, p *judge.Problem, r *judge.Report) {
	word, class, since := string(p.State), "state "+marks[p.Level], ago(p.Since, r.At)
	if !p.Ended.IsZero() {
		word, class, since = "resolved", "state resolved", ago(p.Ended, r.At)+" ago"
	}
	row.State = styled(id+"-state", class, capital(word))
	row.What = cell{id + "-what", template.HTML(fmt.Sprintf(`<a href="%s">%s</a> %s`, // #nosec G203 -- escaped
		template.HTMLEscapeString(subjectLink(p.Subject)), template.HTMLEscapeString(p.Subject.String()), template.HTMLEscapeString(p.Text)))}
	row.Step = cell{id + "-step", template.HTML(fmt.Sprintf(`<a href="%s">%s</a>`, template.HTMLEscapeString(subjectLink(p.Subject)), nextStep(p)))} // #nosec G203 -- escaped
	row.Since = text(id+"-since", since)
}

// nextStep returns what the link of a problem says.
func nextStep(p *judge.Problem) string {
	switch {
	case !p.Ended.IsZero():
		return "See chart"
	case p.Kind == judge.OfNSQD:
		return "See node"
	case p.Kind != judge.OfChannel:
		return "See lookups"
	case p.State == judge.Orphan:
		return "See channel"
	}
	return "See clients"
}

// subjectLink returns the page of a problem's subject.
func subjectLink(s judge.Subject) string {
	switch s.Kind {
	case judge.OfChannel:
		return channelLink(judge.Name{Topic: s.Topic, Channel: s.Channel})
	case judge.OfNSQD:
		return "/nodes/" + url.PathEscape(s.Addr)
	}
	return "/lookup"
}

func channelLink(n judge.Name) string {
	return "/topics/" + url.PathEscape(n.Topic) + "/" + url.PathEscape(n.Channel)
}

// newChannelRow returns the row of a channel. c is nil if the channel is gone.
func newChannelRow(id string, name judge.Name, c *judge.Channel) channelRow {
	row := channelRow{ID: id, Topic: name.Topic, Channel: name.Channel, Link: channelLink(name)}
	if c == nil {
		c = &judge.Channel{Level: judge.Notice, State: "gone"}
	}
	var in, finished float64
	if c.Rates != nil {
		in, finished = c.Rates.In, c.Rates.Finished
	}
	row.State = stateCell(id+"-state", c.Level, string(c.State))
	row.Depth = counted(id+"-depth", c.Depth, c.Lower)
	row.Spark = spark(id+"-spark", c.History, c.Level)
	row.In = rated(id+"-in", in, c.Rates != nil, c.Lower)
	row.Finished = rated(id+"-out", finished, c.Rates != nil, c.Lower)
	row.Drains = draining(id+"-drains", c)
	row.Flight = flight(id+"-flight", c)
	row.Requeued = requeues(id+"-req", c)
	row.Clients = counted(id+"-cli", int64(c.ClientCount), c.Lower)
	return row
}

func (r channelRow) cells() []cell {
	return []cell{r.State, r.Depth, r.Spark, r.In, r.Finished, r.Drains, r.Flight, r.Requeued, r.Clients}
}

func (p *overview) choices(r *judge.Report) []choice {
	all := []choice{{Name: "All"}, {Name: "Needs you"}, {Name: "Growing"}, {Name: "Paused"}, {Name: "No clients"}}
	for i, key := range []string{"", "needs", "growing", "paused", "orphans"} {
		v, n := p.view, 0
		v.Only = key
		for j := range r.Channels {
			if only[key](&r.Channels[j]) {
				n++
			}
		}
		all[i].Link, all[i].On, all[i].Count = v.Link(), p.view.Only == key, text("choice-"+strconv.Itoa(i), strconv.Itoa(n))
	}
	return all
}

func (p *overview) columns() []column {
	columns := []column{
		{"State", "", "state", ""}, {"Topic / channel", "", "name", ""}, {"Depth", "n", "-depth", ""}, {"Last hour", "narrow-off", "", ""},
		{"In /s", "n narrow-off", "-in", ""}, {"Finished /s", "n narrow-off", "-finished", ""}, {"Drains in", "n", "-drains", ""},
		{"In flight / RDY", "n wide", "-flight", ""}, {"Requeued", "n wide", "-requeued", ""}, {"Clients", "n narrow-off", "-clients", ""},
	}
	now := p.view.Sort
	if now == "" {
		now = "state"
	}
	for i := range columns {
		c := &columns[i]
		first := c.Sort
		if first == "" {
			continue
		}
		v := p.view
		v.Sort = first
		c.Sort = ""
		switch now {
		case first: // the next click turns it round
			c.Sort, v.Sort = direction(first), opposite(first)
		case opposite(first):
			c.Sort = direction(now)
		}
		c.Link = v.Link()
	}
	return columns
}

func direction(sort string) string {
	if sort[0] == '-' || sort == "state" {
		return "descending"
	}
	return "ascending"
}

func opposite(sort string) string {
	if sort[0] == '-' {
		return sort[1:]
	}
	return "-" + sort
}

func (p *overview) foot() string {
	if len(p.names) < p.total {
		return fmt.Sprintf("%d channels, the first %d are shown", p.total, len(p.names))
	}
	return figures.Things(p.total, "channel")
}
