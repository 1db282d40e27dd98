package nsq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/sharing"
)

// groupMember is one Consumer of a Group.
type groupMember struct {
	c       *Consumer
	matched bool       // HandleMatching found its topic
	slots   sharing.ID // 0 if it has a max_in_flight of its own
	gone    bool       // it stops because its topic has gone; the Group's mutex guards this
	unwatch func()
}

// Run makes the Consumers, connects them and waits until ctx ends. Then it stops all of them
// at the same time, within the stop_timeout of the Group's Config, and waits until they have
// stopped. As in [Consumer.Run], handlers begin no more messages once ctx has ended, so a
// handler may end the Group by cancelling ctx.
//
// Run returns nil if no Consumer has left anything unfinished. Otherwise it returns a
// [*StopError] of each one that has, joined. Each names its topic and channel.
//
// Run fails before it connects anything
//
//   - if it was called before;
//   - if there is no handler or no address;
//   - if there is a HandleMatching but no nsqlookupd.
//
// Addresses that are added during Run do not count. Run does not fail if nsqds or nsqlookupds
// cannot be reached: that is logged and tried again, and [Group.Health] reports it. Call
// [CheckNSQD] to find out beforehand.
//
// If a Consumer is stopped in another way, the others run on. If a Middleware returns nil for
// a handler of Handle, Run panics, as connecting a Consumer does.
func (g *Group) Run(ctx context.Context) (err error) {
	lookupds, err := g.begin()
	if err != nil {
		return err
	}
	if handlers := g.sharingHandlers(); handlers > g.cfg.MaxInFlight {
		g.log.Warn("max_in_flight is below the number of handlers that share it, some will wait",
			"max_in_flight", g.cfg.MaxInFlight, "handlers", handlers)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() { // also if a Middleware panics
		cancel()
		err = g.stop()
	}()
	for _, h := range g.fixed {
		g.start(ctx, h, false)
	}
	g.running.Go(func() { g.sharer.run(ctx) })
	if g.matcher != nil {
		g.matcher.add(lookupds)
		g.running.Go(func() { g.matcher.run(ctx) })
	}
	<-ctx.Done()
	return nil // the deferred function has the result
}

// begin checks that the Group can run, and returns the nsqlookupds. From then on handlers and
// middleware stay as they are.
func (g *Group) begin() (lookupds []string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ran:
		return nil, errors.New("group: Run was called before")
	case len(g.fixed)+len(g.matching) == 0:
		return nil, fmt.Errorf("group: %w: call Handle before Run", errNoHandlers)
	case len(g.matching) > 0 && len(g.lookupds) == 0:
		return nil, fmt.Errorf("group: topics matching %s can be found by nsqlookupds only: call Discover before Run",
			g.matching[0].re)
	case len(g.nsqds)+len(g.lookupds) == 0:
		return nil, errors.New("group: no addresses: call Connect or Discover before Run")
	}
	g.ran = true
	if len(g.matching) > 0 {
		g.matcher = newMatcher(g)
	}
	return slices.Clone(g.lookupds), nil
}

// sharingHandlers returns how many handlers of Handle share max_in_flight.
func (g *Group) sharingHandlers() (n int) {
	for _, h := range g.fixed {
		if h.opts.Weight > 0 {
			n += h.opts.Concurrency
		}
	}
	return n
}

// start makes a Consumer, and connects it on a goroutine, which then waits for its end. It
// returns nil if the Group is stopping.
func (g *Group) start(ctx context.Context, h handling, matched bool) *groupMember {
	m := g.newMember(ctx, h, matched)
	adopted := g.adopt(m, func(nsqds, lookupds []string) {
		var connects sync.WaitGroup
		connects.Go(func() { _ = m.discover(ctx, lookupds) }) // failures are logged, and tried again
		connects.Go(func() { _ = m.connect(ctx, nsqds) })
		connects.Wait()
		<-m.c.StopChan
		g.sharer.remove(m.slots)
	})
	if !adopted {
		g.sharer.remove(m.slots)
		m.c.stopBy(time.Now())
		<-m.c.StopChan
		return nil
	}
	return m
}

// newMember makes a Consumer. If a Middleware panics or returns nil, newMember stops the
// Consumer and panics.
func (g *Group) newMember(ctx context.Context, h handling, matched bool) *groupMember {
	c := newConsumer(h.topic, h.channel, h.opts.Config.clone(), h.opts.Weight > 0)
	m := &groupMember{c: c, matched: matched}
	defer func() {
		if m.unwatch == nil {
			c.stopBy(time.Now())
			<-c.StopChan
		}
	}()
	g.mu.Lock()
	client := g.client
	g.mu.Unlock()
	c.SetLookupdHttpClient(client)
	c.AddConcurrentHandlers(h.handler, h.opts.Concurrency)
	c.Use(g.middleware...)
	_ = c.beginConnecting() // it has a handler, and cannot have been stopped yet
	if h.opts.Weight > 0 {
		m.slots = g.sharer.add(c, sharing.Member{Weight: h.opts.Weight, Limit: h.opts.MaxInFlight, Strict: h.opts.Strict})
	}
	m.unwatch = c.watch(ctx)
	return m
}

// adopt adds a member and runs a function on a goroutine, with the addresses to connect to. If
// the Group is stopping, it does neither and returns false.
func (g *Group) adopt(m *groupMember, run func(nsqds, lookupds []string)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		return false
	}
	g.members = append(g.members, m)
	nsqds, lookupds := slices.Clone(g.nsqds), slices.Clone(g.lookupds)
	g.running.Go(func() { run(nsqds, lookupds) })
	return true
}

// connect connects the Consumer to nsqds, unless only nsqlookupds may list its nsqds.
func (m *groupMember) connect(ctx context.Context, nsqds []string) error {
	if m.matched || len(nsqds) == 0 {
		return nil
	}
	return m.named(m.c.Connect(ctx, nsqds...))
}

// discover has the Consumer ask nsqlookupds.
func (m *groupMember) discover(ctx context.Context, lookupds []string) error {
	if len(lookupds) == 0 {
		return nil
	}
	return m.named(m.c.Discover(ctx, lookupds...))
}

// named adds the topic and channel to an error.
func (m *groupMember) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s/%s: %w", m.c.topic, m.c.channel, err)
}

// addAddresses adds the addresses that are new to a list and, during Run, has all Consumers
// use them. It waits for the results.
func (g *Group) addAddresses(list *[]string, addrs []string, use func(*groupMember, []string) error) error {
	g.mu.Lock()
	var added []string
	for _, addr := range addrs {
		if !slices.Contains(*list, addr) {
			*list = append(*list, addr)
			added = append(added, addr)
		}
	}
	ran, stopping, members, matcher := g.ran, g.stopping, g.members, g.matcher
	g.mu.Unlock()
	switch {
	case stopping:
		return fmt.Errorf("group: %w", ErrStopped)
	case !ran || len(added) == 0:
		return nil
	case list == &g.lookupds && matcher != nil:
		matcher.add(added)
	}
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { errs[i] = use(m, added) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stop stops all Consumers, with one deadline, and returns their errors.
func (g *Group) stop() error {
	g.mu.Lock()
	g.stopping = true
	members := g.members
	g.mu.Unlock()
	deadline := time.Now().Add(g.cfg.StopTimeout)
	for _, m := range members {
		m.c.stopBy(deadline)
	}
	g.running.Wait()
	var errs []error
	for _, m := range members {
		m.unwatch()
		errs = append(errs, m.c.stopError(errStopTimeout)) // nil if it has left nothing
	}
	g.logs.writeRest()
	return errors.Join(errs...)
}
