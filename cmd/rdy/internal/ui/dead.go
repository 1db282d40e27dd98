package ui

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
)

const (
	maxLetters    = 1000     // that a look keeps
	maxLetterBody = 32 << 10 // bytes of a body that are kept
	maxLetterText = 4 << 10  // bytes of a header
	lookTimeout   = time.Minute
)

// letter is a dead letter that a look has found.
type letter struct {
	Topic, Channel string // where it waits
	ID             letters.ID
	Raw            bool // it has no headers: nothing is known but what follows Body
	Origin         judge.Name
	OriginNSQD     string
	Error, Host    string
	OriginAttempts int
	Published      time.Time
	Failed         time.Time

	Body     []byte // the beginning of it
	Size     int
	Stored   time.Time
	Attempts int // of the letter itself

	Gone string // what was done to it since; empty if nothing was
}

// newLetter returns what is kept of a letter.
func newLetter(topic, channel string, l *letters.Letter) *letter {
	header := func(name string) string { return string(beginning([]byte(l.Header.Get(name)), maxLetterText)) }
	return &letter{
		Topic: topic, Channel: channel, ID: letters.ID{ID: l.ID, NSQD: l.NSQD}, Raw: l.Raw(),
		Origin:     judge.Name{Topic: header(nsq.HeaderOriginTopic), Channel: header(nsq.HeaderOriginChannel)},
		OriginNSQD: header(nsq.HeaderOriginNSQD), Error: header(nsq.HeaderFailedError), Host: header(nsq.HeaderFailedHost),
		OriginAttempts: l.OriginAttempts(), Published: l.Published(), Failed: l.Failed(),
		Body: beginning(l.Body, maxLetterBody), Size: len(l.Body), Stored: l.Stored, Attempts: int(l.Attempts),
	}
}

// when returns when the message became a dead letter, as far as that is known.
func (l *letter) when() time.Time {
	if l.Failed.IsZero() {
		return l.Stored
	}
	return l.Failed
}

// look is what a look at the dead letters has found. Nothing changes it but Gone of its letters,
// which the lock of the desk guards.
type look struct {
	id      string
	at      time.Time
	topic   string    // the only one that was looked at; empty if all were
	letters []*letter // what has failed last comes first
	waiting int64     // in the topics that were looked at
	notes   []string  // what was left out, and why
}

// deadDesk is what viewers know of dead letters and do with them. There is one look for all: each
// costs the letters an attempt.
type deadDesk struct {
	mu   sync.Mutex
	busy bool  // letters are being read, replayed or dropped
	last *look // nil before the first
	job  *job  // the last one, nil before the first
}

// take makes the caller the only one who reads letters. ok is false if somebody else is.
func (d *deadDesk) take() (ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy {
		return false
	}
	d.busy = true
	return true
}

// release lets others read letters. found is what the caller has found, or nil.
func (d *deadDesk) release(found *look) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = false
	if found != nil {
		d.last = found
	}
}

// seen returns the last look and the last job.
func (d *deadDesk) seen() (*look, *job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, d.job
}

const busyDesk = "Dead letters are being read, replayed or dropped. Try again when that is done."

