package nsq

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// maxTransactions is how many transactions of one doneChan may be
	// outstanding: published and not received from it.
	maxTransactions = 10_000
	// deliveryGrace is how long a Producer that stops waits for somebody to
	// receive a transaction.
	deliveryGrace = time.Second
)

var errNoRoom = errors.New("too much is outstanding")

// ProducerTransaction is the outcome of an asynchronous publish.
type ProducerTransaction struct {
	Error error         // as the waiting form would have returned it
	Args  []interface{} // those of the call
}

// PublishAsync publishes a message and does not wait for nsqd's answer. The
// outcome comes as a transaction with args on doneChan, unless that is nil:
// exactly one for each call that returned nil. An error that it returns itself
// says that nothing was or will be sent; the errors are those of
// [Producer.PublishContext]. The body may be changed as soon as the call
// returns.
//
// It waits while a connection is made, and while too much is outstanding: 16
// MiB that nsqd has not answered, of all publishes of the Producer, or 10,000
// transactions of this doneChan that were not received. After read_timeout it
// gives up waiting with [ErrNotSent].
//
// A doneChan that nobody receives from holds up nothing but its own
// transactions, which come in the order of nsqd's answers. It must not be
// closed before all have come. The transactions of one doneChan take one
// goroutine at most, and none while whatever is sent there is received at once
// or buffered. One that is abandoned keeps that goroutine, and its transactions,
// until Stop: whoever makes a doneChan for each call should give it a buffer of 1
// if he may stop receiving.
//
// A transaction of a connection that was lost is not tried again: with
// [ErrNotSent] the caller may, without making a duplicate. [Producer.Stop] has
// outstanding transactions delivered as long as they are received; a doneChan
// from which nothing is received for a second gets no more of them.
func (p *Producer) PublishAsync(topic string, body []byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return p.publishAsync(&publication{command: wire.CmdPub, topic: topic, body: body}, doneChan, args)
}

// MultiPublishAsync publishes messages as one command and does not wait for
// nsqd's answer. It is to [Producer.MultiPublishContext] what
// [Producer.PublishAsync] is to PublishContext.
func (p *Producer) MultiPublishAsync(topic string, body [][]byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return p.publishAsync(&publication{command: wire.CmdMpub, topic: topic, bodies: body}, doneChan, args)
}

// DeferredPublishAsync publishes a message that nsqd keeps back for a delay and
// does not wait for nsqd's answer. It is to [Producer.DeferredPublishContext]
// what [Producer.PublishAsync] is to PublishContext.
func (p *Producer) DeferredPublishAsync(topic string, delay time.Duration, body []byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return p.publishAsync(&publication{command: wire.CmdDpub, topic: topic, body: body, delay: delay}, doneChan, args)
}

func (p *Producer) publishAsync(m *publication, done chan *ProducerTransaction, args []any) error {
	if err := p.check(m); err != nil {
		return err
	}
	m.patience = p.cfg.ReadTimeout
	ctx := context.Background()
	box := p.outboxes.join(done)
	if box != nil {
		if err := p.acquire(ctx, &box.room, 1, m.patience); err != nil {
			p.outboxes.leave(box)
			return err
		}
	}
	a := &transactionAnswer{topic: m.topic, size: m.size(), box: box, t: ProducerTransaction{Args: args}}
	err := twice(func() error {
		return p.handOver(ctx, m, func(c *producerConn) link.Replier {
			a.conn = c
			return a
		})
	})
	if err != nil && box != nil {
		box.room.release(1)
		p.outboxes.leave(box)
	}
	return err
}

// transactionAnswer receives the answer to one asynchronous publish.
type transactionAnswer struct {
	conn  *producerConn
	topic string
	size  int
	box   *outbox // nil without a doneChan
	t     ProducerTransaction
}

// Reply completes the transaction.
func (a *transactionAnswer) Reply(data []byte, err error) {
	p := a.conn.p
	a.t.Error = p.publishError(a.topic, a.conn.answered(a.size, data, err))
	if a.box != nil {
		p.outboxes.post(a.box, &a.t)
	}
}

// outboxes deliver the transactions of a Producer.
type outboxes struct {
	log *slog.Logger
	// settled is closed when no more transactions come. By then patience is set,
	// which ends when those there are must be delivered.
	settled  chan struct{}
	patience context.Context
	wg       sync.WaitGroup // deliveries under way

	mu     sync.Mutex // guards what follows
	open   map[chan *ProducerTransaction]*outbox
	closed bool // no delivery begins any more
}

// outbox are the transactions of one doneChan. There is one as long as any is
// outstanding.
type outbox struct {
	done chan *ProducerTransaction
	room window // for transactions

	// Guarded by the mutex of the outboxes:

	users      int                    // calls and outstanding transactions
	ready      []*ProducerTransaction // complete, in the order of the answers
	delivering bool                   // a goroutine takes what is ready
}

func newOutboxes(log *slog.Logger) *outboxes {
	return &outboxes{
		log:     log,
		settled: make(chan struct{}),
		open:    make(map[chan *ProducerTransaction]*outbox),
	}
}

// join finds or makes the outbox of a doneChan. Whoever joins leaves later.
func (o *outboxes) join(done chan *ProducerTransaction) *outbox {
	if done == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.open[done]
	if b == nil {
		b = &outbox{done: done, room: window{limit: maxTransactions}}
		o.open[done] = b
	}
	b.users++
	return b
}

func (o *outboxes) leave(b *outbox) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b.users--; b.users == 0 {
		delete(o.open, b.done)
	}
}

// post delivers a transaction at once if it can, and else leaves that to the
// outbox's goroutine: the link that calls it must not wait.
func (o *outboxes) post(b *outbox, t *ProducerTransaction) {
	o.mu.Lock()
	direct := !b.delivering
	if !direct {
		b.ready = append(b.ready, t)
	}
	o.mu.Unlock()
	if !direct {
		return
	}
	select {
	case b.done <- t:
		o.received(b)
		return
	default:
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b.ready = append(b.ready, t)
	if !b.delivering && !o.closed {
		b.delivering = true
		o.wg.Go(func() { o.deliver(b) })
	}
}

func (o *outboxes) received(b *outbox) {
	b.room.release(1)
	o.leave(b)
}

// deliver sends what is ready until nothing is.
func (o *outboxes) deliver(b *outbox) {
	for {
		o.mu.Lock()
		batch := b.ready
		b.ready = nil
		b.delivering = len(batch) > 0
		o.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for i, t := range batch {
			if !o.offer(b, t) {
				o.mu.Lock()
				left := len(batch) - i + len(b.ready)
				o.mu.Unlock()
				o.log.Warn("nobody received the outcome of asynchronous publishes", "transactions", left)
				return
			}
			o.received(b)
		}
	}
}

// offer waits for somebody to receive a transaction, and not much longer once
// the Producer stops.
func (o *outboxes) offer(b *outbox, t *ProducerTransaction) bool {
	select {
	case b.done <- t:
		return true
	case <-o.settled:
	}
	grace := time.NewTimer(deliveryGrace)
	defer grace.Stop()
	select {
	case b.done <- t:
		return true
	case <-grace.C:
	case <-o.patience.Done():
	}
	return false
}

// settle has what is complete delivered, and returns when that is done or given
// up. patience bounds it.
func (o *outboxes) settle(patience context.Context) {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.patience = patience
	close(o.settled)
	o.wg.Wait()
}
