package ui

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

func nodeLink(addr string) string { return "/nodes/" + url.PathEscape(addr) }

// listPage is a page that consists of cells.
type listPage struct {
	list func(*state) []cell
}

func (p *listPage) cells(st *state) []cell        { return p.list(st) }
func (p *listPage) watches(*poller) (stop func()) { return func() {} }

// listData is what the template of a list page gets.
type listData struct {
	Heading string
	Crumb   choice // the page above, if its name is not empty
	Cards   []card
}

// card is a box with a cell, and a heading unless it is empty.
type card struct {
	Name, Aside string
	Body        cell
}

// list sends a page whose cards have the cells of list, in their order. A name may be empty: then
// the cell is not in a box.
func (s *Server) list(w http.ResponseWriter, r *http.Request, d listData, names []string, list func(*state) []cell) {
	st := s.poller.first(r.Context())
	for i, c := range list(st) {
		d.Cards = append(d.Cards, card{Name: names[i], Body: c})
	}
	s.page(w, r, st, &listPage{list}, "list", d.Heading, d)
}

// nodes serves the list of nsqds.
func (s *Server) nodes(w http.ResponseWriter, r *http.Request) {
	s.list(w, r, listData{Heading: "Nodes"}, []string{"nsqds"}, func(st *state) []cell {
		g := &grid{ID: "nsqds", Caption: "nsqds", None: "No nsqd is known.", Columns: []gridColumn{
			{"State", ""}, {"nsqd", ""}, {"Host", "narrow-off"}, {"TCP", "wide"}, {"Version", "narrow-off"}, {"Up", "n narrow-off"}, {"Messages", "n"},
			{"Lookups", "n narrow-off"}, {"Health", "narrow-off long"},
		}}
		if st.report == nil {
			g.None = "Asking the daemons…"
			return []cell{g.cell()}
		}
		for i := range st.report.NSQDs {
			n := &st.report.NSQDs[i]
			g.Rows = append(g.Rows, gridRow{n.Addr, []template.HTML{
				stateMark(n.Level, string(n.State)), named(nodeLink(n.Addr), n.Addr), escaped(n.Hostname), escaped(n.TCPAddr()), escaped(n.Version),
				escaped(up(n, st.report.At)), count(n.Messages, !n.Up), count(int64(len(n.Lookupds)), false), health(n),
			}})
		}
		return []cell{g.cell()}
	})
}

func up(n *judge.NSQD, now time.Time) string {
	if !n.Up {
		return noFigure
	}
	return ago(n.Started, now)
}

func health(n *judge.NSQD) template.HTML {
	switch {
	case n.Error != "":
		return within("critical", n.Error)
	case n.Health != "OK":
		return within("warning", n.Health)
	}
	return escaped(n.Health)
}

// node serves the page of an nsqd.
func (s *Server) node(w http.ResponseWriter, r *http.Request) {
	addr := r.PathValue("addr")
	st := s.poller.first(r.Context())
	if st.report != nil {
		n := nodeOf(st.report, addr)
		if n == nil {
			s.notFound(w, r, "There is no nsqd "+addr+".")
			return
		}
		addr = n.Addr
	}
	d := listData{Heading: addr, Crumb: choice{Name: "Nodes", Link: "/nodes"}}
	names := []string{"", "About this nsqd", "Channels", "Topics"}
	if !s.AllowActions {
		names = names[:3]
	}
	s.list(w, r, d, names, func(st *state) []cell {
		var n *judge.NSQD
		if st.report != nil {
			n = nodeOf(st.report, addr)
		}
		if n == nil {
			n = &judge.NSQD{NSQD: admin.NSQD{Addr: addr, Error: "no nsqlookupd lists it any more"}, Level: judge.Notice}
		}
		return []cell{problemBoxes(st, func(p *judge.Problem) bool { return p.Kind == judge.OfNSQD && p.Addr == addr }),
			about(n, st), channelsOn(addr, st), topicsOn(addr, st)}[:len(names)]
	})
}

// nodeOf returns an nsqd by its address, or nil. The address may be a URL, and http.ServeMux makes
// one slash of two in a path.
func nodeOf(r *judge.Report, addr string) *judge.NSQD {
	plain := func(addr string) string { return strings.Replace(addr, "//", "/", 1) }
	for i := range r.NSQDs {
		if plain(r.NSQDs[i].Addr) == plain(addr) {
			return &r.NSQDs[i]
		}
	}
	return nil
}

