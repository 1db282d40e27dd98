package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
	"golang.org/x/time/rate"
)

const (
	// copyStopGrace is how long publishes may take after a stop has begun. The rest of
	// stopTimeout is for giving messages back.
	copyStopGrace = 3 * time.Second

	// A publish that gets no reply is given up after copyPatience if there is another nsqd to
	// try. If there is none, a new try can only make more copies.
	copyPatience      = 30 * time.Second
	copyPatienceAlone = 5 * time.Minute
)

// copier is a copy command at work: what its topics share.
type copier struct {
	*copyCommand
	stopping context.Context         // ends when the command is to stop
	working  context.Context         // ends copyStopGrace later
	fail     context.CancelCauseFunc // ends the command
	stopped  chan struct{}           // closed when all consumers have stopped
	running  sync.WaitGroup
	patience time.Duration       // of a publish
	targets  []*nsq.ProducerPool // each message goes to all of them
	maxBody  int                 // of the destination's config; 0 means no limit
	stats    *copyStats
	limit    *rate.Limiter // nil without --rate
	batch    int           // largest number of messages in a batch
	guard    loopGuard
	inARow   atomic.Int32 // messages that were refused since the last copy
	refusals sync.Map     // kinds of refusals that a line was printed for
	burials  *burials     // nil without --dead-letter

	mu     sync.Mutex // guards copies
	copies map[string]*topicCopier
}

// run copies messages until ctx ends, and prints the report.
func (c *copyCommand) run(ctx context.Context, cfg, to *nsq.Config) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	working, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	r := &copier{
		copyCommand: c, stopping: ctx, working: working, fail: fail, stopped: make(chan struct{}),
		patience: copyPatience, maxBody: int(to.MaxMsgSize), batch: copyMessages,
		stats: newCopyStats(c.statusEvery, time.Now()), guard: loopGuard{lookup: c.lookup}, copies: make(map[string]*topicCopier),
	}
	if c.mode == modeAll || len(c.to) == 1 {
		r.patience = copyPatienceAlone
	}
	if c.rate > 0 {
		r.batch = min(r.batch, max(1, int(c.rate/batchesPerSecond)))
		r.limit = rate.NewLimiter(rate.Limit(c.rate), r.batch)
	}
	to.Hooks = []nsq.Hooks{{PoolChanged: r.tellPool}}
	defer r.stopTargets()
	if err := r.makeTargets(to); err != nil {
		return err
	}
	if c.deadLetter != "" {
		pool, err := c.pool(cfg)
		if err != nil {
			return err
		}
		defer pool.Stop()
		cfg.DeadLetter = &nsq.DeadLetterPolicy{To: pool, Topic: c.deadLetter}
		cfg.Hooks = []nsq.Hooks{{Buried: r.buried}}
		cfg.Logger = c.withoutHopeless(cfg.Logger)
		r.burials = &burials{app: c.app}
		defer r.burials.run()()
	}
	group, err := nsq.NewGroup(cfg)
	if err != nil {
		return err
	}
	r.running.Go(func() { r.attend(end) })
	if err = r.subscribe(ctx, group); err == nil {
		err = group.Run(ctx)
	}
	fail(err) // without effect, unless the group did not run
	close(r.stopped)
	r.running.Wait()
	if endless, ok := errors.AsType[*endlessError](context.Cause(ctx)); ok {
		err = errors.Join(endless, err)
	}
	return errors.Join(err, r.reportEnd(group))
}

// makeTargets makes a pool of all nsqds that get copies or, if each gets all messages, one of
// each. A pool tries again while nothing works, as long as a context with a deadline allows.
func (r *copier) makeTargets(cfg *nsq.Config) error {
	if len(r.toLookupds) > 0 {
		pool, err := nsq.NewDiscoveredProducerPool(r.toLookupds, cfg)
		if err == nil {
			pool.SetLookupdHttpClient(r.lookupdClient)
		}
		return r.addTarget(pool, err)
	}
	if r.mode == modeFailover {
		return r.addTarget(nsq.NewProducerPool(r.to, cfg))
	}
	for _, addr := range r.to {
		if err := r.addTarget(nsq.NewProducerPool([]string{addr}, cfg)); err != nil {
			return err
		}
	}
	return nil
}

func (r *copier) addTarget(pool *nsq.ProducerPool, err error) error {
	if err == nil {
		r.targets = append(r.targets, pool)
	}
	return err
}

func (r *copier) stopTargets() {
	var stops sync.WaitGroup
	for _, pool := range r.targets {
		stops.Go(pool.Stop)
	}
	stops.Wait()
}

