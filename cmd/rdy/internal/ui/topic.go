package ui

import (
	"html/template"
	"net/http"
	"strconv"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// topicPage is the page of a topic.
type topicPage struct {
	name  string
	names []judge.Name // its channels, in the order of the rows
}

// topic serves the page of a topic.
func (s *Server) topic(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("topic")
	if !nsq.IsValidTopicName(name) {
		s.fail(w, r, http.StatusNotFound, "No topic can have this name.")
		return
	}
	st, _ := s.poller.current()
	p := &topicPage{name: name}
	if st.report != nil {
		if p.find(st) == nil {
			s.fail(w, r, http.StatusNotFound, "No nsqd has the topic "+name+".")
			return
		}
		for i := range st.report.Channels {
			if c := &st.report.Channels[i]; c.Topic == name {
				p.names = append(p.names, judge.Name{Topic: name, Channel: c.Name})
			}
		}
	}
	s.page(w, r, st, p, "topic", name, p.data(s, st))
}

func (p *topicPage) watches(*poller) (stop func()) { return func() {} }

type topicData struct {
	Topic   string
	State   cell
	Actions []actionLink
	Figures []figure
	Series  string
	Rows    []channelRow
	Command string
}

func (p *topicPage) find(st *state) *judge.Topic {
	for i := range st.report.Topics {
		if t := &st.report.Topics[i]; t.Name == p.name {
			return t
		}
	}
	return nil
}

func (p *topicPage) data(s *Server, st *state) *topicData {
	d := &topicData{Topic: p.name, State: cell{ID: "state"}, Series: "/series?topic=" + template.URLQueryEscaper(p.name),
		Command: command(s.Flags, "stat", p.name, "--watch")}
	if st.report == nil {
		return d
	}
	t := p.find(st)
	if t == nil {
		return d
	}
	if s.AllowActions {
		pause := "pause"
		if t.Paused {
			pause = "unpause"
		}
		d.Actions = actionLinks(judge.Name{Topic: p.name}, pause, "empty", "delete")
	}
	d.State, d.Figures = topicState(t), topicFigures(t)
	byName := channelsByName(st.report)
	for i, name := range p.names {
		d.Rows = append(d.Rows, newChannelRow("r"+strconv.Itoa(i), name, byName[name]))
	}
	return d
}

func (p *topicPage) cells(st *state) []cell {
	if st.report == nil {
		return nil
	}
	t := p.find(st)
	if t == nil {
		t = &judge.Topic{Name: p.name, State: "gone", Level: judge.Notice}
	}
	cells := []cell{topicState(t)}
	for _, f := range topicFigures(t) {
		cells = append(cells, f.Value, f.Unit, f.Below)
	}
	byName := channelsByName(st.report)
	for i, name := range p.names {
		cells = append(cells, newChannelRow("r"+strconv.Itoa(i), name, byName[name]).cells()...)
	}
	return cells
}

func topicState(t *judge.Topic) cell {
	switch {
	case t.Paused:
		return styled("state", "badge state paused", "Paused")
	case t.State == "":
		return cell{ID: "state"}
	}
	return styled("state", "badge state "+marks[t.Level], capital(string(t.State)))
}

func topicFigures(t *judge.Topic) []figure {
	mean := noFigure
	if t.RatesKnown && t.Published > 0 {
		mean = figures.Bytes(int64(t.Bytes / t.Published))
	}
	bytes := noFigure
	if t.RatesKnown {
		bytes = figures.Bytes(int64(t.Bytes))
	}
	return []figure{
		{"Waiting in channels", counted("f-waiting", t.Waiting, t.Lower), cell{ID: "f-waiting-unit"}, cell{ID: "f-waiting-below"}},
		{"Waiting for channels", counted("f-depth", t.Depth, t.Lower), cell{ID: "f-depth-unit"}, cell{ID: "f-depth-below"}},
		{"Published", rated("f-in", t.Published, t.RatesKnown, t.Lower), text("f-in-unit", "/s"), cell{ID: "f-in-below"}},
		{"Bytes", text("f-bytes", bytes), text("f-bytes-unit", "/s"), cell{ID: "f-bytes-below"}},
		{"Mean size", text("f-mean", mean), cell{ID: "f-mean-unit"}, cell{ID: "f-mean-below"}},
		{"In, all channels", rated("f-all", t.In, t.RatesKnown, t.Lower), text("f-all-unit", "/s"), cell{ID: "f-all-below"}},
		{"Finished", rated("f-out", t.Finished, t.RatesKnown, t.Lower), text("f-out-unit", "/s"), cell{ID: "f-out-below"}},
		{"Clients", counted("f-clients", int64(t.Clients), t.Lower), cell{ID: "f-clients-unit"}, cell{ID: "f-clients-below"}},
	}
}
