package nsq

import (
	"context"
	"time"

	"github.com/rdyhq/nsq/internal/link"
)

// PublishAsync publishes a message without waiting for nsqd's reply. If it returns
// nil, exactly one transaction with args and the result is sent on doneChan, unless
// doneChan is nil. If it returns an error, nothing is published and no transaction
// follows. The errors are those of [Producer.Publish]. The body may be changed as soon
// as the call returns.
//
// It blocks while a connection is made, and while too much is outstanding: 16 MiB to
// which nsqd has not replied, over all publishes of the Producer, or 10,000
// transactions not yet received from this doneChan. If there is still no room after
// read_timeout, it returns [ErrNotSent], wrapped together with the reason. go-nsq would
// block forever.
//
// A doneChan that is not received from delays only its own transactions, which come
// in the order of nsqd's replies. Do not close it before all have arrived: the rest is
// dropped then, and an error is logged. A doneChan costs a goroutine only while a
// transaction for it can be neither received nor buffered. If the doneChan is abandoned
// then, the goroutine and its transactions stay until Stop: a caller that makes a
// doneChan for each call and may stop receiving should give it a buffer of 1.
//
// When the connection is lost, messages that were queued on it are not published
// again. If the Cause of their transactions is [ErrNotSent], the caller can publish them
// again without making duplicates. [Producer.Stop] waits as long as outstanding
// transactions are being received; it drops those of a doneChan from which none is
// received for a second.
func (p *Producer) PublishAsync(topic string, body []byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return asGoNSQ(p.publishAsync(pub(topic, body), doneChan, args))
}

// MultiPublishAsync publishes messages as one command without waiting for nsqd's
// reply. It reports like [Producer.PublishAsync].
func (p *Producer) MultiPublishAsync(topic string, body [][]byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return asGoNSQ(p.publishAsync(mpub(topic, body), doneChan, args))
}

// DeferredPublishAsync publishes a message that nsqd delivers after a delay,
// without waiting for nsqd's reply. It reports like [Producer.PublishAsync].
func (p *Producer) DeferredPublishAsync(topic string, delay time.Duration, body []byte, doneChan chan *ProducerTransaction, args ...interface{}) error {
	return asGoNSQ(p.publishAsync(dpub(topic, delay, body), doneChan, args))
}

// publishAsync queues a publish whose transaction is sent on done. Its errors are those
// of publish.
func (p *Producer) publishAsync(m *publication, done chan *ProducerTransaction, args []any) error {
	if err := p.check(m); err != nil {
		return err
	}
	m.begin(p.hooks)
	err := p.enqueueAsync(m, done, args)
	if err != nil {
		p.ended(m, err)
	}
	return err
}

// enqueueAsync queues a publish. Unless it returns an error, a transactionReply ends it.
func (p *Producer) enqueueAsync(m *publication, done chan *ProducerTransaction, args []any) error {
	q, err := p.queues.reserve(done)
	if err != nil {
		return err
	}
	m.patience = p.queues.patience
	r := p.newTransactionReply(m)
	r.queue, r.t.Args = q, args
	err = retryLost(func() error {
		return p.enqueue(context.Background(), m, func(way passage) link.Replier {
			r.passage = way
			return r
		})
	})
	if err != nil {
		p.queues.release(q)
	}
	return err
}

// transactionReply receives the reply to one asynchronous publish.
type transactionReply struct {
	passage
	p        *Producer
	topic    string
	messages int
	event    *PublishedEvent   // nil without a Published hook
	queue    *transactionQueue // nil without a doneChan
	t        ProducerTransaction
}

// hookedReply is a transactionReply and its event in one allocation.
type hookedReply struct {
	transactionReply
	published PublishedEvent
}

func (p *Producer) newTransactionReply(m *publication) *transactionReply {
	if len(p.hooks.published) == 0 {
		return &transactionReply{p: p, topic: m.topic, messages: m.messages()}
	}
	r := &hookedReply{
		transactionReply: transactionReply{p: p, topic: m.topic, messages: m.messages()},
		published:        m.event(p.addr),
	}
	r.event = &r.published
	return &r.transactionReply
}

// Reply ends the publish and completes the transaction, even if a hook calls
// runtime.Goexit.
func (r *transactionReply) Reply(data []byte, err error) {
	r.t.Cause = publishError(r.p.addr, r.topic, r.replied(data, err))
	r.t.Error = asGoNSQ(r.t.Cause)
	defer r.p.queues.post(r.queue, &r.t)
	r.p.tally.ended(r.messages, r.t.Cause)
	if r.event != nil {
		r.p.hooks.tellPublished(*r.event, r.t.Cause)
	}
}
