package simulation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/delay"
)

// publisher publishes messages, by several callers.
type publisher struct {
	*world
	line
	name, topic string
	send        func(ids []string) // publishes messages, and notes what it is told
	many        int                // messages in one publish
	stop        func()             // once
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
		return pool
	case "discovered":
		pool, err := nsq.NewDiscoveredProducerPool(p.lookupAddrs(), cfg)
		if err != nil {
			panic(err)
		}
		pool.SetLookupdHttpClient(p.net.daemons.HTTPClient())
		pool.AllowDuplicates(p.number("twice") > 0)
		return pool
	}
	return p.producer(p.text("to"), cfg)
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
		b.Stop()
		stop()
	})
}

func (p *publisher) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(background, p.ms("wait"))
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
				var ids []string
				for k := range p.many {
					ids = append(ids, fmt.Sprintf("%s-%d.%d", p.name, i, k))
				}
				for _, id := range ids {
					p.ledger.begin(p.topic, id, p.number("twice") > 0, time.Time{})
				}
				p.send(ids)
				sleep(p.ms("every") * time.Duration(50+chance(ids[0], "every")) / 100)
			}
		})
	}
	running.Wait()
}

func (p *publisher) tell(ids []string, err error, withContext bool) {
	v := verdictOf(p.T, err, p.many > 1, withContext)
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
