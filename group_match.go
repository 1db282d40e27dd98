package nsq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/discover"
)

const (
	// goneAfter is how many polls in a row must not list a topic for it to have gone.
	goneAfter = 3
	// connectedGrace is how long a topic must be unlisted while its Consumer is connected.
	// An nsqlookupd that restarts lists nothing until nsqds have registered again, which
	// takes them up to 15 s.
	connectedGrace = 30 * time.Second
)

// topicMatch is what HandleMatching was told.
type topicMatch struct {
	re      *regexp.Regexp
	channel string
	handler func(topic string) Handler
	opts    HandleOptions
}

// matcher finds the topics of a Group's HandleMatching. One goroutine, that of run, starts
// and stops their Consumers.
type matcher struct {
	g      *Group
	poller *discover.Poller
	mail   *mailbox // results of the poller, and Consumers that have stopped
	seen   atomic.Pointer[lookupdsSeen]

	// Owned by the goroutine of run:
	ctx     context.Context
	lookups lookupdLog
	taken   map[topicChannel]bool   // those of Handle
	dead    map[string]bool         // the DeadLetterPolicy.Topics of the Group
	found   map[topicChannel]*found // those of HandleMatching that have not gone
}

type topicChannel struct{ topic, channel string }

// found is a topic that matches.
type found struct {
	member  *groupMember // nil if the topic is left alone
	misses  int          // polls in a row that did not list it
	missing time.Time    // when the first of these ended
	ends    bool         // its Consumer is stopping
}

func newMatcher(g *Group) *matcher {
	m := &matcher{
		g: g, mail: newMailbox(), lookups: lookupdLog{log: g.log},
		taken: make(map[topicChannel]bool), dead: make(map[string]bool), found: make(map[topicChannel]*found),
	}
	for _, h := range g.fixed {
		m.taken[topicChannel{h.topic, h.channel}] = true
		m.noteDeadLetters(h.opts.Config)
	}
	for _, of := range g.matching {
		m.noteDeadLetters(of.opts.Config)
	}
	cfg := g.cfg.discoverConfig("", g.client, func(r discover.Result) {
		m.seen.Store(newLookupdsSeen(lookupdSnapshots(&r), 0))
		m.mail.post(func(now time.Time) { m.polled(now, &r) })
	})
	cfg.Topics = true
	m.poller = discover.New(cfg)
	return m
}

// noteDeadLetters notes where a Consumer with this Config sends its dead letters.
func (m *matcher) noteDeadLetters(cfg *Config) {
	if cfg.DeadLetter != nil {
		m.dead[cfg.DeadLetter.Topic] = true // "" is no topic
	}
}

// holdsDeadLetters reports whether a topic is, or may be, one to which the Group's Consumers
// send dead letters. A Consumer that sends some must not find it:
//
//  1. The Consumer of the topic t sends a dead letter to t.c.dead, which matches as well.
//  2. The handler fails again, and the Consumer of t.c.dead sends it to t.c.dead.c.dead.
//  3. That goes on, one topic after the other. If DeadLetterPolicy.Topic names one topic for
//     all, its Consumer has nowhere to send the dead letter and gives it up: it is lost.
func (m *matcher) holdsDeadLetters(topic string) bool {
	return strings.HasSuffix(topic, deadSuffix) || m.dead[topic]
}

// add adds nsqlookupds, whose addresses are valid.
func (m *matcher) add(lookupds []string) {
	for _, addr := range lookupds {
		if u, err := discover.ParseAddr(addr); err == nil {
			m.poller.Add(u)
		}
	}
}

// run polls, and acts on the results, until ctx ends.
func (m *matcher) run(ctx context.Context) {
	m.ctx = ctx
	m.g.running.Go(func() { m.poller.Run(ctx) })
	m.mail.serve(ctx.Done())
}

