package nsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxTransactions is how many transactions of one doneChan may be outstanding:
	// published and not received from it.
	maxTransactions = 10_000
	// deliveryGrace is how long a stopping Producer waits for the next transaction
	// to be received.
	deliveryGrace = time.Second
)

// ProducerTransaction is the result of an asynchronous publish.
type ProducerTransaction struct {
	// Error is nil if nsqd has the message. Otherwise it is go-nsq's error, unwrapped:
	// what [Producer.Publish] would have returned.
	Error error
	Args  []interface{} // the args of the call
	// Cause is what [Producer.PublishContext], or [ProducerPool.PublishContext] of a
	// pool, would have returned: an [ErrNotSent] or [ErrUnknownOutcome] with the reason
	// where Error is just [ErrNotConnected]. It is nil if Error is.
	Cause error
}

// MarshalJSON writes Error and Cause as their texts, or null.
func (t ProducerTransaction) MarshalJSON() ([]byte, error) {
	type plain ProducerTransaction // without this method
	return json.Marshal(struct {
		plain
		Error, Cause *string // hide those of plain
	}{plain(t), errorText(t.Error), errorText(t.Cause)})
}

// transactionQueues deliver transactions to the callers' doneChans, without making
// the link that completes them wait.
type transactionQueues struct {
	alive    context.Context // ends when the owner stops; waits for room end with it
	log      *slog.Logger
	owner    string        // stands at the beginning of errors
	patience time.Duration // how long to wait for room

	// complete is closed when no more transactions are posted. limit is set before
	// that; it bounds the delivery of the rest.
	complete chan struct{}
	limit    context.Context
	wg       sync.WaitGroup // goroutines of queues

	mu     sync.Mutex // guards what follows, and fields of the queues
	open   map[chan *ProducerTransaction]*transactionQueue
	closed bool // no more goroutines are started
}

// transactionQueue holds the transactions of one doneChan. It exists while any of
// them is outstanding.
type transactionQueue struct {
	done chan *ProducerTransaction
	room window // counts outstanding transactions

	// Guarded by the mutex of the transactionQueues:

	users int // calls under way and outstanding transactions
	// posted are transactions that doneChan did not take at once, in the order of
	// nsqd's replies. delivering is set while a goroutine delivers them. Until the
	// goroutine finds posted empty, later transactions are appended there too, so
	// that they overtake none.
	posted     []*ProducerTransaction
	delivering bool
	closed     bool // doneChan is closed, which is logged once
}

func newTransactionQueues(alive context.Context, log *slog.Logger, owner string, patience time.Duration) *transactionQueues {
	return &transactionQueues{
		alive:    alive,
		log:      log,
		owner:    owner,
		patience: patience,
		complete: make(chan struct{}),
		open:     make(map[chan *ProducerTransaction]*transactionQueue),
	}
}

// reserve waits for room for one transaction in the queue of a doneChan, at most for
// qs.patience. The queue is nil if done is. Each transaction reserved must be posted or
// released.
func (qs *transactionQueues) reserve(done chan *ProducerTransaction) (*transactionQueue, error) {
	if done == nil {
		return nil, nil
	}
	q := qs.join(done)
	err := q.room.acquire(context.Background(), qs.alive, 1, qs.patience)
	if err == nil {
		return q, nil
	}
	qs.leave(q)
	if errors.Is(err, ErrStopped) {
		return nil, err
	}
	return nil, fmt.Errorf("%s %w: %w", qs.owner, ErrNotSent, err)
}

// release undoes reserve. q may be nil.
func (qs *transactionQueues) release(q *transactionQueue) {
	if q != nil {
		q.room.release(1)
		qs.leave(q)
	}
}

// join returns the queue of a doneChan, and makes it if need be.
func (qs *transactionQueues) join(done chan *ProducerTransaction) *transactionQueue {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q := qs.open[done]
	if q == nil {
		q = &transactionQueue{done: done, room: window{limit: maxTransactions}}
		qs.open[done] = q
	}
	q.users++
	return q
}

// leave undoes join. When the last user leaves, the queue is deleted.
func (qs *transactionQueues) leave(q *transactionQueue) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(qs.open, q.done)
	}
}

// post delivers a transaction at once if doneChan takes it, and leaves it to a
// goroutine of the queue otherwise. It never waits. q may be nil.
func (qs *transactionQueues) post(q *transactionQueue, t *ProducerTransaction) {
	if q == nil {
		return
	}
	qs.mu.Lock()
	delivering := q.delivering
	if delivering {
		q.posted = append(q.posted, t)
	}
	qs.mu.Unlock()
	if delivering {
		return
	}
	if qs.trySend(q, t) {
		qs.release(q)
		return
	}
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q.posted = append(q.posted, t)
	if !q.delivering && !qs.closed {
		q.delivering = true
		qs.wg.Go(func() { qs.deliverPosted(q) })
	}
}

// trySend sends a transaction if doneChan takes it at once, and reports whether it is dealt
// with: one for a closed doneChan is dropped.
func (qs *transactionQueues) trySend(q *transactionQueue, t *ProducerTransaction) (done bool) {
	defer qs.dropIfClosed(q, &done)
	select {
	case q.done <- t:
		return true
	default:
		return false
	}
}

// dropIfClosed recovers from a send on a doneChan that its owner has closed too early, and
// sets done. It is deferred by functions that do nothing but send.
func (qs *transactionQueues) dropIfClosed(q *transactionQueue, done *bool) {
	if recover() == nil {
		return
	}
	*done = true
	qs.mu.Lock()
	first := !q.closed
	q.closed = true
	qs.mu.Unlock()
	if first {
		qs.log.Error("dropping transactions of asynchronous publishes: their doneChan is closed while publishes are outstanding")
	}
}

// deliverPosted delivers what is posted until nothing is left.
func (qs *transactionQueues) deliverPosted(q *transactionQueue) {
	for {
		qs.mu.Lock()
		batch := q.posted
		q.posted = nil
		q.delivering = len(batch) > 0
		qs.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for i, t := range batch {
			if !qs.offer(q, t) {
				qs.mu.Lock()
				left := len(batch) - i + len(q.posted)
				qs.mu.Unlock()
				qs.log.Warn("dropping transactions of asynchronous publishes: not received from their doneChan", "transactions", left)
				return
			}
			qs.release(q)
		}
	}
}

// offer waits until a transaction is received, and reports whether it was, or whether
// doneChan is closed. Once no more are posted it waits for deliveryGrace at most.
func (qs *transactionQueues) offer(q *transactionQueue, t *ProducerTransaction) (done bool) {
	defer qs.dropIfClosed(q, &done)
	select {
	case q.done <- t:
		return true
	case <-qs.complete:
	}
	grace := time.NewTimer(deliveryGrace)
	defer grace.Stop()
	select {
	case q.done <- t:
		return true
	case <-grace.C:
	case <-qs.limit.Done():
	}
	return false
}

// deliverRest returns when the last transactions are received or given up. Call it
// once, when no more are posted. limit bounds it.
func (qs *transactionQueues) deliverRest(limit context.Context) {
	qs.mu.Lock()
	qs.closed = true
	qs.mu.Unlock()
	qs.limit = limit
	close(qs.complete)
	qs.wg.Wait()
}
