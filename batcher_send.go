package nsq

import (
	"context"
	"runtime"
	"time"

	"github.com/rdyhq/nsq/internal/publishing"
)

// collectPatience is how often a sender yields in vain before it stops waiting for callers.
// A yield lets goroutines run that are ready to, but may return before they have run, if
// another thread has taken the sender. Hence more than one.
const collectPatience = 10

// dispatch seals the open batch of a topic and starts to send it. Callers hold the
// mutex.
func (b *Batcher) dispatch(t *batchTopic) {
	first := b.seal(t)
	b.wg.Go(func() { b.sendFrom(t, first) })
}

// startCollecting starts a sender that takes the open batch of a topic, if the batch may be
// sent and no other sender is about to take it. Callers hold the mutex.
func (b *Batcher) startCollecting(t *batchTopic) {
	if t.collecting > 0 || !t.ready() || b.opts.MaxDelay > 0 {
		return
	}
	t.collecting++
	b.wg.Go(func() { b.sendFrom(t, b.next(t)) })
}

// sendFrom sends a batch of a topic, unless it is nil, and then those that wait.
func (b *Batcher) sendFrom(t *batchTopic, o *batch) {
	for ; o != nil; o = b.next(t) {
		b.send(o)
	}
}

// next seals and returns the open batch of a topic, once the callers that are about to
// publish have joined it. It returns nil if there is none that may be sent. The sender that
// calls it is collecting until then.
func (b *Batcher) next(t *batchTopic) *batch {
	if b.opts.MaxDelay == 0 {
		b.collect(t)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t.collecting--
	if t.ready() && b.opts.MaxDelay == 0 {
		return b.seal(t)
	}
	b.tidy(t)
	return nil
}

// collect waits until all callers that have just got results have published again, or
// until none does although all goroutines that were ready have run. The callers of a
// batch are woken together. Without this wait the first of them would be sent alone, and
// the others in a few small batches.
func (b *Batcher) collect(t *batchTopic) {
	for missing, vain := -1, 0; vain < collectPatience; vain++ {
		runtime.Gosched()
		now := b.missing(t)
		if now == 0 {
			return
		}
		if now != missing {
			missing, vain = now, 0
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t.returning = 0
}

// missing returns how many callers may publish again at once.
func (b *Batcher) missing(t *batchTopic) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return t.returning
}

// send publishes a batch and reports the result to each caller. The sender is collecting
// from then on: the callers may publish again before send returns.
func (b *Batcher) send(o *batch) {
	defer o.cancel(nil)
	ctx, cancel := o.bounded()
	defer cancel()
	err := b.publish(ctx, o)
	if err != nil && len(o.messages) > 1 {
		switch verdictOf(err) {
		case publishing.Content:
			b.oneByOne(ctx, o)
			b.sent(o, 0)
			return
		case publishing.StoredInPart:
			err = batchError(o.topic.name, ErrUnknownOutcome, err)
		}
	}
	b.sent(o, len(o.messages))
	b.report(o, o.messages, err)
}

// publish publishes a batch as one command.
func (b *Batcher) publish(ctx context.Context, o *batch) error {
	if len(o.messages) == 1 {
		return b.to.PublishContext(ctx, o.topic.name, o.messages[0].body)
	}
	bodies := make([][]byte, len(o.messages))
	for i, m := range o.messages {
		bodies[i] = m.body
	}
	return b.to.MultiPublishContext(ctx, o.topic.name, bodies)
}

// sent notes that a batch is no longer in flight, that its sender is collecting, and how many
// of its callers are about to get their results.
func (b *Batcher) sent(o *batch, returning int) {
	t := o.topic
	b.mu.Lock()
	defer b.mu.Unlock()
	t.inFlight--
	t.messages -= len(o.messages)
	t.collecting++
	t.returning += returning
}

// bounded returns the batch's context, with the latest deadline of its callers if
// all have one.
func (o *batch) bounded() (context.Context, context.CancelFunc) {
	var last time.Time
	for _, m := range o.messages {
		d, ok := m.ctx.Deadline()
		if !ok {
			return o.ctx, func() {}
		}
		if d.After(last) {
			last = d
		}
	}
	return context.WithDeadline(o.ctx, last)
}

// oneByOne publishes the messages of a refused batch one at a time, so that each gets
// its own result. Each waits for the reply to the one before it: nsqd executes nothing
// that follows a refused command on the same connection. All that time the batch is in
// flight: if its sender were collecting, the topic's open batch would wait for it.
func (b *Batcher) oneByOne(ctx context.Context, o *batch) {
	b.mu.Lock()
	for _, m := range o.messages {
		m.state = batchedUnsent
	}
	b.mu.Unlock()
	for i, m := range o.messages {
		b.mu.Lock()
		gone := m.gone
		m.state = batchedSent
		b.mu.Unlock()
		var err error
		if gone {
			err = batchError(o.topic.name, ErrNotSent, context.Cause(m.ctx))
		} else {
			err = b.to.PublishContext(ctx, o.topic.name, m.body)
		}
		b.report(o, o.messages[i:i+1], err)
	}
}

// report gives callers of a batch their result. A message may be used again as soon as its
// caller has the result.
func (b *Batcher) report(o *batch, messages []*batchedMessage, err error) {
	var size int64
	b.mu.Lock()
	for _, m := range messages {
		if !m.gone {
			o.waiting--
		}
		m.state = batchedDone
		size += m.size
	}
	b.reported += uint64(len(messages))
	b.mu.Unlock()
	b.room.release(size)
	for _, m := range messages {
		m.done <- err
	}
}