// problemBoxes returns boxes with the problems of daemons.
func problemBoxes(st *state, of func(*judge.Problem) bool) cell {
	var boxes []judge.Problem
	if st.report != nil {
		for _, p := range st.report.Problems {
			if p.Ended.IsZero() && of(&p) {
				boxes = append(boxes, p)
			}
		}
	}
	return part("boxes", "problem-boxes", boxes)
}

// about returns the facts about an nsqd.
func about(n *judge.NSQD, st *state) cell {
	now := time.Time{}
	if st.report != nil {
		now = st.report.At
	}
	c := cell{ID: "about", Inner: []cell{}}
	var facts []fact
	for i, f := range []struct {
		name  string
		value template.HTML
	}{
		{"Host", escaped(n.Hostname)}, {"Clients connect to", escaped(n.TCPAddr())}, {"Version", escaped(n.Version)}, {"Up", escaped(up(n, now))},
		{"Messages", count(n.Messages, !n.Up)}, {"nsqlookupds", escaped(figures.Things(len(n.Lookupds), "nsqlookupd") + " list it")}, {"Health", health(n)},
	} {
		in := cell{ID: numbered("about-", i), HTML: f.value}
		c.Inner, facts = append(c.Inner, in), append(facts, fact{f.name, in})
	}
	c.HTML = part("about", "facts", facts).HTML
	return c
}

// channelsOn returns the channels that an nsqd has.
func channelsOn(addr string, st *state) cell {
	g := &grid{ID: "on", Caption: "Channels on this nsqd", None: "This nsqd has no channels.", Columns: []gridColumn{
		{"Topic / channel", ""}, {"Depth", "n"}, {"Memory + disk", "n wide quiet"}, {"In flight", "n"}, {"Deferred", "n narrow-off"},
		{"Requeued", "n narrow-off"}, {"Timed out", "n narrow-off"}, {"Clients", "n"}, {"State", ""},
	}}
	if st.report == nil {
		return g.cell()
	}
	for i := range st.report.Channels {
		c := &st.report.Channels[i]
		for k := range c.NSQDs {
			on := &c.NSQDs[k]
			if on.NSQD != addr {
				continue
			}
			state := template.HTML("")
			if on.Paused {
				state = stateMark(judge.ByChoice, "paused")
			}
			name := c.Topic + "/" + c.Name
			g.Rows = append(g.Rows, gridRow{name, []template.HTML{
				named(subjectPath(judge.Name{Topic: c.Topic, Channel: c.Name}), name), count(on.Depth, false), escaped(memory(on)),
				count(on.InFlight, false), count(on.Deferred, false), count(int64(on.Requeued), false), count(int64(on.TimedOut), false), // #nosec G115 -- counts from 0
				count(int64(on.ClientCount), false), state,
			}})
		}
	}
	return g.cell()
}

// topicsOn returns the topics of the channels that an nsqd has, each with what can be done.
func topicsOn(addr string, st *state) cell {
	g := &grid{ID: "topics", Caption: "Topics on this nsqd", None: "This nsqd has no channels.", Columns: []gridColumn{{"Topic", ""}, {"Tombstone", "n"}}}
	for name := range st.topics {
		if slices.ContainsFunc(st.report.Channels, func(c judge.Channel) bool {
			return c.Topic == name && slices.ContainsFunc(c.NSQDs, func(on admin.ChannelOn) bool { return on.NSQD == addr })
		}) {
			links := actionLinks(target{Name: judge.Name{Topic: name}, nsqd: addr}, "tombstone")
			g.Rows = append(g.Rows, gridRow{name, []template.HTML{named(subjectPath(judge.Name{Topic: name}), name), part("", "actions", links).HTML}})
		}
	}
	slices.SortFunc(g.Rows, func(a, b gridRow) int { return strings.Compare(a.Key, b.Key) })
	return g.cell()
}

