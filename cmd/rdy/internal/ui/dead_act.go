package ui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
)

const (
	jobTimeout   = 15 * time.Minute // nsqd leases messages for no longer
	jobPatience  = 3 * time.Second  // after which the viewer reads the progress on the page
	replayTime   = 10 * time.Minute // that a replay may take at its rate
	maxRate      = 10_000           // messages per second
	defaultRate  = 50
	namedLetters = 3  // that a command names
	toldErrors   = 10 // of a job
)

// job is a replay or a removal of letters.
type job struct {
	word, done string // such as "Replaying" and "replayed"
	topic      string
	total      int
	began      time.Time
	finished   chan struct{} // closed when it has ended

	mu       sync.Mutex
	ready    int // letters that are done
	failures int
	errors   []string // the first of them, and why the job has ended
	ended    bool
}

// work does a job to a letter that is held. done is false if the letter stays. The error ends the
// job.
type work func(ctx context.Context, l *letters.Letter) (done bool, err error)

// tell notes what went wrong.
func (j *job) tell(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failures++; j.failures <= toldErrors {
		j.errors = append(j.errors, oneLine(err))
	}
}

// err returns what went wrong, for the log.
func (j *job) err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failures == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d %s: %s", j.ready, j.total, j.done, strings.Join(j.errors, "; "))
}

// result returns what a viewer reads about the job.
func (j *job) result() result {
	j.mu.Lock()
	defer j.mu.Unlock()
	res := result{Errors: slices.Clone(j.errors)}
	if more := j.failures - toldErrors; more > 0 {
		res.Errors = append(res.Errors, fmt.Sprintf("%d further failures are not shown.", more))
	}
	switch {
	case !j.ended:
		res.Text = fmt.Sprintf("%s %s of %s: %d done.", j.word, figures.Things(j.total, "letter"), j.topic, j.ready)
	case j.ready == j.total:
		res.Text = fmt.Sprintf("%s of %s %s %s.", figures.Things(j.total, "letter"), j.topic, figures.Verb(j.total, "was", "were"), j.done)
	default:
		res.Text = fmt.Sprintf("%d of %s of %s %s %s. The others stay.", j.ready, figures.Things(j.total, "letter"), j.topic, figures.Verb(j.ready, "was", "were"), j.done)
	}
	return res
}

// deadJob returns the box of the last job.
func (s *Server) deadJob() cell {
	_, j := s.dead.seen()
	if j == nil {
		return cell{ID: "dead-job"}
	}
	return part("dead-job", "job", struct {
		result
		Began string
	}{j.result(), j.began.Local().Format(time.TimeOnly)})
}

// chosen returns the letters that a request names, or why nothing can be done with them.
func (s *Server) chosen(r *http.Request) (chosen []*letter, refused string) {
	found, _ := s.dead.seen()
	switch {
	case !s.AllowActions:
		return nil, "This page is read-only. To let viewers change things, start rdy ui with --allow-actions."
	case found == nil || r.FormValue("look") != found.id:
		return nil, "The letters have been read again. Choose them again."
	}
	s.dead.mu.Lock()
	defer s.dead.mu.Unlock()
	for _, text := range r.Form["n"] {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n >= len(found.letters) {
			return nil, "There is no such letter."
		}
		l := found.letters[n]
		switch {
		case l.Gone != "":
			return nil, "Letter " + l.ID.String() + " was already " + l.Gone + "."
		case len(chosen) > 0 && l.Topic != chosen[0].Topic:
			return nil, "Choose letters of one topic at a time."
		}
		if !slices.Contains(chosen, l) {
			chosen = append(chosen, l)
		}
	}
	if len(chosen) == 0 {
		return nil, "Choose letters first."
	}
	return chosen, ""
}

// deadQuestion is what the dialogs before a replay and before a removal get.
type deadQuestion struct {
	Action, Topic string
	Look          string
	Numbers       []string
	Count         string
	Who           []string // who would get the messages
	Agreed        []string // the same for the server
	From          string   // topics that the letters come from; empty if there are none
	Plain         bool     // the messages go to the channels that they come from, and to no others
	Raw           int      // letters that do not say where they come from
	Rate          int
	Command       string // empty if it would be long
}

