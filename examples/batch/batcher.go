package main

import (
	"context"
	"time"

	"github.com/rdyhq/nsq"
)

// batcher is a handler that collects messages, has them stored together, and
// answers each. While they wait, and while they are stored, it touches them, so
// that nsqd does not deliver them to someone else in the meantime.
type batcher struct {
	size       int           // messages that make a batch
	wait       time.Duration // for how long a batch is filled, at most
	touchEvery time.Duration // well below nsqd's msg-timeout

	// store returns an error for each message that is to come again, in the
	// order of the batch; nil is none.
	store func(batch []*nsq.Message) []error

	in chan *nsq.Message
}

// start starts batching. When ctx ends, no batch is waited for any more. The
// function it returns ends it, when the consumer has ended.
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

// HandleMessage hands the message over; the batcher answers it.
func (b *batcher) HandleMessage(m *nsq.Message) error {
	m.DisableAutoResponse()
	select {
	case b.in <- m:
	case <-m.Context().Done(): // nsqd delivers it again
	}
	return nil
}

// run fills one batch while another is stored.
func (b *batcher) run(ctx context.Context, quit <-chan struct{}) {
	touch := time.NewTicker(b.touchEvery)
	defer touch.Stop()
	var filling, storing []*nsq.Message
	var begun time.Time // filling
	var due <-chan time.Time
	stored := make(chan []error, 1)
	stopping := ctx.Done()
	for {
		in := b.in
		if len(filling) == b.size {
			in = nil // until the other one is stored
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
			answer(storing, failures)
			storing = nil
		case <-quit:
			if storing != nil {
				answer(storing, <-stored)
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

func answer(batch []*nsq.Message, failures []error) {
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
