package ui

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"golang.org/x/time/rate"
)

const (
	maxReadings = 8                // of all viewers at the same time
	maxEnded    = 16               // that are kept, so that viewers see them in another form
	unattended  = 20 * time.Second // for which a reading waits for the stream of its viewer
	keptLines   = 500
	inHand      = 200 // messages

	// tailRate is how many messages a second are shown. A burst of as many is shown whole.
	tailRate = 20
	// fastTopic is the rate above which nsqd is asked for a sample alone.
	fastTopic = 2000

	connectTimeout = 5 * time.Second
)

// kind is a way of reading new messages.
type kind struct {
	word    string // in the page's title
	channel string // how the name of its channel begins
	forms   []form
	body    int // bytes of a body that are kept
	count   int // messages after which it ends; 0 if it goes on
	longest time.Duration
}

var (
	tailing = kind{word: "Tail", channel: "tail", forms: []form{asLine, asJSON, asHex}, body: 2 << 10, longest: time.Hour}
	peeking = kind{word: "Peek", channel: "peek", forms: []form{asJSON, asText, asHex}, body: 64 << 10, count: 10, longest: time.Minute}
)

// line is a message as it is shown.
type line struct {
	At       time.Time // when it was published
	ID, NSQD string
	Attempts uint16
	Size     int    // of the whole body
	Body     []byte // the beginning of it
}

// reading is a viewer's look at the new messages of a topic. It has an ephemeral channel of its
// own, which gets a copy of each message.
type reading struct {
	kind
	id      string
	topic   string
	addrs   []string  // of nsqds
	without []string  // why there are nsqds that are not read
	made    time.Time // when it was asked for
	percent int       // of the topic's messages that nsqd sends
	limit   *rate.Limiter

	mu      sync.Mutex
	began   bool      // a stream has it
	left    time.Time // when its stream has ended; zero before
	form    form
	filter  string
	kept    []line // the oldest first
	fresh   int    // of them, the last ones were not taken yet
	again   bool   // all of them are to be taken again
	counts  counts
	err     error         // why it has ended
	over    chan struct{} // closed when it has ended
	stopped bool
}

// counts are the messages of a reading.
type counts struct {
	seen  float64 // of the topic
	fit   float64 // of them, those that the filter chooses
	shown float64
}

// HandleMessage takes a message. It belongs to the one handler of the reading's consumer.
func (r *reading) HandleMessage(m *nsq.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil
	}
	weight := 100 / float64(r.percent)
	r.counts.seen += weight
	if r.filter != "" && !bytes.Contains(m.Body, []byte(r.filter)) {
		return nil
	}
	r.counts.fit += weight
	if r.limit != nil && !r.limit.Allow() {
		return nil
	}
	r.counts.shown++
	if len(r.kept) == keptLines {
		r.kept = slices.Delete(r.kept, 0, 1)
	}
	r.kept = append(r.kept, line{
		At: time.Unix(0, m.Timestamp), ID: string(m.ID[:]), NSQD: m.NSQDAddress, Attempts: m.Attempts, Size: len(m.Body), Body: beginning(m.Body, r.body),
	})
	r.fresh = min(r.fresh+1, len(r.kept))
	if r.count > 0 && r.counts.shown >= float64(r.count) {
		r.end(nil)
	}
	return nil
}

// end ends the reading. The caller holds mu.
func (r *reading) end(err error) {
	if !r.stopped {
		r.stopped, r.err = true, err
		close(r.over)
	}
}

// lost ends the reading because a connection has ended. The consumer would connect again, but
// who knows what channels a topic has on an nsqd that was restarted.
func (r *reading) lost(e nsq.DisconnectEvent) {
	if e.Err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(fmt.Errorf("nsqd %s: %w", e.Addr, e.Err))
}

// look changes how messages are shown, and which ones.
func (r *reading) look(form form, filter string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.form, r.filter, r.again = form, filter, true
}

// take returns the messages to show, the newest first. With again they replace all others.
func (r *reading) take() (lines []line, form form, again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := r.kept[len(r.kept)-r.fresh:]
	if again = r.again; again {
		fresh = r.kept
	}
	for _, l := range slices.Backward(fresh) {
		if !again || r.filter == "" || bytes.Contains(l.Body, []byte(r.filter)) {
			lines = append(lines, l)
		}
	}
	r.fresh, r.again = 0, false
	return lines, r.form, again
}

