package ui

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// problemRows is how many rows the list of problems has, whatever there is to say: the table
// below it must not move. On a narrow screen narrowRows of them are shown.
const problemRows, narrowRows = 5, 3

type problemRow struct{ State, What, Step, Since, Menu cell }

func (r problemRow) cells() []cell { return []cell{r.State, r.What, r.Step, r.Since, r.Menu} }

// needs returns the problems that need the viewer, and how many more the viewer has hidden. Those
// that were just resolved come last.
func needs(r *judge.Report, hidden hiding) (shown []judge.Problem, unseen int) {
	for _, p := range r.Problems {
		switch {
		case !p.Level.NeedsYou():
		case p.Ended.IsZero() && hidden.hides(&p, r.At):
			unseen++
		default:
			shown = append(shown, p)
		}
	}
	return shown, unseen
}

// problems returns the rows of what needs the viewer: always as many, and one more for narrow
// screens. Rows that are free show what was resolved last.
func problems(st *state, hidden hiding) []problemRow {
	shown, _ := needs(st.report, hidden)
	open := 0
	for _, p := range shown {
		if p.Ended.IsZero() {
			open++
		}
	}
	for _, p := range st.resolved() {
		if len(shown) >= problemRows {
			break
		}
		if !mentions(shown, p.Subject) {
			shown = append(shown, p)
		}
	}
	rows := make([]problemRow, problemRows+1)
	for i := range rows {
		id := numbered("p", i)
		r := &rows[i]
		*r = problemRow{cell{ID: id + "-state"}, cell{ID: id + "-what"}, cell{ID: id + "-step"}, cell{ID: id + "-since"}, cell{ID: id + "-menu"}}
		switch {
		case i == problemRows: // for narrow screens
			if more := open - narrowRows; more > 0 {
				r.What.HTML = linked("/?only=needs", strconv.Itoa(more)+" more", "")
			}
		case i == problemRows-1 && open > problemRows:
			r.What.HTML = linked("/?only=needs", strconv.Itoa(open-i)+" more", "")
		case i < len(shown):
			r.fill(&shown[i], st.report.At)
		case i == 0 && st.report.Cluster.NSQDs == 0:
			r.What = text(r.What.ID, "Nothing is known yet.")
		case i == 0:
			r.What = text(r.What.ID, "Nothing needs you.")
		}
	}
	return rows
}

func mentions(problems []judge.Problem, subject judge.Subject) bool {
	for i := range problems {
		if problems[i].Subject == subject {
			return true
		}
	}
	return false
}

func (r *problemRow) fill(p *judge.Problem, now time.Time) {
	word, class, since := string(p.State), "state "+marks[p.Level], p.Since
	suffix := ""
	if !p.Ended.IsZero() {
		word, class, since, suffix = "resolved", "state resolved", p.Ended, " ago"
	}
	path := subjectLink(p.Subject)
	r.State.HTML = within(class, capital(word))
	r.What.HTML = linked(path, p.String(), " "+p.Text)
	r.Step.HTML = linked(path, nextStep(p), "")
	r.Since.HTML = template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, // #nosec G203 -- made of times
		since.UTC().Format(time.RFC3339), since.Local().Format(time.DateTime), ago(since, now)+suffix))
	if suffix == "" {
		r.Menu.HTML = part(r.Menu.ID, "menu-button", p.Subject).HTML
	}
}

// nextStep returns what the link of a problem says.
func nextStep(p *judge.Problem) string {
	switch {
	case !p.Ended.IsZero() && p.Kind == judge.OfChannel:
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
		return subjectPath(judge.Name{Topic: s.Topic, Channel: s.Channel})
	case judge.OfNSQD:
		return nodeLink(s.Addr)
	}
	return "/lookup"
}

// subjectPath returns the page of a channel, or of a topic if the channel is empty.
func subjectPath(n judge.Name) string {
	path := "/topics/" + segment(n.Topic)
	if n.Channel != "" {
		path += "/" + segment(n.Channel)
	}
	return path
}

