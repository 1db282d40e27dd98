package nsq

import (
	"context"
	"time"
)

// PublishAsync publishes a message to one of the nsqds without waiting for its
// reply. It reports like [Producer.PublishAsync], except that the errors of the call are
// those of [ProducerPool.PublishContext], as the Causes of transactions are. When it
// returns nil the command is queued for an nsqd. If that nsqd turns out not to have
// stored the message, another is tried before the transaction is delivered. Until then
// the pool keeps a copy of the message: up to 16 MiB for each nsqd.
func (pool *ProducerPool) PublishAsync(topic string, body []byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return pool.publishAsync(pub(topic, body), doneChan, args)
}

// MultiPublishAsync publishes messages as one command to one of the nsqds without
// waiting for its reply. It reports like [ProducerPool.PublishAsync].
func (pool *ProducerPool) MultiPublishAsync(topic string, body [][]byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return pool.publishAsync(mpub(topic, body), doneChan, args)
}

// DeferredPublishAsync publishes a message that the nsqd delivers after a delay,
// without waiting for its reply. It reports like [ProducerPool.PublishAsync].
func (pool *ProducerPool) DeferredPublishAsync(topic string, delay time.Duration, body []byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return pool.publishAsync(dpub(topic, delay, body), doneChan, args)
}

// poolTransaction is an asynchronous publish of a pool. It is the only arg of the
// transaction that a member's Producer delivers to the pool.
type poolTransaction struct {
	m     publication // a copy, to be published again
	tries poolTries
	at    *poolMember          // the nsqd that is tried
	queue *transactionQueue    // nil without a doneChan
	t     *ProducerTransaction // for the caller
}

func (pool *ProducerPool) publishAsync(m *publication, done chan *ProducerTransaction, args []any) error {
	if err := m.check(pool.cfg.maxBody()); err != nil {
		return err
	}
	start := pool.hooks.start()
	if !pool.startAsync() {
		return pool.untried(m, start, ErrStopped)
	}
	async := pool.async
	q, err := async.queues.reserve(done)
	if err != nil {
		return pool.untried(m, start, err)
	}
	a := &poolTransaction{m: m.clone(), queue: q, t: &ProducerTransaction{Args: args}}
	err = pool.tryMembers(context.Background(), &a.tries, &a.m, func(to *poolMember) error {
		a.at = to
		to.owes.Add(1) // until replied
		err := to.p.publishAsync(&a.m, async.posted, []any{a})
		if err != nil {
			to.owes.Add(-1)
		}
		return err
	})
	if err != nil {
		async.queues.release(q)
	}
	return err
}

// startAsync starts to receive the Producers' transactions. It reports false if the
// pool is stopping: Stop waits only for a receiver that was started before.
func (pool *ProducerPool) startAsync() bool {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if pool.stopping {
		return false
	}
	pool.async.start(pool.replied)
	return true
}

// replied completes a publish with the result from an nsqd, or tries another nsqd. It
// does that on a new goroutine, so that the transactions behind it do not wait.
func (pool *ProducerPool) replied(t *ProducerTransaction) {
	a := t.Args[0].(*poolTransaction)
	a.at.owes.Add(-1)
	ctx := context.Background()
	switch {
	case t.Cause == nil:
		pool.complete(a, nil)
	case !pool.noteFailure(ctx, &a.tries, a.at, t.Cause):
		pool.complete(a, triesError(&a.tries, nil))
	default:
		pool.async.retries.Go(func() {
			pool.complete(a, pool.tryMembers(ctx, &a.tries, &a.m, func(to *poolMember) error {
				return to.p.publish(ctx, &a.m)
			}))
		})
	}
}

// complete delivers the result of a publish to its doneChan.
func (pool *ProducerPool) complete(a *poolTransaction, err error) {
	a.t.Error, a.t.Cause = asGoNSQ(err), err
	pool.async.queues.post(a.queue, a.t)
}