// lookup serves the nsqlookupds: what each lists, and where they disagree.
func (s *Server) lookup(w http.ResponseWriter, r *http.Request) {
	s.list(w, r, listData{Heading: "Lookups"}, []string{"", "nsqlookupds", "Which nsqlookupd lists which nsqd"}, func(st *state) []cell {
		return []cell{problemBoxes(st, func(p *judge.Problem) bool {
			return p.Kind == judge.OfLookupd || p.Kind == judge.OfCluster || p.State == judge.Disagree
		}),
			lookupds(st), listings(st)}
	})
}

func lookupds(st *state) cell {
	g := &grid{ID: "lookupds", Caption: "nsqlookupds", None: "rdy ui was started without --lookupd.", Columns: []gridColumn{
		{"State", ""}, {"nsqlookupd", ""}, {"Responded", "n"}, {"nsqds", "n"}, {"Error", "narrow-off"},
	}}
	if st.report == nil {
		g.None = "Asking the daemons…"
		return g.cell()
	}
	for _, l := range st.report.Lookupds {
		state, seen := template.HTML(""), "now"
		if !l.Up {
			state, seen = stateMark(judge.Critical, "missing"), ago(l.Seen, st.report.At)+" ago"
			if l.Seen.IsZero() {
				seen = "never"
			}
		}
		g.Rows = append(g.Rows, gridRow{l.Addr, []template.HTML{state, within("name", l.Addr), escaped(seen), escaped(strconv.Itoa(l.NSQDs)), within("critical", l.Error)}})
	}
	return g.cell()
}

// listings returns which nsqlookupd lists which nsqd.
func listings(st *state) cell {
	g := &grid{ID: "listings", Caption: "Which nsqlookupd lists which nsqd", None: "There is nothing to compare.", Columns: []gridColumn{{"nsqd", ""}}}
	if st.report == nil || len(st.report.Lookupds) == 0 {
		return g.cell()
	}
	for _, l := range st.report.Lookupds {
		g.Columns = append(g.Columns, gridColumn{l.Addr, ""})
	}
	for i := range st.report.NSQDs {
		n := &st.report.NSQDs[i]
		texts := []template.HTML{named(nodeLink(n.Addr), n.Addr)}
		for _, l := range st.report.Lookupds {
			texts = append(texts, listed(n, l))
		}
		g.Rows = append(g.Rows, gridRow{n.Addr, texts})
	}
	return g.cell()
}

func listed(n *judge.NSQD, l judge.Lookupd) template.HTML {
	switch {
	case !l.Up:
		return within("zero", noFigure)
	case slices.Contains(n.Lookupds, l.Addr):
		return escaped("listed")
	}
	return within("warning", "not listed")
}

// logPage serves what viewers have done, and which problems have begun and ended.
func (s *Server) logPage(w http.ResponseWriter, r *http.Request) {
	s.list(w, r, listData{Heading: "Log"}, []string{"Problems", "Actions"}, func(st *state) []cell {
		problems := &grid{ID: "problems", Class: "log", Caption: "Problems that began or ended", None: "None since rdy ui was started.",
			Columns: []gridColumn{{"When", ""}, {"State", ""}, {"What", ""}, {"Text", ""}}}
		for _, e := range slices.Backward(st.events) {
			at, mark := e.Since, stateMark(e.Level, string(e.State))
			if !e.Ended.IsZero() {
				at, mark = e.Ended, within("state resolved", "resolved")
			}
			problems.Rows = append(problems.Rows, gridRow{e.At.String() + e.String() + string(mark), []template.HTML{
				escaped(at.Local().Format(time.DateTime)), mark, linked(subjectLink(e.Subject), e.String(), ""), escaped(e.Text)}})
		}
		actions := &grid{ID: "actions", Class: "log", Caption: "What viewers have done", None: "None since rdy ui was started.",
			Columns: []gridColumn{{"When", ""}, {"From", ""}, {"Action", ""}, {"What", ""}, {"Result", ""}}}
		for _, a := range s.log.all() {
			result := escaped("done")
			if a.Error != "" {
				result = within("critical", a.Error)
			}
			actions.Rows = append(actions.Rows, gridRow{a.At.String() + a.Subject(), []template.HTML{
				escaped(a.At.Local().Format(time.DateTime)), escaped(a.From()), escaped(a.Action), escaped(a.Subject()), result}})
		}
		return []cell{problems.cell(), actions.cell()}
	})
}