// segment returns a name as a part of a path. Browsers take "." and ".." for steps in the path, even
// if they are escaped, so these names get a "~" in front. NSQ allows no "~" in names.
func segment(name string) string {
	if name == "." || name == ".." {
		return "~" + name
	}
	return url.PathEscape(name)
}

// nameIn returns the name that segment has put into a part of the path.
func nameIn(r *http.Request, part string) string { return strings.TrimPrefix(r.PathValue(part), "~") }

// aside returns what is beside the heading of the problems: how many there are, how many the
// viewer has hidden, and how many were resolved today.
func (p *overview) aside(st *state) []cell {
	shown, unseen := needs(st.report, p.hidden)
	n := 0
	for i := range shown {
		if shown[i].Ended.IsZero() {
			n++
		}
	}
	class := "count"
	if n > 0 {
		class += " critical"
	}
	cells := []cell{styled("need-you", class, strconv.Itoa(n)), {ID: "unseen"}, {ID: "resolved"}}
	if unseen > 0 {
		cells[1].HTML = part("unseen", "unseen", unseen).HTML
	}
	year, month, day := st.report.At.Local().Date()
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.Local)
	today := 0
	for _, problem := range st.resolved() {
		if problem.Ended.Before(midnight) {
			break
		}
		today++
	}
	if today > 0 {
		cells[2] = text("resolved", strconv.Itoa(today)+" resolved today")
	}
	return cells
}

// problemOf returns what is wrong with a subject, or nil.
func problemOf(r *judge.Report, subject judge.Subject) *judge.Problem {
	if r == nil {
		return nil
	}
	for i := range r.Problems {
		if p := &r.Problems[i]; p.Subject == subject && p.Ended.IsZero() {
			return p
		}
	}
	return nil
}

// menuData is what the menu of a row gets.
type menuData struct {
	judge.Subject
	Problem *judge.Problem
	Link    string
	Chat    string
	Command string
	Actions []actionLink
}

// menu serves the menu of a problem or a channel.
func (s *Server) menu(w http.ResponseWriter, r *http.Request) {
	st, _ := s.poller.current()
	subject := subjectOf(r)
	p := problemOf(st.report, subject)
	d := menuData{Subject: subject, Problem: p, Link: subjectLink(subject), Chat: subject.String()}
	c := st.channels[judge.Name{Topic: subject.Topic, Channel: subject.Channel}]
	if c != nil {
		d.Actions = s.channelActions(c)
		d.Command = command(s.with("--watch"), "stat", c.Topic, c.Name)
	}
	if p != nil {
		d.Command = command(s.Flags, p.Command...)
	}
	d.Chat = chat(subject, p, c)
	s.render(w, http.StatusOK, "menu", d)
}

func subjectOf(r *http.Request) judge.Subject {
	return judge.Subject{
		Kind: judge.Kind(r.FormValue("kind")), Topic: r.FormValue("topic"), Channel: r.FormValue("channel"), Addr: r.FormValue("addr"),
	}
}

// chat returns a subject, what is wrong with it and its figures, as one tells others.
func chat(subject judge.Subject, p *judge.Problem, c *judge.Channel) string {
	words := subject.String()
	if p != nil {
		words += " has been " + p.State.Predicate() + " since " + p.Since.Local().Format(time.DateTime) + ": " + p.Text
	}
	if c == nil {
		return words
	}
	words += fmt.Sprintf("\ndepth %s", bounded(figures.Count(c.Depth), c.Lower))
	if c.Rates != nil {
		words += fmt.Sprintf(" (%s), in %s /s, finished %s /s, requeued %s", grows(c.Rates.Growth), figures.Rate(c.Rates.In),
			figures.Rate(c.Rates.Finished), figures.Share(c.Rates.RequeuedShare()))
	}
	return words + fmt.Sprintf(", drains: %s, in flight %s, %s", c.Drain, figures.Count(c.InFlight), figures.Things(c.ClientCount, "connection"))
}
