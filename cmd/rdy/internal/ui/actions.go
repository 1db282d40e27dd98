package ui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

const (
	actionTimeout = 30 * time.Second
	keptActions   = 500
)

// Action is what a viewer has done.
type Action struct {
	At         time.Time
	RemoteAddr string
	User       string // empty if the server does not know viewers by name
	Action     string // such as "empty"
	Topic      string
	Channel    string // empty if it was done to a topic
	NSQD       string // empty if it was done on all
	Letters    int    // dead letters of the topic that it was done to
	Error      string // what failed, and on which daemons; empty if nothing did
}

// Subject returns what it was done to, in a word.
func (a *Action) Subject() string {
	if a.Letters > 0 {
		return figures.Things(a.Letters, "letter") + " of " + a.Topic
	}
	return target{judge.Name{Topic: a.Topic, Channel: a.Channel}, a.NSQD}.String()
}

// reads reports whether messages were read and nothing was changed on purpose.
func (a *Action) reads() bool { return slices.Contains([]string{"tail", "peek", "look"}, a.Action) }

// From returns who has done it.
func (a *Action) From() string {
	if a.User == "" {
		return a.RemoteAddr
	}
	return a.User + " (" + a.RemoteAddr + ")"
}

// actionLog keeps the last actions.
type actionLog struct {
	mu   sync.Mutex
	kept []Action
}

func (l *actionLog) add(a Action) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) == keptActions {
		l.kept = slices.Delete(l.kept, 0, 1)
	}
	l.kept = append(l.kept, a)
}

// oldestFirst returns the actions, the oldest first.
func (l *actionLog) oldestFirst() []Action {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.kept)
}

// all returns the actions, the newest first.
func (l *actionLog) all() []Action {
	all := l.oldestFirst()
	slices.Reverse(all)
	return all
}

// target is what an action is done to: a channel, a topic if the channel is empty, or a topic on
// one nsqd.
type target struct {
	judge.Name
	nsqd string
}

// String returns the target's name.
func (t target) String() string {
	switch {
	case t.nsqd != "":
		return t.Topic + " on " + t.nsqd
	case t.Channel != "":
		return t.Topic + "/" + t.Channel
	}
	return t.Topic
}

// typed returns the name that a viewer types before something is destroyed.
func (t target) typed() string {
	if t.Channel != "" {
		return t.Channel
	}
	return t.Topic
}

// query returns the target as the fields of a request.
func (t target) query() url.Values {
	q := url.Values{"topic": {t.Topic}}
	if t.Channel != "" {
		q.Set("channel", t.Channel)
	}
	if t.nsqd != "" {
		q.Set("nsqd", t.nsqd)
	}
	return q
}

// actionLink is a button that asks before it does something.
type actionLink struct{ Name, Link string }

func actionLinks(t target, names ...string) (links []actionLink) {
	for _, name := range names {
		word := verbs[name].word
		if verbs[name].destroys {
			word += "…"
		}
		links = append(links, actionLink{word, "/ask/" + name + "?" + t.query().Encode()})
	}
	return links
}

// buttons returns what is done to a page's subject. They change while the page is open: what is
// paused by one viewer is unpaused by another.
func buttons(links []actionLink) cell { return part("actions", "buttons", links) }

// asked returns the action and the target of a request, or why it is refused.
func (s *Server) asked(r *http.Request) (name string, v verb, t target, refused string) {
	name = r.PathValue("action")
	v, ok := verbs[name]
	t = target{judge.Name{Topic: r.FormValue("topic"), Channel: r.FormValue("channel")}, r.FormValue("nsqd")}
	switch {
	case !s.AllowActions:
		refused = "This page is read-only. To let viewers change things, start rdy ui with --allow-actions."
	case !ok, v.onNSQD != (t.nsqd != ""):
		refused = "There is no such action."
	case !nsq.IsValidTopicName(t.Topic), t.Channel != "" && !nsq.IsValidChannelName(t.Channel), t.nsqd != "" && t.Channel != "":
		refused = "No topic or channel can have this name."
	case t.nsqd != "" && !s.knows(t.nsqd): // the server would send requests to any address that a viewer names
		refused = "There is no such nsqd."
	}
	return name, v, t, refused
}

// knows reports whether the last poll has an nsqd with this address.
func (s *Server) knows(nsqd string) bool {
	st, _ := s.poller.current()
	return st.report != nil && slices.ContainsFunc(st.report.NSQDs, func(n judge.NSQD) bool { return n.Addr == nsqd })
}

// question is what the dialog before an action gets.
type question struct {
	Action, Word, Loss, Meaning, Milder, Command string
	Topic, Channel, NSQD, Subject                string
	Type                                         string // the name to type; empty if one click is enough
}

