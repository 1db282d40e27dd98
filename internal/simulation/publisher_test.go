package simulation

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/delay"
)

const probes = 50 // until a publisher gives up

// publisher publishes messages, by several callers.
type publisher struct {
	*world
	line
	name, topic string
	send        func(ids []string) // publishes messages, and notes what it is told
	counts      func() nsq.ProducerCounts
	told        [3]atomic.Int64 // how many messages, by verdict
	stopped     atomic.Bool     // or about to
	many        int             // messages in one publish
	stop        func()          // once
}

// sender is what Producers and pools have.
type sender interface {
	nsq.Publisher
	Publish(topic string, body []byte) error
	PublishAsync(topic string, body []byte, done chan *nsq.ProducerTransaction, args ...any) error
	DeferredPublishContext(ctx context.Context, topic string, delay time.Duration, body []byte) error
	Stop()
}

func newPublisher(w *world, l line) *publisher {
	p := &publisher{world: w, line: l, name: l.name(0), topic: l.name(1), many: 1}
	cfg := w.config(p.name)
	if l.number("unpacked") > 0 {
		cfg.PackPublishes = false
	}
	s := p.sender(cfg)
	p.stop = sync.OnceFunc(func() {
		p.stopped.Store(true)
		begin := time.Now()
		s.Stop()
		if took := time.Since(begin); took > longest {
			w.Errorf("%s: the stop took %v", p.name, took)
		}
	})
	switch l.text("kind") {
	case "plain":
		p.send = func(ids []string) { p.tell(ids, s.Publish(p.topic, p.body(ids[0])), false) }
	case "async":
		p.send = func(ids []string) { p.async(s, ids) }
	case "multi":
		p.many = 5
		p.send = func(ids []string) {
			var bodies [][]byte
			for _, id := range ids {
				bodies = append(bodies, p.body(id))
			}
			ctx, cancel := p.patience()
			defer cancel()
			p.tell(ids, s.MultiPublishContext(ctx, p.topic, bodies), true)
		}
	case "deferred":
		p.send = func(ids []string) {
			ctx, cancel := p.patience()
			defer cancel()
			p.tell(ids, s.DeferredPublishContext(ctx, p.topic, time.Duration(chance(ids[0])*5)*time.Millisecond, p.body(ids[0])), true)
		}
	case "delayed":
		p.send = func(ids []string) {
			ctx, cancel := p.patience()
			defer cancel()
			at := time.Now().Add(time.Duration(chance(ids[0])*20) * time.Millisecond)
			p.ledger.begin(p.topic, ids[0], true, at)
			p.tell(ids, delay.Publish(ctx, s, p.topic, at, p.body(ids[0])), true)
		}
	case "batcher":
		p.batch(s)
	default:
		p.send = func(ids []string) {
			ctx, cancel := p.patience()
			defer cancel()
			p.tell(ids, s.PublishContext(ctx, p.topic, p.body(ids[0])), true)
		}
	}
	return p
}

// sender returns what the publisher publishes through.
func (p *publisher) sender(cfg *nsq.Config) sender {
	switch p.text("kind") {
	case "pool":
		pool, err := nsq.NewProducerPool(p.addrs(), cfg)
		if err != nil {
			panic(err)
		}
		pool.AllowDuplicates(p.number("twice") > 0)
		p.counts = pool.Counts
		return pool
	case "discovered":
		pool, err := nsq.NewDiscoveredProducerPool(p.lookupAddrs(), cfg)
		if err != nil {
			panic(err)
		}
		pool.SetLookupdHttpClient(p.net.daemons.HTTPClient())
		pool.AllowDuplicates(p.number("twice") > 0)
		p.counts = pool.Counts
		return pool
	}
	producer := p.producer(p.text("to"), cfg)
	p.counts = func() nsq.ProducerCounts { return producer.Snapshot().ProducerCounts }
	return producer
}

func (p *publisher) batch(s sender) {
	b, err := nsq.NewBatcher(s, nsq.BatchOptions{MaxMessages: 7})
	if err != nil {
		panic(err)
	}
	p.send = func(ids []string) {
		ctx, cancel := p.patience()
		defer cancel()
		p.tell(ids, b.PublishContext(ctx, p.topic, p.body(ids[0])), true)
	}
	stop := p.stop
	p.stop = sync.OnceFunc(func() {
		p.stopped.Store(true)
		b.Stop()
		stop()
	})
}

func (p *publisher) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(background, cmp.Or(p.ms("wait"), time.Second))
}

func (p *publisher) body(id string) []byte {
	return []byte(id + " " + strings.Repeat(".", p.number("size")))
}

// run publishes all messages. Each caller publishes the next when it knows of the one before.
func (p *publisher) run() {
	sleep(p.ms("from"))
	callers := max(p.number("callers"), 1)
	var running sync.WaitGroup
	for caller := range callers {
		running.Go(func() {
			for i := caller; i < p.number("messages"); i += callers {
				p.publish(i)
				sleep(p.ms("every") * time.Duration(50+chance(p.name, i, "every")) / 100)
			}
		})
	}
	running.Wait()
}

// publish publishes one message or, if the publisher does so, many together.
func (p *publisher) publish(i int) {
	var ids []string
	for k := range p.many {
		ids = append(ids, fmt.Sprintf("%s-%d.%d", p.name, i, k))
	}
	for _, id := range ids {
		p.ledger.begin(p.topic, id, p.number("twice") > 0, time.Time{})
	}
	p.send(ids)
}

// probe publishes until it is told that a message is stored.
func (p *publisher) probe() {
	for i := range probes {
		before := p.told[stored].Load()
		if p.stopped.Load() {
			return
		}
		p.publish(p.number("messages") + i)
		if p.told[stored].Load() > before {
			return
		}
		sleep(100 * time.Millisecond)
	}
	p.Errorf("%v: %s cannot publish any more", time.Since(p.begin), p.name)
}

// checkStopped checks what a publisher that has stopped says of all that it has published.
func (p *publisher) checkStopped() {
	c := p.counts()
	if p.number("twice") == 0 && c.Published != uint64(p.told[stored].Load()) {
		p.Errorf("%s was told that %d messages are stored, and counts %+v", p.name, p.told[stored].Load(), c)
	}
}

func (p *publisher) tell(ids []string, err error, withContext bool) {
	v := verdictOf(p.T, err, p.many > 1, withContext)
	p.told[v].Add(int64(len(ids)))
	for _, id := range ids {
		p.ledger.tell(id, v)
	}
}

func (p *publisher) async(s sender, ids []string) {
	done := make(chan *nsq.ProducerTransaction, 1)
	if err := s.PublishAsync(p.topic, p.body(ids[0]), done); err != nil {
		p.tell(ids, err, false)
		return
	}
	t := <-done
	p.tell(ids, t.Cause, false)
}