// polled starts Consumers of topics that are new, and stops those of topics that have gone.
func (m *matcher) polled(now time.Time, r *discover.Result) {
	m.lookups.note(r)
	for _, topic := range r.Topics {
		for i := range m.g.matching {
			if of := &m.g.matching[i]; of.re.MatchString(topic) && IsValidTopicName(topic) {
				m.find(topicChannel{topic, of.channel}, of)
			}
		}
	}
	for key, f := range m.found {
		_, listed := slices.BinarySearch(r.Topics, key.topic)
		switch {
		case listed || len(r.Failed) > 0:
			f.misses = 0
		case r.Conclusive() && f.missed(now, m.g.cfg.LookupdPollInterval):
			m.letGo(key, f)
		}
	}
}

// find starts the Consumer of a topic that is listed, unless there is one.
func (m *matcher) find(key topicChannel, of *topicMatch) {
	if m.taken[key] || m.found[key] != nil {
		return
	}
	f := &found{}
	m.found[key] = f
	if of.opts.Config.DeadLetter != nil && m.holdsDeadLetters(key.topic) {
		m.g.log.Info("leaving a topic of dead letters alone", "topic", key.topic, "channel", key.channel)
		return
	}
	defer func() {
		if p := recover(); p != nil {
			m.g.log.Error("cannot make the handler of a topic, leaving the topic alone",
				"topic", key.topic, "channel", key.channel, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if h := of.handler(key.topic); h != nil {
		m.g.log.Info("found a topic", "topic", key.topic, "channel", key.channel)
		f.member = m.g.start(m.ctx, handling{key.topic, key.channel, h, of.opts}, true)
	}
}

// missed notes a poll that did not list the topic, and reports whether it has gone.
func (f *found) missed(now time.Time, interval time.Duration) bool {
	if f.misses == 0 {
		f.missing = now
	}
	f.misses++
	grace := interval * 3 / 2 // an extra poll, as for a new nsqlookupd, does not shorten the time
	if f.member != nil && len(f.member.c.connected.Load().open) > 0 {
		grace = max(grace, connectedGrace)
	}
	return f.misses >= goneAfter && now.Sub(f.missing) >= grace
}

// letGo stops the Consumer of a topic that has gone. If the topic comes back, a new Consumer
// starts once the old one has stopped.
func (m *matcher) letGo(key topicChannel, f *found) {
	if f.member == nil {
		delete(m.found, key)
		return
	}
	if f.ends {
		return
	}
	f.ends = true
	m.g.log.Info("a topic is not listed any more, stopping its consumer", "topic", key.topic, "channel", key.channel)
	m.g.retire(f.member, func() { m.mail.post(func(time.Time) { delete(m.found, key) }) })
}

// retire stops a Consumer while the Group runs on. Once it has stopped, the Group forgets it
// and calls after.
func (g *Group) retire(m *groupMember, after func()) {
	g.mu.Lock()
	stopping := g.stopping // then the Group stops this Consumer as well
	if !stopping {
		m.gone = true
		g.running.Go(func() {
			<-m.c.StopChan
			g.forget(m)
			after()
		})
	}
	g.mu.Unlock()
	if !stopping {
		m.c.stopBy(time.Now().Add(g.cfg.StopTimeout))
		g.sharer.drain(m.slots)
	}
}

// forget removes a Consumer that has stopped, unless the Group is stopping: Run then returns
// what the Consumer has left unfinished.
func (g *Group) forget(m *groupMember) {
	counts := m.c.Snapshot().Counts
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.stopping {
		g.past.add(&counts)
		m.unwatch()
		g.members = slices.DeleteFunc(slices.Clone(g.members), func(o *groupMember) bool { return o == m })
	}
}

// errNoTopicsYet is the state of a matcher before the first response of an nsqlookupd.
var errNoTopicsYet = errors.New("no nsqlookupd has responded yet")

// health returns an error for each HandleMatching if no nsqlookupd responds.
func (m *matcher) health() error {
	why := errNoTopicsYet
	if seen := m.seen.Load(); seen != nil {
		if seen.responding {
			return nil
		}
		why = cmp.Or(seen.failed, why)
	}
	var errs []error
	for _, of := range m.g.matching {
		errs = append(errs, &HealthError{
			Topic: of.re.String(), Channel: of.channel, Cause: CauseNotConnected,
			Err: fmt.Errorf("topics are unknown: %w", why),
		})
	}
	return errors.Join(errs...)
}
