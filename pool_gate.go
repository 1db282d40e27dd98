package nsq

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/discover"
	"github.com/rdyhq/nsq/internal/fleet"
)

// doubt is how long a dial of an nsqd that some nsqlookupds do not list waits for the
// responses of the others. One that hangs takes lookupd_poll_timeout.
const doubt = time.Second

// poolGate asks nsqlookupds before an nsqd of a discovered pool is dialled again:
// another nsqd may use its address by then. While an nsqd is lost it asks them ahead of
// their schedule.
type poolGate struct {
	polls chan struct{} // holds a token if the schedule of polls may have changed

	mu      sync.Mutex // guards what follows
	fleet   *fleet.Machine
	changed chan struct{} // closed and replaced with each response or failure
	members map[string]*memberGate
}

func newPoolGate(cfg *Config) *poolGate {
	c := fleet.ConsumerConfig(cfg.LookupdPollInterval, rand.Uint64()) // #nosec G404 -- jitter
	c.Grace = max(c.Grace, unlistedGrace)
	return &poolGate{
		polls:   make(chan struct{}, 1),
		fleet:   fleet.New(c),
		changed: make(chan struct{}),
		members: make(map[string]*memberGate),
	}
}

// discovered reports the result of a poll. It returns the addresses that the pool must
// let go.
func (g *poolGate) discovered(result *discover.Result) (gone []string) {
	responses := lookupdResponses(result)
	g.mu.Lock()
	defer g.mu.Unlock()
	gone = g.fleet.Discovered(time.Now(), responses, nil)
	for _, addr := range gone {
		if m := g.members[addr]; m != nil { // its Producer may end its connection later
			m.gone = true
			delete(g.members, addr)
		}
	}
	close(g.changed)
	g.changed = make(chan struct{})
	return gone
}

// run has nsqlookupds polled ahead of their schedule while an nsqd is lost, until ctx
// ends.
func (g *poolGate) run(ctx context.Context, poller *discover.Poller) {
	timer := time.NewTimer(time.Hour) // set below
	defer timer.Stop()
	for {
		g.mu.Lock()
		now := time.Now()
		poll := g.fleet.Poll(now)
		due, ok := g.fleet.NextPoll()
		g.mu.Unlock()
		if poll {
			poller.Poke()
		}
		timer.Stop()
		if ok {
			timer.Reset(due.Sub(now))
		}
		select {
		case <-timer.C:
		case <-g.polls:
		case <-ctx.Done():
			return
		}
	}
}

// member returns the gate of a new member. lost is called when its connection is lost.
func (g *poolGate) member(addr string, lost func(error)) *memberGate {
	m := &memberGate{poolGate: g, addr: addr, onLost: lost}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members[addr] = m
	return m
}

// memberGate is the dialGate of one member.
type memberGate struct {
	*poolGate
	addr   string
	onLost func(error)
	gone   bool // the pool lets it go; the address may have a new member; guarded by mu
}

// consent returns what nsqlookupds say about the nsqd, and a channel that is closed
// when they have said more.
func (m *memberGate) consent() (fleet.Consent, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return fleet.Withheld, m.changed
	}
	return m.fleet.Consent(m.addr), m.changed
}

func (m *memberGate) open() bool {
	c, _ := m.consent()
	return c == fleet.Given
}

func (m *memberGate) await(ctx context.Context) error {
	var late <-chan time.Time // fires when doubt is over
	for {
		c, changed := m.consent()
		switch c {
		case fleet.Given:
			return nil
		case fleet.Withheld:
			return errNoConsent
		case fleet.Doubtful:
			if late == nil {
				late = time.After(doubt)
			}
		case fleet.Unasked:
		}
		select {
		case <-changed:
		case <-late:
			return errNoConsent
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// awaitOpen waits until the nsqd may be dialled. It reports false when ctx ends or the
// pool lets the nsqd go.
func (m *memberGate) awaitOpen(ctx context.Context) bool {
	for {
		c, changed := m.consent()
		if c == fleet.Given {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
		m.mu.Lock()
		gone := m.gone
		m.mu.Unlock()
		if gone {
			return false
		}
	}
}

func (m *memberGate) connected() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.gone {
		m.fleet.Up(time.Now(), m.addr)
	}
}

func (m *memberGate) parted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone || !m.fleet.Parted(time.Now(), m.addr) {
		return
	}
	select {
	case m.polls <- struct{}{}:
	default:
	}
}

func (m *memberGate) lost(err error) { m.onLost(err) }