// deadLook reads the letters of a topic, or of all topics of dead letters, and puts them back.
func (s *Server) deadLook(w http.ResponseWriter, r *http.Request) {
	topic := r.FormValue("topic")
	if topic != "" && !nsq.IsValidTopicName(topic) {
		s.failed(w, r, http.StatusBadRequest, "No topic can have this name.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	ctx, done, ok := s.errands.begin(ctx)
	if !ok {
		return // the server ends
	}
	defer done()
	if !s.dead.take() {
		s.failed(w, r, http.StatusConflict, busyDesk)
		return
	}
	found := s.lookAt(ctx, topic)
	if r.Context().Err() != nil { // the viewer has gone, and what was read is not all
		s.dead.release(nil)
		return
	}
	s.dead.release(found)
	s.note(r, Action{Action: "look", Topic: cmp.Or(topic, "*"+letters.TopicSuffix), Letters: len(found.letters)}, nil)
	http.Redirect(w, r, deadLink(topic), http.StatusSeeOther)
}

// lookAt reads the letters of a topic, or without one those of all topics of dead letters.
func (s *Server) lookAt(ctx context.Context, topic string) *look {
	found := &look{id: rand.Text(), at: time.Now(), topic: topic}
	v, err := s.Cluster.Poll(ctx)
	if err != nil {
		found.notes = append(found.notes, "Letters may be missing: "+oneLine(err))
	}
	for i := range v.Topics {
		if name := v.Topics[i].Name; name == topic || topic == "" && isDead(name) {
			s.lookAtTopic(ctx, v, name, found)
		}
	}
	slices.SortStableFunc(found.letters, func(a, b *letter) int { return b.when().Compare(a.when()) })
	return found
}

// lookAtTopic adds the letters of a topic to a look. It reads no other channel than the default
// one: a look at a channel of consumers would cost their messages an attempt.
func (s *Server) lookAtTopic(ctx context.Context, v *admin.View, topic string, to *look) {
	const channel = letters.DefaultChannel
	note := func(why string) { to.notes = append(to.notes, topic+": "+why) }
	in, err := letters.Find(v, topic, channel, s.Cluster.NSQDs)
	if other, ok := errors.AsType[*letters.ChannelError](err); ok {
		note("they are in another channel: " + command(s.with("--channel", other.Channels[0]), "dead", "list", topic))
		return
	}
	if err != nil {
		note(oneLine(err))
		return
	}
	waiting := in.Waiting()
	to.waiting += waiting
	if in.Creates() && !s.AllowActions {
		note(fmt.Sprintf("%s wait in the topic itself. To read them, rdy ui would have to create the channel %s, and this page is read-only.",
			figures.Things(int(waiting), "letter"), channel))
		return
	}
	room := int64(maxLetters - len(to.letters))
	_, err = letters.Read(ctx, in.First(room), letters.MaxBatch, s.Client, func(l *letters.Letter) (more bool, err error) {
		to.letters = append(to.letters, newLetter(topic, channel, l))
		return true, nil
	})
	if err != nil {
		note(oneLine(err))
	}
	if waiting > room {
		note(fmt.Sprintf("%s of %s were read: a look reads at most %s.", figures.Count(room), figures.Count(waiting), figures.Count(maxLetters)))
	}
	c := in.Counts.Channel(channel)
	if c == nil {
		return
	}
	if n := c.InFlight + c.Deferred; n > 0 {
		note(fmt.Sprintf("%s in flight or deferred were not looked at.", figures.Things(int(n), "letter")))
	}
}

// isDead reports whether a topic has a name of a topic of dead letters.
func isDead(topic string) bool { return strings.HasSuffix(topic, letters.TopicSuffix) }

// deadWaiting returns how many letters wait in the topics that are chosen, by topic: in itself, and
// in the channel that has the most, since each channel has its copy.
func deadWaiting(r *judge.Report, chosen func(topic string) bool) map[string]int64 {
	most := make(map[string]int64)
	for i := range r.Channels {
		if c := &r.Channels[i]; chosen(c.Topic) {
			most[c.Topic] = max(most[c.Topic], c.Depth)
		}
	}
	for i := range r.Topics {
		if t := &r.Topics[i]; chosen(t.Name) {
			most[t.Name] += t.Depth
		}
	}
	return most
}

// deadCount returns how many letters wait in all topics of dead letters.
func deadCount(r *judge.Report) (n int64) {
	for _, waiting := range deadWaiting(r, isDead) {
		n += waiting
	}
	return n
}

// deadLink returns the page of a topic's letters, or of all.
func deadLink(topic string) string {
	if topic == "" {
		return "/dead"
	}
	return strings.Replace(subjectPath(judge.Name{Topic: topic}), "/topics/", "/dead/", 1)
}
