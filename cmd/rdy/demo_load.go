package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
)

// demoTick is the time between two batches of a topic.
const demoTick = 100 * time.Millisecond

// demoStream is a topic of "rdy demo --ui" with its channels.
type demoStream struct {
	topic    string
	rate     float64 // messages per second
	channels []*demoGroup

	faster atomic.Bool // it is published twice as fast
}

// demoGroup is a channel with its consumers: two programs, each with two handlers.
type demoGroup struct {
	topic, channel string
	work           time.Duration // that a handler takes

	failing atomic.Bool // half of the deliveries fail

	mu        sync.Mutex
	hung      chan struct{} // closed when the handlers go on; nil unless they hang
	consumers []*nsq.Consumer
}

// demoLoad publishes to topics and consumes them.
type demoLoad struct {
	*demoPage
	streams               []*demoStream
	clicks                *demoStream // those that have faults
	billing, audit, fraud *demoGroup

	pool       *nsq.ProducerPool
	publishers sync.WaitGroup
	cancel     context.CancelFunc
}

// invent makes up the topics and channels. Twice as many clicks are more than clicks/rollup can
// handle.
func (l *demoLoad) invent() {
	group := func(channel string, work time.Duration) *demoGroup { return &demoGroup{channel: channel, work: work} }
	l.billing, l.audit, l.fraud = group("billing", 40*time.Millisecond), group("audit", 20*time.Millisecond), group("fraud-check", 80*time.Millisecond)
	l.clicks = &demoStream{topic: "clicks", rate: 120, channels: []*demoGroup{group("rollup", 22*time.Millisecond), group("archive", 15*time.Millisecond)}}
	l.streams = []*demoStream{
		l.clicks,
		{topic: "orders", rate: 60, channels: []*demoGroup{l.billing, group("shipping", 40*time.Millisecond), l.audit}},
		{topic: "payments", rate: 25, channels: []*demoGroup{l.fraud}},
		{topic: "emails", rate: 8, channels: []*demoGroup{group("send", 150*time.Millisecond)}},
	}
	for _, s := range l.streams {
		for _, g := range s.channels {
			g.topic = s.topic
		}
	}
}

// startLoad begins to consume, which creates the channels, and to publish. The load goes on
// until ctx ends, and then its stop waits for it.
func (p *demoPage) startLoad(ctx context.Context) (*demoLoad, error) {
	pool, err := nsq.NewProducerPool(p.addrs(), p.client("producer", "web-1"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &demoLoad{demoPage: p, pool: pool, cancel: cancel}
	l.invent()
	for _, s := range l.streams {
		for _, g := range s.channels {
			if err := l.consume(ctx, g); err != nil {
				l.stop()
				return nil, err
			}
		}
		l.publishers.Go(func() { l.publish(ctx, s) })
	}
	return l, nil
}

// stop ends the load and waits for it.
func (l *demoLoad) stop() {
	l.cancel() // handlers that hang go on
	l.publishers.Wait()
	l.pool.Stop()
	var stopping sync.WaitGroup
	for _, s := range l.streams {
		for _, g := range s.channels {
			stopping.Go(g.leave)
		}
	}
	stopping.Wait()
}

// client returns the config of a program on a host, both invented.
func (p *demoPage) client(name, host string) *nsq.Config {
	log, level := p.logger()
	p.mute(level) // a fault on purpose is no news
	cfg := p.config(log)
	cfg.ClientID, cfg.Hostname = name, host
	cfg.DefaultRequeueDelay, cfg.MaxBackoffDuration = 0, 0
	return cfg
}

// publish publishes to a topic until ctx ends, unevenly, as it is in life. What no nsqd takes is
// left out.
func (l *demoLoad) publish(ctx context.Context, s *demoStream) {
	tick := time.NewTicker(demoTick)
	defer tick.Stop()
	body := fmt.Appendf(nil, `{"topic":%q,"demo":true}`, s.topic)
	for due := 0.0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		rate := s.rate * (0.8 + 0.4*rand.Float64()) // #nosec G404 -- chance
		if s.faster.Load() {
			rate *= 2
		}
		due += rate * demoTick.Seconds()
		bodies := make([][]byte, int(due))
		if len(bodies) == 0 {
			continue
		}
		due -= float64(len(bodies))
		for i := range bodies {
			bodies[i] = body
		}
		bounded, cancel := context.WithTimeout(ctx, demoPageTimeout)
		_ = l.pool.MultiPublishContext(bounded, s.topic, bodies) // the nsqd may be one that was stopped on purpose
		cancel()
	}
}

// consume starts the consumers of a channel.
func (l *demoLoad) consume(ctx context.Context, g *demoGroup) error {
	for i := range 2 {
		cfg := l.client(fmt.Sprintf("%s-%d", g.channel, i+1), fmt.Sprintf("worker-%d", i+1))
		cfg.MaxInFlight = 8
		cfg.LookupdPollInterval = time.Second // between two attempts to connect
		consumer, err := nsq.NewConsumer(g.topic, g.channel, cfg)
		if err != nil {
			return err
		}
		consumer.AddConcurrentHandlers(nsq.HandlerFunc(func(m *nsq.Message) error { return g.handle(ctx, m) }), 2)
		g.mu.Lock()
		g.consumers = append(g.consumers, consumer)
		g.mu.Unlock()
		if err := consumer.ConnectToNSQDs(l.addrs()); err != nil {
			return err
		}
	}
	return nil
}

// handle takes the time that a handler takes, if there is no fault. After the end of ctx it
// requeues at once.
func (g *demoGroup) handle(ctx context.Context, m *nsq.Message) error {
	g.mu.Lock()
	hung := g.hung
	g.mu.Unlock()
	done := time.NewTimer(g.work)
	defer done.Stop()
	if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
		}
	}
	select {
	case <-done.C:
	case <-ctx.Done():
		m.RequeueWithoutBackoff(0)
		return nil
	}
	if g.failing.Load() && rand.IntN(2) == 0 { // #nosec G404 -- chance
		m.RequeueWithoutBackoff(0)
	}
	return nil
}

// hang makes the handlers hang, until goOn is called.
func (g *demoGroup) hang() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hung = make(chan struct{})
}

// goOn lets handlers that hang go on.
func (g *demoGroup) goOn() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.hung)
	g.hung = nil
}

// leave stops the consumers and waits for them.
func (g *demoGroup) leave() {
	g.mu.Lock()
	leaving := g.consumers
	g.consumers = nil
	g.mu.Unlock()
	for _, c := range leaving {
		c.Stop()
	}
	for _, c := range leaving {
		<-c.StopChan
	}
}
