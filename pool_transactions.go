package nsq

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// poolAsyncBuffer is how many transactions a pool's Producers can post before they
// need a goroutine.
const poolAsyncBuffer = 1024

// poolAsync carries transactions from a pool's Producers to the pool, which
// delivers them to its callers or tries another nsqd.
type poolAsync struct {
	queues   *transactionQueues        // of the callers' doneChans
	posted   chan *ProducerTransaction // from the Producers
	complete chan struct{}             // closed when the Producers post no more

	begin    sync.Once // starts receiver
	receiver sync.WaitGroup
	retries  sync.WaitGroup // tries at other nsqds
}

func newPoolAsync(alive context.Context, log *slog.Logger, patience time.Duration) *poolAsync {
	return &poolAsync{
		queues:   newTransactionQueues(alive, log, "producer pool:", patience),
		posted:   make(chan *ProducerTransaction, poolAsyncBuffer),
		complete: make(chan struct{}),
	}
}

// start starts a goroutine that passes the Producers' transactions to replied. Further
// calls do nothing.
func (async *poolAsync) start(replied func(*ProducerTransaction)) {
	async.begin.Do(func() {
		async.receiver.Go(func() { async.receive(replied) })
	})
}

// receive passes the Producers' transactions to replied until all have come.
func (async *poolAsync) receive(replied func(*ProducerTransaction)) {
	for {
		select {
		case t := <-async.posted:
			replied(t)
		case <-async.complete:
			for len(async.posted) > 0 {
				replied(<-async.posted)
			}
			return
		}
	}
}

// finish returns when the last transactions are received or given up. Call it
// once, after the Producers are stopped. limit bounds it.
func (async *poolAsync) finish(limit context.Context) {
	close(async.complete)
	async.receiver.Wait()
	async.retries.Wait()
	async.queues.deliverRest(limit)
}