// ask serves the dialog before an action.
func (s *Server) ask(w http.ResponseWriter, r *http.Request) {
	name, v, t, refused := s.asked(r)
	if refused != "" {
		s.refuse(w, http.StatusForbidden, refused)
		return
	}
	st, _ := s.poller.current()
	q := question{Action: name, Word: v.word, Milder: v.milder, Topic: t.Topic, Channel: t.Channel, NSQD: t.nsqd, Subject: t.String()}
	q.Loss, q.Meaning = v.meaning(t, st)
	q.Command = command(s.Flags, v.command(name, t)...)
	if v.destroys {
		q.Type = t.typed()
	}
	s.render(w, http.StatusOK, "question", q)
}

// result is what a viewer gets after an action.
type result struct {
	Text   string
	Errors []string
	Retry  string // where the action is asked for again
}

// do carries out an action.
func (s *Server) do(w http.ResponseWriter, r *http.Request) {
	name, v, t, refused := s.asked(r)
	switch {
	case refused != "":
		s.refuse(w, http.StatusForbidden, refused)
		return
	case v.destroys && r.FormValue("name") != t.typed():
		s.refuse(w, http.StatusForbidden, "The name does not match. Nothing was done.")
		return
	}
	before, _ := s.poller.current()
	// The viewer may close the page: a half-done action would be worse. The end of the Server waits
	// for the line of the action.
	ctx, done, ok := s.errands.begin(context.WithoutCancel(r.Context()))
	if !ok {
		s.refuse(w, http.StatusServiceUnavailable, errEnding.Error())
		return
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, actionTimeout)
	defer cancel()
	err := v.do(ctx, s.Cluster, t)
	s.poller.soon()
	s.note(r, Action{Action: name, Topic: t.Topic, Channel: t.Channel, NSQD: t.nsqd}, err)
	s.render(w, http.StatusOK, "result", outcome(v, name, t, before, err))
}

// note logs what the viewer of a request has done.
func (s *Server) note(r *http.Request, a Action, err error) {
	a.At, a.RemoteAddr, a.User = time.Now(), r.RemoteAddr, userOf(r)
	if err != nil {
		a.Error = err.Error()
	}
	s.log.add(a)
	if s.Audit != nil {
		s.Audit(a)
	}
}

// outcome returns what a viewer reads after an action.
func outcome(v verb, name string, t target, st *state, err error) result {
	on := holders(t, st)
	if err == nil {
		where := ""
		if len(on) > 0 {
			where = " on " + figures.Things(len(on), "nsqd")
		}
		return result{Text: t.String() + " is " + v.done + where + "."}
	}
	res := result{Errors: lines(err), Retry: "/ask/" + name + "?" + t.query().Encode()}
	failed := 0
	for _, addr := range failing(err) {
		if slices.Contains(on, addr) {
			failed++
		}
	}
	_, several := err.(interface{ Unwrap() []error }) // each nsqd was asked
	switch done := len(on) - failed; {
	case failed > 0 && done > 0:
		res.Text = fmt.Sprintf("%s is %s on %d of %s.", t, v.done, done, figures.Things(len(on), "nsqd"))
	case several && done > 0: // an nsqlookupd has failed, which may list others
		res.Text = fmt.Sprintf("%s is %s on %s, but perhaps not on others.", t, v.done, figures.Things(done, "nsqd"))
	default:
		res.Text = fmt.Sprintf("%s is not %s.", t, v.done)
	}
	return res
}

// failing returns the addresses of the daemons that an error is about.
func failing(err error) (addrs []string) {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range j.Unwrap() {
			addrs = append(addrs, failing(e)...)
		}
	} else if e, ok := errors.AsType[*admin.Error](err); ok {
		addrs = append(addrs, e.Addr)
	}
	return addrs
}

// holders returns the nsqds that have the channel or topic.
func holders(t target, st *state) (addrs []string) {
	if st.report == nil || t.nsqd != "" {
		return nil
	}
	for i := range st.report.Channels {
		c := &st.report.Channels[i]
		if c.Topic != t.Topic || t.Channel != "" && c.Name != t.Channel {
			continue
		}
		for _, on := range c.NSQDs {
			if !slices.Contains(addrs, on.NSQD) {
				addrs = append(addrs, on.NSQD)
			}
		}
	}
	return addrs
}

// lines returns the errors of the daemons.
func lines(err error) (texts []string) {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range j.Unwrap() {
			texts = append(texts, e.Error())
		}
		return texts
	}
	return []string{err.Error()}
}

// refuse sends why a request of a script is refused. htmx shows it as the result of an action.
func (s *Server) refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("HX-Retarget", "#toast")
	w.Header().Set("HX-Reswap", "beforeend")
	s.render(w, status, "result", result{Text: "This was not done.", Errors: []string{why}})
}
