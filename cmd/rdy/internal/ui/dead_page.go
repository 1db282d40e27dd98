package ui

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
)

// shownLetters is how many letters a page shows.
const shownLetters = 500

var letterForms = []form{asJSON, asText, asHex}

// deadData is what the template of dead letters gets.
type deadData struct {
	Heading string
	Lede    string // what the last look was
	Now     cell   // how many letters wait now
	Job     cell
	Topic   string // the only one that is shown; empty if all are
	Filter  string
	Look    string // id of the look; empty before the first
	Again   string // topic that is looked at
	Notes   []string
	Choices []choice
	Rows    []letterRow
	Foot    string
	Letter  *letterData // the one that is open, or nil
	Topics  []deadTopic // before the first look
	Creates string      // what a look creates
	Actions bool
	Path    string // of this list
	Here    string // its address with the filter
}

type deadTopic struct {
	Name, Link string
	Waiting    string
}

// letterRow is a row of the list.
type letterRow struct {
	*letter
	N               int // its place in the look
	Link            string
	When, From, Why string
	Bytes, Tries    string
	Gone            string // of the letter, as it was under the lock
	On              bool
}

// deadPage serves the dead letters of the last look, of a topic or of all, and one of them with
// its body.
func (s *Server) deadPage(w http.ResponseWriter, r *http.Request) {
	topic := nameIn(r, "topic")
	if topic != "" && !nsq.IsValidTopicName(topic) {
		s.notFound(w, r, "No topic can have this name.")
		return
	}
	st := s.poller.first(r.Context())
	found, _ := s.dead.seen()
	d := &deadData{Heading: "Dead letters", Topic: topic, Filter: filterOf(r.FormValue("q")), Actions: s.AllowActions}
	d.Now, d.Job, d.Path, d.Here = s.deadNow(st), s.deadJob(), deadLink(topic), withFilter(deadLink(topic), d.Filter)
	if found == nil || found.topic != "" && found.topic != topic {
		d.before(s, st, topic)
	} else if !s.fill(d, st, found, r) {
		s.notFound(w, r, "The last look found no such letter.")
		return
	}
	switch r.FormValue("part") { // what htmx replaces
	case "rows":
		s.render(w, http.StatusOK, "letter-rows", d)
		return
	case "letter":
		s.render(w, http.StatusOK, "letter", d.Letter)
		return
	}
	s.page(w, r, st, &listPage{func(st *state) []cell { return []cell{s.deadNow(st), s.deadJob()} }}, "dead", "Dead letters", d)
}

// before fills the page of topics that were not looked at.
func (d *deadData) before(s *Server, st *state, topic string) {
	d.Again = topic
	d.Lede = "To list dead letters, rdy ui reads them and puts them back. That costs each an attempt, so the list waits until you ask for it."
	if st.report == nil {
		return
	}
	var creates []string
	chosen := func(name string) bool { return name == topic || topic == "" && isDead(name) }
	waiting := deadWaiting(st.report, chosen)
	for i := range st.report.Topics {
		t := &st.report.Topics[i]
		if !chosen(t.Name) {
			continue
		}
		d.Topics = append(d.Topics, deadTopic{t.Name, deadLink(t.Name), figures.Count(waiting[t.Name])})
		if t.Channels == 0 && t.Depth > 0 {
			creates = append(creates, t.Name)
		}
	}
	if len(creates) == 0 {
		return
	}
	d.Creates = fmt.Sprintf("%s %s no channel. ", figures.List(creates), figures.Verb(len(creates), "has", "have"))
	if s.AllowActions {
		d.Creates += "A look creates the channel " + letters.DefaultChannel + ". The letters wait there from then on, and so do those that come later."
	} else {
		d.Creates += "To read the letters there, rdy ui would have to create the channel " + letters.DefaultChannel + ", and this page is read-only."
	}
}

