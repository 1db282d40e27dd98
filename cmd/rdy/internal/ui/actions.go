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
	At         time.Time `json:"at"`
	RemoteAddr string    `json:"remote_address"`
	Action     string    `json:"action"` // such as "empty"
	Topic      string    `json:"topic"`
	Channel    string    `json:"channel,omitempty"`
	Error      string    `json:"error,omitempty"` // what failed, and on which nsqd
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

// all returns the actions, the newest first.
func (l *actionLog) all() []Action {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.kept)
	slices.Reverse(all)
	return all
}

// verb is an action that a viewer may ask for.
type verb struct {
	word     string
	destroys bool // then the viewer types the name
	topic    func(*admin.Cluster, context.Context, string) error
	channel  func(*admin.Cluster, context.Context, string, string) error
	// meaning says what follows, and milder what loses less.
	meaning func(judge.Name, *state) string
	milder  string
}

var verbs = map[string]verb{
	"pause": {
		word: "Pause", topic: (*admin.Cluster).PauseTopic, channel: (*admin.Cluster).PauseChannel,
		meaning: func(n judge.Name, st *state) string {
			if n.Channel == "" {
				return "Published messages wait in the topic. Channels get none until it is unpaused."
			}
			if c := find(n, st); c != nil && c.Rates != nil {
				return fmt.Sprintf("Clients get no messages until it is unpaused. The channel grows by about %s a second.", figures.Rate(c.Rates.In))
			}
			return "Clients get no messages until it is unpaused."
		},
	},
	"unpause": {
		word: "Unpause", topic: (*admin.Cluster).UnpauseTopic, channel: (*admin.Cluster).UnpauseChannel,
		meaning: func(judge.Name, *state) string { return "What waits is sent to clients at once." },
	},
	"empty": {
		word: "Empty", destroys: true, topic: (*admin.Cluster).EmptyTopic, channel: (*admin.Cluster).EmptyChannel, meaning: loss,
		milder: "To stop delivery without losing anything, pause it instead.",
	},
	"delete": {
		word: "Delete", destroys: true, topic: (*admin.Cluster).DeleteTopic, channel: (*admin.Cluster).DeleteChannel, meaning: loss,
		milder: "To stop delivery without losing anything, pause it instead.",
	},
}

func find(n judge.Name, st *state) *judge.Channel {
	if st.report == nil {
		return nil
	}
	return channelsByName(st.report)[n]
}

// loss says how many messages are lost, and where.
func loss(n judge.Name, st *state) string {
	if st.report == nil {
		return "Its messages will be lost. This can't be undone."
	}
	if n.Channel != "" {
		c := find(n, st)
		if c == nil {
			return "No nsqd has it."
		}
		return fmt.Sprintf("%s will be lost on %s, and the %s in flight with them. This can't be undone. Other channels keep their copies.",
			messages(c.Depth+c.Deferred, c.Lower), figures.Things(len(c.NSQDs), "nsqd"), figures.Count(c.InFlight))
	}
	for i := range st.report.Topics {
		if t := &st.report.Topics[i]; t.Name == n.Topic {
			return fmt.Sprintf("%s that wait in the topic and %s in its %s will be lost. This can't be undone.", messages(t.Depth, t.Lower),
				messages(t.Waiting, t.Lower), figures.Things(t.Channels, "channel"))
		}
	}
	return "No nsqd has it."
}

func messages(n int64, lower bool) string {
	return bounded(figures.Count(n), lower) + " " + figures.Noun(n, "message")
}

func actionLinks(n judge.Name, names ...string) (links []actionLink) {
	for _, name := range names {
		q := url.Values{"topic": {n.Topic}}
		if n.Channel != "" {
			q.Set("channel", n.Channel)
		}
		word := verbs[name].word
		if verbs[name].destroys {
			word += "…"
		}
		links = append(links, actionLink{word, "/ask/" + name + "?" + q.Encode()})
	}
	return links
}