// deadAsk serves the dialog before letters are replayed or dropped.
func (s *Server) deadAsk(w http.ResponseWriter, r *http.Request) {
	action := r.PathValue("action")
	chosen, refused := s.chosen(r)
	if refused == "" && action != "replay" && action != "drop" {
		refused = "There is no such action."
	}
	if refused != "" {
		s.refuse(w, http.StatusForbidden, refused)
		return
	}
	st, _ := s.poller.current()
	q := deadQuestion{Action: action, Topic: chosen[0].Topic, Look: r.FormValue("look"), Numbers: r.Form["n"], Count: figures.Things(len(chosen), "letter"), Rate: defaultRate}
	q.Who, q.Agreed, q.From, q.Plain = replayed(chosen, st)
	args := []string{"dead", action, q.Topic}
	for _, l := range chosen {
		args = append(args, l.ID.String())
		if l.Raw {
			q.Raw++
		}
	}
	if len(chosen) <= namedLetters {
		q.Command = command(s.Flags, args...)
	}
	s.render(w, http.StatusOK, "dead-"+action, q)
}

// replayed returns who would get the messages of letters, in sentences and for the comparison
// with who does, and the topics that they come from. plain reports whether that is none but the
// channels that they come from.
func replayed(chosen []*letter, st *state) (who, agreed []string, from string, plain bool) {
	var topics []string
	plain = true
	for _, l := range chosen {
		if l.Raw {
			continue
		}
		to := recipients(l.Origin, st)
		if !to.Only() {
			plain = false
		}
		if key := recipientsKey(to); !slices.Contains(agreed, key) {
			agreed = append(agreed, key)
			who = append(who, whoGets(to))
		}
		if !slices.Contains(topics, l.Origin.Topic) {
			topics = append(topics, l.Origin.Topic)
		}
	}
	return who, agreed, seen(figures.List(topics)), plain
}

// whoGets says who gets the messages of a topic.
func whoGets(to *letters.Recipients) string {
	switch {
	case to.Only():
		return seen(to.Topic + " has only the channel " + to.From + ", where they come from.")
	case len(to.Channels) > 1:
		return seen(fmt.Sprintf("%s has %d channels, and each gets a copy: %s.", to.Topic, len(to.Channels), strings.Join(to.Channels, ", ")))
	}
	return seen(capital(to.String()) + ".")
}

// recipientsKey returns a text that is another one if others get the messages.
func recipientsKey(to *letters.Recipients) string {
	return strconv.Quote(to.Topic) + " " + strconv.Quote(to.From) + " " + strings.Join(to.Channels, " ")
}

// deadDo replays or drops letters.
func (s *Server) deadDo(w http.ResponseWriter, r *http.Request) {
	chosen, refused := s.chosen(r)
	if refused != "" {
		s.refuse(w, http.StatusForbidden, refused)
		return
	}
	j := &job{topic: chosen[0].Topic, total: len(chosen), began: time.Now(), finished: make(chan struct{})}
	do, end := dropping, func() {}
	switch r.PathValue("action") {
	case "replay":
		j.word, j.done = "Replaying", "replayed"
		do, end, refused = s.replaying(r, len(chosen), j)
	case "drop":
		j.word, j.done = "Dropping", "dropped"
		if r.FormValue("name") != j.topic {
			refused = "The name does not match. Nothing was done."
		}
	default:
		refused = "There is no such action."
	}
	if refused != "" {
		s.refuse(w, http.StatusForbidden, refused)
		return
	}
	// The viewer may close the page: the job goes on.
	ctx, done, ok := s.errands.begin(context.WithoutCancel(r.Context()))
	if !ok {
		return // the server ends
	}
	if !s.dead.begin(j) {
		done()
		s.refuse(w, http.StatusConflict, busyDesk)
		return
	}
	go func() {
		defer done()
		defer end()
		s.runJob(ctx, j, chosen, do)
		s.dead.release(nil)
		s.note(r, Action{Action: r.PathValue("action"), Topic: j.topic, Letters: j.total}, j.err())
		s.poller.soon()
		close(j.finished)
	}()
	patience := time.NewTimer(jobPatience)
	defer patience.Stop()
	select {
	case <-j.finished:
	case <-patience.C:
	}
	s.render(w, http.StatusOK, "result", j.result())
}

