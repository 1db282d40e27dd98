package main

import (
	"context"
	"time"

	"github.com/rdyhq/nsq"
)

// batcher is a handler that collects messages, stores them together, and then
// acks or requeues each. It touches messages while they wait and while they are
// stored, so that nsqd does not deliver them again.
type batcher struct {
	size       int           // messages that make a batch
	wait       time.Duration // how long a batch waits to fill, at most
	touchEvery time.Duration // well below nsqd's msg-timeout

	// store stores a batch. It returns an error for each message, in the order
	// of the batch: nil if the message is stored. A nil slice means that all are.
	store func(batch []*nsq.Message) []error

	in chan *nsq.Message
}

// start starts batching. Once ctx has ended, batches are stored without waiting
// until they are full. Call stop after the consumer has stopped.
func (b *batcher) start(ctx context.Context) (stop func()) {
	b.in = make(chan *nsq.Message)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		b.run(ctx, quit)
	}()
	return func() {
		close(quit)
		<-done
	}
}

// HandleMessage passes the message to run, which later acks or requeues it.
func (b *batcher) HandleMessage(m *nsq.Message) error {
	m.DisableAutoResponse()
	select {
	case b.in <- m:
	case <-m.Context().Done(): // nsqd delivers it again
	}
	return nil
}

// run fills one batch while it stores another.
func (b *batcher) run(ctx context.Context, quit <-chan struct{}) {
	touch := time.NewTicker(b.touchEvery)
	defer touch.Stop()
	var filling, storing []*nsq.Message
	var begun time.Time // when filling got its first message
	var due <-chan time.Time
	stored := make(chan []error, 1)
	stopping := ctx.Done()
	for {
		in := b.in
		if len(filling) == b.size {
			in = nil // take no more until the other batch is stored
		}
		select {
		case m := <-in:
			if filling = append(filling, m); len(filling) == 1 {
				begun, due = time.Now(), time.After(b.wait)
			}
		case <-touch.C:
			touchAll(filling)
			touchAll(storing)
		case <-due:
		case <-stopping:
			stopping = nil
		case failures := <-stored:
			ackOrRequeue(storing, failures)
			storing = nil
		case <-quit:
			if storing != nil {
				ackOrRequeue(storing, <-stored)
			}
			return
		}
		ready := len(filling) == b.size || ctx.Err() != nil || time.Since(begun) >= b.wait
		if ready && len(filling) > 0 && storing == nil {
			storing, filling = filling, nil
			go func(batch []*nsq.Message) { stored <- b.store(batch) }(storing)
		}
	}
}

// ackOrRequeue requeues the messages of a batch that failed, and acks the others.
func ackOrRequeue(batch []*nsq.Message, failures []error) {
	for i, m := range batch {
		if i < len(failures) && failures[i] != nil {
			m.Requeue(-1) // after the configured delay
		} else {
			m.Finish()
		}
	}
}

func touchAll(batch []*nsq.Message) {
	for _, m := range batch {
		m.Touch()
	}
}