// attend keeps the leases of all messages in hand until all consumers have stopped. It calls
// end copyStopGrace after a stop has begun.
func (r *copier) attend(end func()) {
	tick := time.NewTicker(leaseTick)
	defer tick.Stop()
	stopping := r.stopping.Done()
	var grace <-chan time.Time
	for {
		select {
		case <-r.stopped:
			return
		case now := <-tick.C:
			r.keepLeases(now)
		case <-stopping:
			stopping, grace = nil, time.After(copyStopGrace)
		case <-grace:
			end()
		}
	}
}

func (r *copier) keepLeases(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.copies {
		t.hand.keepLeases(now)
	}
}

// subscribe adds the handlers and addresses to the group. Nothing is connected yet.
func (r *copier) subscribe(ctx context.Context, group *nsq.Group) error {
	for _, topic := range r.topics {
		if err := group.Handle(topic, r.channel, r.copierOf(topic), nsq.HandleOptions{}); err != nil {
			return err
		}
	}
	if r.pattern != nil {
		if err := group.HandleMatching(r.pattern, r.channel, r.found, nsq.HandleOptions{}); err != nil {
			return err
		}
	}
	return errors.Join(group.Connect(ctx, r.nsqds...), group.Discover(ctx, r.lookupds...))
}

// found returns the handler of a topic that matches, nil if it cannot be copied.
func (r *copier) found(topic string) nsq.Handler {
	err := r.checkTopic(topic)
	if err == nil {
		return r.copierOf(topic)
	}
	if _, endless := errors.AsType[*endlessError](err); endless {
		r.fail(err)
	} else {
		r.notice("rdy: leaving topic %s alone: %v", topic, err)
	}
	return nil
}

// copierOf returns the handler of a topic. A topic that has gone and comes back has the same
// one as before.
func (r *copier) copierOf(topic string) *topicCopier {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.copies[topic]; t != nil {
		return t
	}
	to := r.destination(topic)
	t := &topicCopier{copier: r, topic: topic, to: to, loops: r.reads(to), hand: newHand(), partial: newPartial()}
	t.hand.hurry()
	r.copies[topic] = t
	r.running.Go(t.run)
	return t
}

// tellPool tells the user that an nsqd fails, or works again.
func (r *copier) tellPool(e nsq.PoolEvent) {
	if e.Healthy {
		r.notice("rdy: nsqd %s works again", e.Addr)
		return
	}
	r.notice("rdy: no copies go to nsqd %s until it works again: %v", e.Addr, e.Err)
}

// buried counts a dead letter.
func (r *copier) buried(e nsq.BuriedEvent) {
	if e.PublishErr == nil {
		r.burials.add(e)
	}
	r.count(func(n *copyCounts) {
		if e.PublishErr == nil {
			n.deadLetters++
		} else {
			n.requeued++
		}
	})
}

// count counts the ends of deliveries, and reports if that is due. An error of standard
// output shows at the end.
func (r *copier) count(change func(*copyCounts)) {
	if report := r.stats.count(change, time.Now()); report != nil {
		_ = r.print(report)
	}
}

// reportEnd reports the whole run. The consumers know of more requeues than was counted: they
// give back what no handler has begun when a stop begins. But the group forgets the consumers of
// topics that have gone, and with them their counts.
func (r *copier) reportEnd(group *nsq.Group) error {
	report := r.stats.end(time.Now())
	requeued := 0
	for _, c := range group.Consumers() {
		requeued += int(c.Stats().MessagesRequeued) // #nosec G115 -- a count
	}
	report.Requeued = max(report.Requeued, requeued)
	for _, pool := range r.targets {
		for _, m := range pool.Snapshot() {
			report.NSQDs = append(report.NSQDs, copiedTo{m.Addr, m.Published, m.Refused, m.NotSent, m.Unknown})
		}
	}
	return r.print(report)
}

func (r *copier) print(report *copyReport) error {
	if r.json {
		return r.printJSON(report)
	}
	r.notice("rdy: %s", report.line())
	return nil
}

// refuse ends a message that cannot be copied, ever: kind says why, in words that messages
// with the same trouble share. It may wait until a dead letter is stored.
func (r *copier) refuse(m *nsq.Message, kind string, err error) {
	err = fmt.Errorf("%s: %w", kind, err)
	if r.deadLetter != "" {
		m.Answer(nsq.DeadLetter(hopeless{err})) // buried counts it
		return
	}
	if _, before := r.refusals.LoadOrStore(kind, true); !before {
		r.notice("rdy: topic %s, message %s: %v; it comes again in %v, and others like it are not reported; --dead-letter keeps such messages in a topic",
			m.Topic(), m.ID[:], err, refusedDelay)
	}
	r.count(func(n *copyCounts) { n.requeued++ })
	if r.inARow.Add(1) > patience { // otherwise nsqd would defer the whole backlog, and that takes its memory
		m.Requeue(refusedDelay)
		return
	}
	m.Answer(nsq.RetryAfter(refusedDelay, err))
}