// begin makes the caller the only one who reads letters, for a job. ok is false if somebody else
// is.
func (d *deadDesk) begin(j *job) (ok bool) {
	if !d.take() {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.job = j
	return true
}

func dropping(_ context.Context, l *letters.Letter) (done bool, err error) {
	err = l.Drop()
	return err == nil, err
}

// replaying returns what replays a letter, as a request says, or why that is refused. end
// disconnects.
func (s *Server) replaying(r *http.Request, n int, j *job) (do work, end func(), refused string) {
	perSecond, err := strconv.ParseFloat(r.FormValue("rate"), 64)
	switch {
	case err != nil || !(perSecond > 0 && perSecond <= maxRate):
		return nil, nil, fmt.Sprintf("Want a rate above 0 and up to %s messages a second.", figures.Count(maxRate))
	case float64(n) > perSecond*replayTime.Seconds():
		return nil, nil, fmt.Sprintf("At this rate the replay would take more than %s, and the letters cannot be held for so long. Choose fewer, or use rdy dead replay.", figures.Duration(replayTime))
	}
	replayer := &letters.Replayer{
		Config: s.Client, Named: s.Cluster.NSQDs, Rate: perSecond,
		Poll: func(ctx context.Context, topic string) (*admin.View, error) {
			return s.Cluster.PollClients(ctx, topic, "")
		},
		Agree:   agreeing(r.Form["agreed"]),
		Refused: func(l *letters.Letter, err error) { j.tell(fmt.Errorf("letter %s: %w", l.ID, err)) },
	}
	switch r.FormValue("to") {
	case "origin":
	case "other":
		replayer.To, replayer.Agree = r.FormValue("topic"), agreeing(nil)
		if !nsq.IsValidTopicName(replayer.To) || replayer.To == j.topic {
			return nil, nil, "Want the name of another topic."
		}
	default:
		return nil, nil, "Choose where the messages go."
	}
	return func(ctx context.Context, l *letters.Letter) (bool, error) {
		before := replayer.Counts.Replayed
		err := replayer.Replay(ctx, l)
		return replayer.Counts.Replayed > before, err
	}, replayer.Close, ""
}

// agreeing returns a function that lets messages go to recipients that the viewer has seen.
func agreeing(agreed []string) func(letters.Recipients) error {
	return func(who letters.Recipients) error {
		if who.Unknown != nil {
			return fmt.Errorf("the channels of topic %s are not known: %w", who.Topic, who.Unknown)
		}
		if !slices.Contains(agreed, recipientsKey(&who)) {
			return fmt.Errorf("%s, which the viewer has not confirmed", &who)
		}
		return nil
	}
}

// runJob does a job to the letters.
func (s *Server) runJob(ctx context.Context, j *job, chosen []*letter, do work) {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	byID := make(map[letters.ID]*letter)
	var ids []letters.ID
	for _, l := range chosen {
		ids = append(ids, l.ID)
		byID[l.ID] = l
	}
	v, missing := s.Cluster.PollClients(ctx, j.topic, "")
	in, err := letters.Find(v, j.topic, chosen[0].Channel, s.Cluster.NSQDs)
	if err == nil {
		var doubtful int
		doubtful, err = letters.With(ctx, in.Queues, s.Client, ids, func(l *letters.Letter) error {
			done, err := do(ctx, l)
			if done {
				j.mu.Lock()
				j.ready++
				j.mu.Unlock()
				s.dead.mu.Lock()
				byID[letters.ID{ID: l.ID, NSQD: l.NSQD}].Gone = j.done + " at " + time.Now().Local().Format(time.TimeOnly)
				s.dead.mu.Unlock()
			}
			return err
		})
		if doubtful > 0 {
			j.tell(fmt.Errorf("%s of them may still be there: a connection or a lease has ended", figures.Count(int64(doubtful))))
		}
	}
	if err != nil {
		j.tell(errors.Join(err, missing))
	}
	j.mu.Lock()
	j.ended = true
	j.mu.Unlock()
}