// fill fills the page with what a look has found. ok is false if the letter of the request is not
// among it.
func (s *Server) fill(d *deadData, st *state, found *look, r *http.Request) (ok bool) {
	d.Look, d.Again, d.Notes = found.id, found.topic, found.notes
	id, n := r.PathValue("id"), len(found.letters)
	d.Heading = figures.Things(n, "dead letter")
	all := "All " + figures.Count(int64(n))
	switch {
	case n == 0:
		d.Heading, all = "No dead letters", "No letter"
	case int64(n) < found.waiting:
		all = fmt.Sprintf("%s of %s", figures.Count(int64(n)), figures.Count(found.waiting))
	}
	d.Lede = fmt.Sprintf("%s %s read at %s and put back. The list is not live.", all, figures.Verb(n, "was", "were"), found.at.Local().Format(time.TimeOnly))
	s.dead.mu.Lock()
	defer s.dead.mu.Unlock()
	total := 0
	for i, l := range found.letters {
		if d.Topic != "" && l.Topic != d.Topic {
			continue
		}
		if !l.has(d.Filter) {
			continue
		}
		total++
		open := id == "" && d.Letter == nil || id != "" && l.Topic == d.Topic && l.ID.String() == id
		if open {
			d.Letter = s.letterData(l, st, formOf(r.FormValue("as"), letterForms), d.Filter)
		}
		if len(d.Rows) < shownLetters {
			d.Rows = append(d.Rows, newLetterRow(l, i, d.Filter, open))
		}
	}
	d.Choices = deadChoices(found, d)
	d.Foot = figures.Things(n, "dead letter")
	if len(d.Rows) < n {
		d.Foot += fmt.Sprintf(", %d shown", len(d.Rows))
	}
	if total > len(d.Rows) {
		d.Foot += fmt.Sprintf(" of %d that match", total)
	}
	return id == "" || d.Letter != nil
}

// has reports whether a letter's error, origin or id contains text.
func (l *letter) has(text string) bool {
	text = strings.ToLower(text)
	for _, s := range []string{l.Error, l.Origin.Topic + "/" + l.Origin.Channel, l.ID.String()} {
		if strings.Contains(strings.ToLower(s), text) {
			return true
		}
	}
	return false
}

// deadChoices are the topics of the letters.
func deadChoices(found *look, d *deadData) []choice {
	counts := make(map[string]int)
	var topics []string
	for _, l := range found.letters {
		if counts[l.Topic]++; counts[l.Topic] == 1 {
			topics = append(topics, l.Topic)
		}
	}
	if len(topics) < 2 && d.Topic == "" {
		return nil
	}
	slices.Sort(topics)
	choices := []choice{{Name: "All", Count: text("dead-all", strconv.Itoa(len(found.letters))), Link: withFilter("/dead", d.Filter), On: d.Topic == ""}}
	for i, t := range topics {
		choices = append(choices, choice{
			Name: shortened(strings.TrimSuffix(t, letters.TopicSuffix)), Count: text(numbered("dead-", i), strconv.Itoa(counts[t])),
			Link: withFilter(deadLink(t), d.Filter), On: d.Topic == t,
		})
	}
	return choices
}

func withFilter(path, filter string) string {
	if filter == "" {
		return path
	}
	return path + "?" + url.Values{"q": {filter}}.Encode()
}

func letterLink(l *letter, filter string) string {
	return withFilter(deadLink(l.Topic)+"/"+url.PathEscape(l.ID.String()), filter)
}

func newLetterRow(l *letter, n int, filter string, open bool) letterRow {
	row := letterRow{letter: l, N: n, Link: letterLink(l, filter), When: moment(l.when()), Bytes: figures.Bytes(int64(l.Size)), On: open, Gone: l.Gone, Tries: noFigure, From: "raw"}
	if !l.Raw {
		row.From, row.Tries = l.Origin.Topic+" / "+l.Origin.Channel, strconv.Itoa(l.OriginAttempts)
	}
	row.From, row.Why = seen(row.From), seen(l.Error)
	return row
}