// soFar returns the counts.
func (r *reading) soFar() counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// connect subscribes. The caller stops the consumer, which is nil if there is an error. without
// are nsqds that could not be reached.
func (r *reading) connect(ctx context.Context, config *nsq.Config) (consumer *nsq.Consumer, without []string, err error) {
	cfg := *config
	cfg.MaxInFlight, cfg.RecycleBodies, cfg.MaxAttempts = inHand, false, 0
	if r.percent < 100 {
		cfg.SampleRate = int32(r.percent) - 1 // nsqd sends one percent more
	}
	cfg.Hooks = append(slices.Clip(cfg.Hooks), nsq.Hooks{Disconnected: r.lost})
	channel := fmt.Sprintf("%s%08x#ephemeral", r.channel, mathrand.Uint32()) // #nosec G404 -- a name
	consumer, err = nsq.NewConsumer(r.topic, channel, &cfg)
	if err != nil {
		return nil, nil, err
	}
	consumer.AddHandler(r)
	bounded, cancel := context.WithTimeoutCause(ctx, connectTimeout, errors.New("it does not respond"))
	defer cancel()
	err = consumer.Connect(bounded, r.addrs...)
	up := 0
	for _, c := range consumer.Snapshot().Connections {
		if c.State == nsq.ConnectionUp {
			up++
			continue
		}
		// It is not tried again: until then the topic could have lost its channels there.
		_ = consumer.DisconnectFromNSQD(c.Addr)
		without = append(without, c.Addr+" cannot be reached")
	}
	if up == 0 {
		stop(consumer)
		if err == nil { // an nsqd has hung up after it had said yes
			err = errors.New("no connection has lasted")
		}
		return nil, nil, err
	}
	return consumer, without, nil
}

// stop stops a consumer, and waits until it has disconnected.
func stop(c *nsq.Consumer) {
	c.Stop()
	<-c.StopChan
}

// sampleRate returns how many percent of the messages nsqd is to send, at a topic with this rate.
func sampleRate(perSecond float64) (percent int) {
	if perSecond <= fastTopic {
		return 100
	}
	return max(int(100*fastTopic/perSecond), 2) // nsqd knows no less
}

// readings are those that viewers have begun.
type readings struct {
	mu   sync.Mutex
	byID map[string]*reading
}

// add adds a reading, and forgets those that nobody attends and the oldest of those that have
// ended. ok is false if there are too many.
func (rs *readings) add(r *reading) (ok bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	running, ended := 0, []*reading(nil)
	for id, other := range rs.byID {
		switch began, left := other.stage(); {
		case !left.IsZero():
			ended = append(ended, other)
		case began || time.Since(other.made) <= unattended:
			running++
		default:
			delete(rs.byID, id)
		}
	}
	slices.SortFunc(ended, func(a, b *reading) int { return b.made.Compare(a.made) })
	for _, old := range ended[min(len(ended), maxEnded):] {
		delete(rs.byID, old.id)
	}
	if running >= maxReadings {
		return false
	}
	r.id = rand.Text()
	rs.byID[r.id] = r
	return true
}

// get returns a reading, or nil.
func (rs *readings) get(id string) *reading {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.byID[id]
}

// stage returns whether a stream has the reading or had it, and when that has ended.
func (r *reading) stage() (began bool, left time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.began, r.left
}

// leave says that the stream has ended.
func (r *reading) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(nil)
	r.left = time.Now()
}

// begin reports whether the caller's stream is the first one of the reading: it has no other.
func (r *reading) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.began
	r.began = true
	return first
}

// words says what of the messages of the last seconds is shown. before are the counts of then.
func (r *reading) words(before, now counts, over time.Duration) string {
	if now.seen == 0 {
		return "No message has come yet. What already waits in channels is not shown."
	}
	perSecond := func(n float64) float64 { return n / over.Seconds() }
	shown, fit, seen := perSecond(now.shown-before.shown), perSecond(now.fit-before.fit), perSecond(now.seen-before.seen)
	about := ""
	if r.percent < 100 {
		about = "about "
	}
	words, of := "", "messages"
	if now.fit < now.seen {
		of = "messages with this text"
	}
	switch left := now.fit - now.shown; {
	case left < 1:
		words = fmt.Sprintf("Shows all %s: %s a second, %s in all.", of, figures.Rate(fit), figures.Count(int64(now.fit)))
	case fit > 0:
		words = fmt.Sprintf("Shows %s of %s%s %s a second (%s). %s%s left out so far.", figures.Rate(shown), about, figures.Rate(fit), of,
			figures.Share(min(shown/fit, 1)), capital(about), figures.Count(int64(left)))
	default:
		words = fmt.Sprintf("No %s just now. %s%s left out so far.", of, capital(about), figures.Count(int64(left)))
	}
	if now.fit < now.seen {
		words += fmt.Sprintf(" %s%s others come a second.", capital(about), figures.Rate(seen-fit))
	}
	return words
}
