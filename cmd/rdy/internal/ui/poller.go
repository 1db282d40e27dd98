package ui

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

const (
	pollTimeout   = 20 * time.Second
	longestPause  = time.Minute
	busyShare     = 20 // a poll takes at most one part in 20 of the time
	clientPollers = 16 // channels whose clients are polled for viewers
)

// state is what is known after a poll. Nothing changes it.
type state struct {
	report   *judge.Report // nil before the first poll
	interval time.Duration // until the next poll
	cluster  []point       // what the cluster has done, for the overview's chart
}

// poller polls the cluster, once for all viewers.
type poller struct {
	cluster *admin.Cluster
	least   time.Duration
	judge   *judge.Judge // used by run alone
	history *history     // has a lock of its own

	mu      sync.Mutex
	now     *state
	changed chan struct{} // closed when now changes
	watched map[judge.Name]int
}

func newPoller(c *admin.Cluster, least time.Duration) *poller {
	return &poller{
		cluster: c, least: least, judge: judge.New(), history: newHistory(),
		now: &state{interval: least}, changed: make(chan struct{}), watched: make(map[judge.Name]int),
	}
}

// run polls until ctx ends.
func (p *poller) run(ctx context.Context) {
	for ctx.Err() == nil {
		interval := p.poll(ctx)
		select {
		case <-time.After(interval):
		case <-ctx.Done():
		}
	}
}

// poll polls once, and returns the time to the next poll.
func (p *poller) poll(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	begin := time.Now()
	for _, name := range p.clientsWanted() {
		if clients, _ := p.cluster.PollClients(ctx, name.Topic, name.Channel); clients != nil { // Poll names what is missing
			p.judge.AddClients(clients)
		}
	}
	view, err := p.cluster.Poll(ctx)
	if view == nil || ctx.Err() != nil {
		return p.least
	}
	report := p.judge.Add(view)
	interval := p.least
	if err == nil { // a daemon that hangs keeps nobody busy
		interval = min(max(p.least, busyShare*time.Since(begin)), longestPause)
	}
	p.history.add(report)
	p.publish(&state{report: report, interval: interval})
	return interval
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