// moment returns a time of today, or a day and a time.
func moment(t time.Time) string {
	if t.IsZero() {
		return noFigure
	}
	t = t.Local()
	if time.Since(t) < 20*time.Hour {
		return t.Format(time.TimeOnly)
	}
	return t.Format("2 Jan 15:04")
}

// letterData is what the template of an open letter gets.
type letterData struct {
	Title, ID string
	Link      string
	Facts     []fact
	Forms     []choice
	Body      string
	Bytes     string
	More      string
	Hint      string // who would get the message
	Hidden    bool   // bodies are not shown
}

type fact struct {
	Name  string
	Value cell
}

func (s *Server) letterData(l *letter, st *state, f form, filter string) *letterData {
	d := &letterData{Title: "Raw letter", ID: l.ID.String(), Link: letterLink(l, filter), Bytes: figures.Bytes(int64(l.Size)), Hidden: s.NoBodies}
	add := func(name, value string) {
		if value != "" {
			d.Facts = append(d.Facts, fact{name, text(numbered("letter-", len(d.Facts)), value)})
		}
	}
	if l.Raw {
		add("Headers", "none: it was stored without them, or is another kind of message")
	} else {
		d.Title = seen(l.Origin.Topic + " / " + l.Origin.Channel)
		add("Error", l.Error)
		add("Failed", failedWords(l))
		add("Published", strings.TrimPrefix(moment(l.Published)+" on "+l.OriginNSQD, noFigure+" "))
		add("Handled on", l.Host)
	}
	add("Stored", moment(l.Stored)+" in "+l.Topic+", delivered "+figures.Things(l.Attempts, "time"))
	add("Since then", l.Gone)
	if s.AllowActions && !l.Raw {
		d.Hint = replayHint(l, st)
	}
	if s.NoBodies {
		return d
	}
	d.Body = f.show(l.Body)
	if more := l.Size - len(l.Body); more > 0 {
		d.More = fmt.Sprintf("%s more: rdy dead show %s %s", figures.Bytes(int64(more)), l.Topic, l.ID)
	}
	for _, c := range formChoices(letterForms, f) {
		q := url.Values{"as": {c.Link}}
		if filter != "" {
			q.Set("q", filter)
		}
		c.Link = deadLink(l.Topic) + "/" + url.PathEscape(l.ID.String()) + "?" + q.Encode()
		d.Forms = append(d.Forms, c)
	}
	return d
}

func failedWords(l *letter) string {
	words := moment(l.Failed) + ", after " + figures.Things(l.OriginAttempts, "attempt")
	if !l.Published.IsZero() && l.Failed.After(l.Published) {
		words += " in " + figures.Duration(l.Failed.Sub(l.Published))
	}
	return words
}

// replayHint says who would get the message of a letter, unless that is its channel alone.
func replayHint(l *letter, st *state) string {
	who := recipients(l.Origin, st)
	if who.Only() {
		return ""
	}
	if len(who.Channels) > 1 {
		return fmt.Sprintf("%s has %d channels. A replay through the topic reaches %s. “Replay…” lets you choose another topic.",
			seen(l.Origin.Topic), len(who.Channels), figures.List(who.Channels))
	}
	return seen(capital(who.String())) + "."
}

// recipients returns who gets the messages of a topic, as of the last poll.
func recipients(from judge.Name, st *state) *letters.Recipients {
	who := &letters.Recipients{Topic: from.Topic, From: from.Channel}
	if st.report == nil {
		return who
	}
	for i := range st.report.Channels {
		if c := &st.report.Channels[i]; c.Topic == from.Topic {
			who.Channels = append(who.Channels, c.Name)
		}
	}
	return who
}

// deadNow returns how many letters wait now.
func (s *Server) deadNow(st *state) cell {
	if st.report == nil {
		return cell{ID: "dead-now"}
	}
	return text("dead-now", fmt.Sprintf("%s %s %s now.", figures.Count(st.dead), figures.Noun(st.dead, "letter"), figures.Verb(int(min(st.dead, 2)), "waits", "wait")))
}
