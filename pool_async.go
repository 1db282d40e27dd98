package nsq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// answersBuffer is how many transactions a pool's Producers can deliver without
// a goroutine of their own.
const answersBuffer = 1024

// PublishAsync publishes a message to one of the nsqds and does not wait for its
// answer. It is to [Producer.PublishAsync] what [ProducerPool.PublishContext] is
// to PublishContext: when it returns an nsqd has been given the message, and if
// that turns out not to have stored it, another is tried before the transaction
// is delivered. It keeps a copy of the message until then: up to 16 MiB for each
// nsqd.
func (pool *ProducerPool) PublishAsync(topic string, body []byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return pool.publishAsync(&publication{command: wire.CmdPub, topic: topic, body: body}, doneChan, args)
}

// MultiPublishAsync publishes messages as one command to one of the nsqds and
// does not wait for its answer. It is to [ProducerPool.MultiPublishContext] what
// [ProducerPool.PublishAsync] is to PublishContext.
func (pool *ProducerPool) MultiPublishAsync(topic string, body [][]byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return pool.publishAsync(&publication{command: wire.CmdMpub, topic: topic, bodies: body}, doneChan, args)
}

// DeferredPublishAsync publishes a message that the nsqd keeps back for a delay
// and does not wait for its answer. It is to [ProducerPool.DeferredPublishContext]
// what [ProducerPool.PublishAsync] is to PublishContext.
func (pool *ProducerPool) DeferredPublishAsync(topic string, delay time.Duration, body []byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return pool.publishAsync(&publication{command: wire.CmdDpub, topic: topic, body: body, delay: delay}, doneChan, args)
}

// poolAsync takes the transactions of a pool's Producers, and completes those of
// its callers, or has another nsqd tried.
type poolAsync struct {
	pool     *ProducerPool
	outboxes *outboxes
	answers  chan *ProducerTransaction // from the Producers, each with a poolTransaction
	drained  chan struct{}             // closed when no more come

	start    sync.Once
	receiver sync.WaitGroup
	retries  sync.WaitGroup
}

// poolTransaction is an asynchronous publish.
type poolTransaction struct {
	m     publication // a copy
	tries poolTries
	from  *poolMember // that was given it last
	box   *outbox     // nil without a doneChan
	t     *ProducerTransaction
}

func newPoolAsync(pool *ProducerPool) *poolAsync {
	return &poolAsync{
		pool:     pool,
		outboxes: newOutboxes(pool.log),
		answers:  make(chan *ProducerTransaction, answersBuffer),
		drained:  make(chan struct{}),
	}
}

func (pool *ProducerPool) publishAsync(m *publication, done chan *ProducerTransaction, args []any) error {
	if err := pool.check(m); err != nil {
		return err
	}
	async := pool.async
	if !async.begin() {
		return ErrStopped
	}
	box := async.outboxes.join(done)
	if box != nil {
		if err := async.acquire(box); err != nil {
			async.outboxes.leave(box)
			return err
		}
	}
	a := &poolTransaction{m: m.clone(), box: box, t: &ProducerTransaction{Args: args}}
	err := pool.try(context.Background(), &a.tries, func(to *poolMember) error {
		a.from = to
		return to.p.publishAsync(&a.m, async.answers, []any{a})
	})
	if err != nil && box != nil {
		async.outboxes.received(box)
	}
	return err
}

// begin starts what receives transactions, unless the pool is stopped.
func (async *poolAsync) begin() bool {
	async.pool.mu.Lock()
	defer async.pool.mu.Unlock()
	if async.pool.stopping {
		return false
	}
	async.start.Do(func() { async.receiver.Go(async.receive) })
	return true
}

// acquire takes room for a transaction.
func (async *poolAsync) acquire(box *outbox) error {
	err := box.room.acquire(context.Background(), async.pool.alive, 1, async.pool.cfg.ReadTimeout)
	if err == nil || errors.Is(err, ErrStopped) {
		return err
	}
	return fmt.Errorf("producer pool: %w: %w", ErrNotSent, err)
}

// clone returns a copy with bodies of its own.
func (m *publication) clone() publication {
	c := *m
	c.body = bytes.Clone(m.body)
	c.bodies = nil
	for _, b := range m.bodies {
		c.bodies = append(c.bodies, bytes.Clone(b))
	}
	return c
}

// receive takes the Producers' transactions until all have come.
func (async *poolAsync) receive() {
	for {
		select {
		case t := <-async.answers:
			async.answered(t)
		case <-async.drained:
			for len(async.answers) > 0 {
				async.answered(<-async.answers)
			}
			return
		}
	}
}

// answered completes a transaction, or has another nsqd tried, which must not
// hold up the others.
func (async *poolAsync) answered(t *ProducerTransaction) {
	a := t.Args[0].(*poolTransaction)
	ctx := context.Background()
	switch {
	case t.Error == nil:
		async.complete(a, nil)
	case !async.pool.missed(ctx, &a.tries, a.from, t.Error):
		async.complete(a, a.tries.verdict(nil))
	default:
		async.retries.Go(func() {
			async.complete(a, async.pool.try(ctx, &a.tries, func(to *poolMember) error {
				return to.p.publish(ctx, &a.m)
			}))
		})
	}
}

func (async *poolAsync) complete(a *poolTransaction, err error) {
	a.t.Error = err
	if a.box != nil {
		async.outboxes.post(a.box, a.t)
	}
}

// settle delivers what the Producers, which are stopped, have left. patience
// bounds it.
func (async *poolAsync) settle(patience context.Context) {
	close(async.drained)
	async.receiver.Wait()
	async.retries.Wait()
	async.outboxes.settle(patience)
}
