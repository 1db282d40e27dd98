package ui

import (
	"html/template"
	"net/http"
	"slices"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// topicPage is the page of a topic.
type topicPage struct {
	server *Server
	name   string
	names  []judge.Name // its channels, in the order of the rows; new ones come last
}

// topic serves the page of a topic.
func (s *Server) topic(w http.ResponseWriter, r *http.Request) {
	name := nameIn(r, "topic")
	if !nsq.IsValidTopicName(name) {
		s.notFound(w, r, "No topic can have this name.")
		return
	}
	st := s.poller.first(r.Context())
	if st.report != nil && st.topics[name] == nil {
		s.notFound(w, r, "No nsqd has the topic "+name+".")
		return
	}
	p := &topicPage{server: s, name: name}
	s.page(w, r, st, p, "topic", name, p.data(s, r, st))
}

func (p *topicPage) watches(*poller) (stop func()) { return func() {} }

type topicData struct {
	Topic   string
	State   cell
	Read    []choice // links to pages with its messages
	Actions cell
	Figures []figure
	Charts  charts
	Table   cell
	Command string
}

// charts are those of a page.
type charts struct {
	Series string // where their points are
	Ranges []choice
}

func (s *Server) charts(r *http.Request, n judge.Name) charts {
	series := "/series?topic=" + template.URLQueryEscaper(n.Topic)
	if n.Channel != "" {
		series += "&channel=" + template.URLQueryEscaper(n.Channel)
	}
	return charts{series, s.ranges(viewOf(r.URL.Query()), subjectPath(n))}
}

// find returns the topic as of a poll. It is empty if no nsqd has it.
func (p *topicPage) find(st *state) *judge.Topic {
	switch t := st.topics[p.name]; {
	case t != nil:
		return t
	case st.report == nil:
		return &judge.Topic{Name: p.name, Level: judge.Fine}
	}
	return &judge.Topic{Name: p.name, State: "gone", Level: judge.Notice}
}

func (p *topicPage) data(s *Server, r *http.Request, st *state) *topicData {
	t := p.find(st)
	d := &topicData{
		Topic: p.name, State: badge(topicState(t)), Figures: topicFigures(t), Charts: s.charts(r, judge.Name{Topic: p.name}),
		Table: p.table(st), Command: command(s.with("--watch"), "stat", p.name),
	}
	d.Read = s.readLinks(judge.Name{Topic: p.name})
	d.Actions = buttons(s.topicActions(t))
	return d
}

// topicActions returns what a viewer may do with a topic.
func (s *Server) topicActions(t *judge.Topic) []actionLink {
	if !s.AllowActions {
		return nil
	}
	pause := "pause"
	if t.Paused {
		pause = "unpause"
	}
	return actionLinks(target{Name: judge.Name{Topic: t.Name}}, pause, "empty", "delete")
}

func (p *topicPage) cells(st *state) []cell {
	t := p.find(st)
	return append(figureCells(topicFigures(t)), badge(topicState(t)), buttons(p.server.topicActions(t)), p.table(st))
}

// table returns the channels of the topic.
func (p *topicPage) table(st *state) cell {
	g := &grid{ID: "channels", Caption: "Channels", None: "Messages wait until the first channel exists."}
	for _, h := range channelHeadings {
		g.Columns = append(g.Columns, gridColumn{h.Name, h.Class})
	}
	if st.report != nil {
		p.names = slices.DeleteFunc(p.names, func(n judge.Name) bool { return st.channels[n] == nil })
		for i := range st.report.Channels {
			c := &st.report.Channels[i]
			if n := (judge.Name{Topic: c.Topic, Channel: c.Name}); c.Topic == p.name && !slices.Contains(p.names, n) {
				p.names = append(p.names, n)
			}
		}
	}
	for _, n := range p.names {
		c := st.channels[n]
		texts := []template.HTML{stateMark(c.Level, string(c.State)), named(subjectPath(n), n.Channel)}
		g.Rows = append(g.Rows, gridRow{n.Channel, append(texts, channelTexts(c)...)})
	}
	return g.cell()
}

// named returns a link to the page of a row.
func named(href, name string) template.HTML {
	return template.HTML(`<a class="name" href="` + template.HTMLEscapeString(href) + `" title="` + template.HTMLEscapeString(name) + // #nosec G203 -- escaped
		`"><b>` + template.HTMLEscapeString(shortened(name)) + `</b></a>`)
}

func topicFigures(t *judge.Topic) []figure {
	bytes, mean := noFigure, noFigure
	if t.RatesKnown {
		bytes = figures.Bytes(int64(t.Bytes))
	}
	if t.RatesKnown && t.Published > 0 {
		mean = figures.Bytes(int64(t.Bytes / t.Published))
	}
	plain := func(name, id string, n int64) figure { return newFigure(name, id, count(n, t.Lower), "", "") }
	rate := func(name, id string, perSecond float64) figure {
		return newFigure(name, id, rated("", perSecond, t.RatesKnown, t.Lower).HTML, "/s", "")
	}
	return []figure{
		plain("Waiting in channels", "f-waiting", t.Waiting), plain("Waiting for channels", "f-depth", t.Depth),
		rate("Published", "f-in", t.Published), newFigure("Bytes", "f-bytes", escaped(bytes), "/s", ""),
		newFigure("Mean size", "f-mean", escaped(mean), "", ""), rate("In, all channels", "f-all", t.In),
		rate("Finished", "f-out", t.Finished), plain("Clients", "f-clients", int64(t.Clients)),
	}
}