// asked returns the action, topic and channel of a request.
func asked(r *http.Request) (name string, v verb, n judge.Name, err error) {
	name = r.PathValue("action")
	v, ok := verbs[name]
	n = judge.Name{Topic: r.FormValue("topic"), Channel: r.FormValue("channel")}
	switch {
	case !ok:
		return name, v, n, errors.New("there is no such action")
	case !nsq.IsValidTopicName(n.Topic), n.Channel != "" && !nsq.IsValidChannelName(n.Channel):
		return name, v, n, errors.New("no topic or channel can have this name")
	}
	return name, v, n, nil
}

// question is what the dialog before an action gets.
type question struct {
	Action, Word, Meaning, Milder, Command string
	Topic, Channel, Subject                string
	Type                                   string // the name to type; empty if one click is enough
}

// ask serves the dialog before an action.
func (s *Server) ask(w http.ResponseWriter, r *http.Request) {
	name, v, n, err := asked(r)
	if err != nil || !s.AllowActions {
		http.Error(w, cannot(err), http.StatusForbidden)
		return
	}
	st, _ := s.poller.current()
	q := question{Action: name, Word: v.word, Meaning: v.meaning(n, st), Milder: v.milder, Topic: n.Topic, Channel: n.Channel, Subject: n.Topic}
	kind := "topic"
	args := []string{n.Topic}
	if n.Channel != "" {
		kind, q.Subject, args = "channel", n.Topic+"/"+n.Channel, append(args, n.Channel)
	}
	q.Command = command(s.Flags, append([]string{kind, name}, args...)...)
	if v.destroys {
		q.Type = typed(n)
	}
	s.render(w, r, "question", q)
}

// typed returns the name that a viewer types before something is destroyed.
func typed(n judge.Name) string {
	if n.Channel != "" {
		return n.Channel
	}
	return n.Topic
}

func cannot(err error) string {
	if err != nil {
		return err.Error()
	}
	return "this page is read-only; start it with --allow-actions"
}

// result is what a viewer gets after an action.
type result struct {
	Text   string
	Errors []string
}

// do carries out an action.
func (s *Server) do(w http.ResponseWriter, r *http.Request) {
	name, v, n, err := asked(r)
	if err != nil || !s.AllowActions {
		http.Error(w, cannot(err), http.StatusForbidden)
		return
	}
	if v.destroys && r.FormValue("name") != typed(n) {
		http.Error(w, "the name does not fit", http.StatusForbidden)
		return
	}
	// The viewer may close the page: a half-done action would be worse.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), actionTimeout)
	defer cancel()
	if n.Channel != "" {
		err = v.channel(s.Cluster, ctx, n.Topic, n.Channel)
	} else {
		err = v.topic(s.Cluster, ctx, n.Topic)
	}
	a := Action{At: time.Now(), RemoteAddr: r.RemoteAddr, Action: name, Topic: n.Topic, Channel: n.Channel}
	res := result{Text: fmt.Sprintf("%s: %s done", subject(n), name)}
	if err != nil {
		a.Error = err.Error()
		res = result{Text: fmt.Sprintf("%s: %s failed", subject(n), name), Errors: lines(err)}
	}
	s.log.add(a)
	if s.Audit != nil {
		s.Audit(a)
	}
	s.render(w, r, "result", res)
}

func subject(n judge.Name) string {
	if n.Channel != "" {
		return n.Topic + "/" + n.Channel
	}
	return n.Topic
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

// actions serves the log of what viewers have done.
func (s *Server) actions(w http.ResponseWriter, r *http.Request) {
	st, _ := s.poller.current()
	p := &wholePage{body: func(st *state) cell {
		d := struct {
			Actions  []Action
			Problems []judge.Problem
		}{Actions: s.log.all()}
		if st.report != nil {
			d.Problems = st.report.Problems
		}
		return part("body", "log-body", d)
	}}
	s.page(w, r, st, p, "log", "Log", p.data(st))
}
