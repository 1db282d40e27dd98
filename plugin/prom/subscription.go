package nsqprom

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
)

type subscriptionKey struct{ topic, channel string }

type outcomeKey struct {
	subscriptionKey
	outcome nsq.Outcome
}

// subscription is the series of a topic and channel.
type subscription struct {
	presence
	gauges
	lastMessage time.Time // over all Consumers so far

	age, wait *histogram
	abandoned [len(reasons)]atomic.Uint64
	buried    [len(results)]atomic.Uint64

	mu    sync.Mutex           // guards nsqds, and connects of each
	nsqds map[string]*nsqdLink // by label
}

// outcome is the series of a topic, channel and outcome.
type outcome struct {
	subscription *subscription
	messages     atomic.Uint64
	handling     *histogram
}

// nsqdLink is the series of an nsqd of a topic and channel. All but connects belongs to
// the scrape.
type nsqdLink struct {
	live bool // a Consumer has the nsqd now
	counts
	connects        [2]uint64 // by results
	inFlight, ready int
}

// gauges are what the live Consumers of a subscription add up to.
type gauges struct {
	connections                         [len(states)]int
	maxInFlight, handlers, busy, queued int
	oldest                              time.Duration
	backoff                             int
	paused                              bool
}

// The values of labels. The series of all values are exported from the start, so that the
// first event is an increase.
var (
	results  = [...]string{"ok", "error"}
	reasons  = [...]string{"timeout", "connection", "too_big", "refused"}
	states   = [...]nsq.ConnectionState{nsq.ConnectionDialing, nsq.ConnectionUp, nsq.ConnectionClosing, nsq.ConnectionWaiting}
	outcomes = [...]nsq.Outcome{
		nsq.OutcomeFinished, nsq.OutcomeRequeued, nsq.OutcomeDiscarded, nsq.OutcomeBuried, nsq.OutcomeGivenUp,
		nsq.OutcomeAnswered, nsq.OutcomePending,
	}
)

func (m *Metrics) subscriptionLabels(names subscriptionKey) subscriptionKey {
	return subscriptionKey{m.topicLabel(names.topic), m.topicLabel(names.channel)}
}

func (m *Metrics) newSubscription(labels subscriptionKey) *subscription {
	return &subscription{
		age:   newHistogram(m.ageSeconds, labels.topic, labels.channel),
		wait:  newHistogram(m.waitSeconds, labels.topic, labels.channel),
		nsqds: map[string]*nsqdLink{},
	}
}

func (m *Metrics) outcomeLabels(names outcomeKey) outcomeKey {
	return outcomeKey{m.subscriptionLabels(names.subscriptionKey), nsq.Outcome(valid(string(names.outcome)))}
}

// newOutcome makes the series of an outcome. It finds the subscription by labels, not by
// names, because TopicLabel must not be applied twice.
func (m *Metrics) newOutcome(labels outcomeKey) *outcome {
	return &outcome{
		subscription: m.subscriptions.labelled(labels.subscriptionKey),
		handling:     newHistogram(m.handlingSeconds, labels.topic, labels.channel, string(labels.outcome)),
	}
}

// link returns the series of an nsqd. The caller holds mu.
func (s *subscription) link(label string) *nsqdLink {
	l := s.nsqds[label]
	if l == nil {
		l = &nsqdLink{}
		s.nsqds[label] = l
	}
	return l
}

func (s *subscription) connected(nsqd string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link(nsqd).connects[resultOf(err)]++
}

// resultOf returns the index of a result.
func resultOf(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

// clear resets what a scrape adds up.
func (s *subscription) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.gauges = false, gauges{}
	for _, l := range s.nsqds {
		l.live, l.inFlight, l.ready = false, 0, 0
	}
}

// reading is what the last scrape read from a Consumer.
type reading struct {
	source  func() nsq.Snapshot
	stopped <-chan int
	before  map[string]counts // by the label of the nsqd
}

// read adds what a Consumer has counted since its last reading, and its state unless it
// has stopped. It returns the Consumer's names.
func (m *Metrics) read(r *reading) (names subscriptionKey, stopped bool) {
	select {
	case <-r.stopped: // checked before the snapshot, so that a stopped Consumer is read once more
		stopped = true
	default:
	}
	snapshot := r.source()
	names = subscriptionKey{snapshot.Topic, snapshot.Channel}
	s := m.subscriptions.get(names)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = true
	now := map[string]counts{}
	for _, conn := range snapshot.Connections {
		nsqd := m.nsqdLabel(conn.Addr)
		sum := now[nsqd]
		sum.add(countsOf(conn.Counts))
		now[nsqd] = sum
		s.link(nsqd).state(conn)
		s.connection(conn)
	}
	if !m.options.perNSQD { // this includes nsqds that were let go
		now = map[string]counts{"": countsOf(snapshot.Counts)}
		s.link("").live = true
	}
	for nsqd, sum := range now {
		s.link(nsqd).add(sum.since(r.before[nsqd]))
	}
	r.before = now
	if !stopped {
		s.live = true
		s.consumer(snapshot)
	}
	return names, stopped
}

func (l *nsqdLink) state(conn nsq.ConnectionSnapshot) {
	l.live = true
	l.inFlight += conn.InFlight
	l.ready += conn.RDY
}

func (s *subscription) connection(conn nsq.ConnectionSnapshot) {
	if i := slices.Index(states[:], conn.State); i >= 0 {
		s.connections[i]++
	}
	if conn.LastMessage.After(s.lastMessage) {
		s.lastMessage = conn.LastMessage
	}
}

func (g *gauges) consumer(s nsq.Snapshot) {
	g.maxInFlight += s.MaxInFlight
	g.handlers += s.Handlers
	g.busy += s.Busy
	g.queued += s.Queued
	g.oldest = max(g.oldest, s.Oldest)
	g.backoff = max(g.backoff, s.BackoffLevel)
	g.paused = g.paused || s.Paused
}
