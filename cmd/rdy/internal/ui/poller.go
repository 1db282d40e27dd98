package ui

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

const (
	pollTimeout    = 20 * time.Second
	clientsTimeout = 3 * time.Second  // of the clients of all channels, which are polled first
	firstPollWait  = 2 * time.Second  // that a page waits for the first poll
	longestPause   = time.Minute      // between two polls
	pauseWithError = 10 * time.Second // the same, if a daemon has failed: it may have made the poll long
	busyShare      = 20               // a poll takes at most one part in 20 of the time
	clientPollers  = 16               // channels whose clients are polled for viewers
	keptEvents     = 500
)

// event is the beginning or the end of a problem, or a fact: that an nsqd has restarted, or that a
// channel was emptied.
type event struct {
	At time.Time
	judge.Problem
}

// state is what is known after a poll. Nothing changes it.
type state struct {
	report   *judge.Report // nil before the first poll
	interval time.Duration // until the next state
	events   []event       // the oldest first
	channels map[judge.Name]*judge.Channel
	topics   map[string]*judge.Topic
	dead     int64 // letters that wait in topics of dead letters
}

// newState returns what is known after a poll that follows before.
func newState(r *judge.Report, interval time.Duration, before *state) *state {
	s := &state{
		report: r, interval: interval, events: before.events, dead: deadCount(r),
		channels: make(map[judge.Name]*judge.Channel, len(r.Channels)), topics: make(map[string]*judge.Topic, len(r.Topics)),
	}
	for i := range r.Channels {
		c := &r.Channels[i]
		s.channels[judge.Name{Topic: c.Topic, Channel: c.Name}] = c
	}
	for i := range r.Topics {
		s.topics[r.Topics[i].Name] = &r.Topics[i]
	}
	if len(r.Began)+len(r.Ended)+len(r.Noted) > 0 {
		s.events = slices.Clone(s.events)
		for _, p := range slices.Concat(r.Ended, r.Began, r.Noted) {
			s.events = append(s.events, event{r.At, p})
		}
		s.events = slices.Clone(s.events[max(0, len(s.events)-keptEvents):])
	}
	return s
}

// resolved returns the problems that have ended, the last one first.
func (s *state) resolved() (ended []judge.Problem) {
	for _, e := range slices.Backward(s.events) {
		if !e.Ended.IsZero() {
			ended = append(ended, e.Problem)
		}
	}
	return ended
}

// poller polls the cluster, once for all viewers.
type poller struct {
	cluster *admin.Cluster
	least   time.Duration
	judge   *judge.Judge  // used by run alone
	history *history      // has a lock of its own
	full    bool          // the history has no room; used by run alone
	trouble func(error)   // nil, or is told that
	hurry   chan struct{} // asks for a poll at once

	mu      sync.Mutex
	now     *state
	changed chan struct{} // closed when now changes
	watched map[judge.Name]int
}

func newPoller(c *admin.Cluster, least time.Duration) *poller {
	return &poller{
		cluster: c, least: least, judge: judge.New(), history: newHistory(), hurry: make(chan struct{}, 1),
		now: &state{interval: least}, changed: make(chan struct{}), watched: make(map[judge.Name]int),
	}
}

// run polls until ctx ends.
func (p *poller) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := time.NewTimer(p.poll(ctx))
		select {
		case <-pause.C:
		case <-p.hurry:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// soon has the cluster polled at once: a viewer has changed something.
func (p *poller) soon() {
	select {
	case p.hurry <- struct{}{}:
	default:
	}
}

// poll polls once, and returns the time to the next poll.
func (p *poller) poll(ctx context.Context) time.Duration {
	begin := time.Now()
	p.pollClients(ctx)
	polling, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	view, err := p.cluster.Poll(polling)
	if view == nil || ctx.Err() != nil {
		return p.least
	}
	report := p.judge.Add(view)
	took := time.Since(begin)
	pause := min(max(p.least, busyShare*took), longestPause)
	if err != nil { // waiting for a daemon keeps nobody busy
		pause = min(pause, max(p.least, pauseWithError))
	}
	p.noteRoom(p.history.add(report))
	before, _ := p.current()
	p.publish(newState(report, pause+took, before))
	return pause
}

// noteRoom tells once that the history has no room for all channels and topics.
func (p *poller) noteRoom(room bool) {
	if !room && !p.full && p.trouble != nil {
		p.trouble(fmt.Errorf("history is kept for at most %s channels and topics: charts of the newest are empty until others are gone",
			figures.Count(mostSeries)))
	}
	p.full = !room
}

// pollClients polls the clients of channels that viewers look at, and of those where they tell
// what is wrong. It is done before the poll that judges them. Poll names the daemons that fail.
func (p *poller) pollClients(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clientsTimeout)
	defer cancel()
	for _, name := range p.clientsWanted() {
		if clients, _ := p.cluster.PollClients(ctx, name.Topic, name.Channel); clients != nil && ctx.Err() == nil {
			p.judge.AddClients(clients)
		}
	}
}

// clientsWanted returns the channels whose clients are to be polled.
func (p *poller) clientsWanted() []judge.Name {
	p.mu.Lock()
	watched, report := slices.Collect(maps.Keys(p.watched)), p.now.report
	p.mu.Unlock()
	wanted := watched[:min(len(watched), clientPollers)]
	if report == nil {
		return wanted
	}
	for _, name := range report.WorthClients {
		if !slices.Contains(wanted, name) {
			wanted = append(wanted, name)
		}
	}
	return wanted
}

func (p *poller) publish(s *state) {
	p.mu.Lock()
	p.now = s
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
}

// current returns what is known, and a channel that is closed when more is.
func (p *poller) current() (*state, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now, p.changed
}

// first returns what is known, after the first poll if that ends soon.
func (p *poller) first(ctx context.Context) *state {
	st, changed := p.current()
	if st.report != nil {
		return st
	}
	patience := time.NewTimer(firstPollWait)
	defer patience.Stop()
	select {
	case <-changed:
	case <-patience.C:
	case <-ctx.Done():
	}
	st, _ = p.current()
	return st
}

// watch makes the poller poll the clients of a channel, until stop is called.
func (p *poller) watch(name judge.Name) (stop func()) {
	p.mu.Lock()
	p.watched[name]++
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.watched[name]--; p.watched[name] == 0 {
			delete(p.watched, name)
		}
	}
}
