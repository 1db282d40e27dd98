package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
)

// cutFIN cuts p at its first whole FIN. after begins with the ID.
func cutFIN(p []byte) (before, after []byte, found bool) {
	const command = "FIN "
	before, after, found = bytes.Cut(p, []byte(command))
	return before, after, found && len(after) >= nsq.MsgIDLength
}

// publish publishes until the test ends, for a while through each of several producers.
func (s *soak) publish(rng *rand.Rand) {
	for !s.ended.Load() {
		send, stop, err := s.newPublisher(rng.IntN(5), rng.IntN(len(s.nsqds)))
		if err != nil {
			s.t.Error(err)
			return
		}
		for range 100 + rng.IntN(400) {
			if s.ended.Load() {
				break
			}
			s.gate.RLock()
			send(soakTopics[rng.IntN(len(soakTopics))])
			s.gate.RUnlock()
			time.Sleep(time.Duration(5+rng.IntN(20)) * time.Millisecond)
		}
		stop()
	}
}

// newPublisher makes a producer of one of five kinds. send publishes one message or a few.
func (s *soak) newPublisher(kind, nsqd int) (send func(topic string), stop func(), err error) {
	var addrs, lookupds []string
	for _, n := range s.nsqds {
		addrs = append(addrs, n.TCPAddr())
	}
	for _, l := range s.lookupds {
		lookupds = append(lookupds, l.HTTPAddr())
	}
	switch kind {
	case 0:
		p, err := nsq.NewProducer(addrs[nsqd], s.config())
		return s.each(p, 1), p.Stop, err
	case 1:
		p, err := nsq.NewProducer(addrs[nsqd], s.config())
		return s.async(p), p.Stop, err
	case 2:
		pool, err := nsq.NewProducerPool(addrs, s.config())
		return s.each(pool, 1), pool.Stop, err
	}
	pool, err := nsq.NewDiscoveredProducerPool(lookupds, s.config())
	if err != nil || kind == 3 {
		return s.each(pool, 1), pool.Stop, err
	}
	b, err := nsq.NewBatcher(pool, nsq.BatchOptions{})
	return s.each(b, 8), func() { b.Stop(); pool.Stop() }, err
}

// contextPublisher is a Producer, a ProducerPool or a Batcher.
type contextPublisher interface {
	PublishContext(ctx context.Context, topic string, body []byte) error
}

// each publishes n messages at the same time.
func (s *soak) each(p contextPublisher, n int) func(topic string) {
	return func(topic string) {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				body := s.ledger.begin(topic)
				s.ledger.end(body, p.PublishContext(ctx, topic, []byte(body)))
			})
		}
		wg.Wait()
	}
}

// async publishes a few messages asynchronously.
func (s *soak) async(p *nsq.Producer) func(topic string) {
	done := make(chan *nsq.ProducerTransaction, 4)
	return func(topic string) {
		sent := 0
		for range cap(done) {
			body := s.ledger.begin(topic)
			if err := p.PublishAsync(topic, []byte(body), done, body); err != nil {
				s.ledger.end(body, fmt.Errorf("%w: %w", nsq.ErrNotSent, err)) // go-nsq's error does not say so
				continue
			}
			sent++
		}
		for range sent {
			r := <-done
			s.ledger.end(r.Args[0].(string), r.Cause)
		}
	}
}
