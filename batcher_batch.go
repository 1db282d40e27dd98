package nsq

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// A message goes alone while fewer batches than aloneInFlight are in flight. A few
	// callers cannot gain by waiting for each other. Many would keep their messages
	// apart for good, as each is replied to by itself.
	aloneInFlight = 4
	// freeInFlight is how many batches may be in flight before size matters. From then on
	// only a batch that holds one freeInFlight-th of the messages in flight is sent. So when
	// messages arrive at a steady rate, none waits much longer than that part of a round
	// trip, and the number of batches in flight grows with the logarithm of the rate.
	freeInFlight = 16
)

// batchTopic is the state of a topic. It exists while the topic has a batch. Without a
// MaxDelay, an open batch is always taken: a sender is collecting, or ready returns false.
// Then batches are in flight. Each that ends has its sender collect, and ready returns true
// when less than freeInFlight are left.
type batchTopic struct {
	name       string
	open       *batch // takes messages; nil if none waits
	inFlight   int    // batches and lone messages that are being sent
	messages   int    // in them
	collecting int    // senders that are about to take the open batch
	returning  int    // callers that have got results from a batch and may publish again at once
}

// batch holds messages of one topic that are sent together.
type batch struct {
	topic    *batchTopic
	messages []*batchedMessage
	bytes    int         // of the MPUB's body
	delay    *time.Timer // dispatches the batch; nil without a MaxDelay

	// Set when the batch is sealed:

	ctx     context.Context // ends when the last caller gives up, or with life
	cancel  context.CancelCauseFunc
	waiting int // callers
}

// batchedMessage is a message in a batch.
type batchedMessage struct {
	ctx   context.Context // of the caller
	body  []byte          // a copy if the caller may return before it is written
	size  int64           // the room that it takes
	batch *batch
	state batchedState
	gone  bool       // the caller no longer waits
	done  chan error // buffers the result
}

// batchedState is the state of a message whose batch is sealed.
type batchedState uint8

const (
	batchedSent   batchedState = iota // nsqd may have it
	batchedUnsent                     // nsqd does not get it if the caller leaves
	batchedDone                       // done has the result, or is about to get it
)

// newMessage returns a message for join.
func (b *Batcher) newMessage(ctx context.Context, from *publication) *batchedMessage {
	m, _ := b.spare.Get().(*batchedMessage)
	if m == nil {
		m = &batchedMessage{done: make(chan error, 1)}
	}
	m.ctx, m.body, m.size = ctx, from.body, from.size
	if ctx.Done() != nil {
		m.body = bytes.Clone(from.body)
	}
	return m
}

// recycle takes back a message whose result its caller has received. After that result, a
// sender does not touch the message.
func (b *Batcher) recycle(m *batchedMessage) {
	*m = batchedMessage{done: m.done}
	b.spare.Put(m)
}

// topic returns the state of a topic. Callers hold the mutex.
func (b *Batcher) topic(name string) *batchTopic {
	t := b.topics[name]
	if t == nil {
		t = &batchTopic{name: name}
		b.topics[name] = t
	}
	return t
}

// goAlone decides whether a new message goes alone. If so it returns the message's topic,
// and wentAlone must follow.
func (b *Batcher) goAlone(topic string) *batchTopic {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opts.MaxDelay > 0 || b.stopped.Err() != nil {
		return nil
	}
	t := b.topic(topic)
	if t.returning > 0 {
		t.returning--
	}
	if t.returning > 0 || t.open != nil || t.collecting > 0 || t.inFlight >= aloneInFlight {
		return nil
	}
	t.inFlight++
	t.messages++
	b.wg.Add(1)
	return t
}

// wentAlone notes that a lone message is no longer in flight, and has a sender take the
// batch that waited for this.
func (b *Batcher) wentAlone(t *batchTopic, size int64) {
	b.room.release(size)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reported++
	t.inFlight--
	t.messages--
	b.startCollecting(t)
	b.tidy(t)
	b.wg.Done()
}

// join adds a message to the open batch of its topic. It reports false if the
// Batcher is stopped.
func (b *Batcher) join(topic string, m *batchedMessage) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped.Err() != nil {
		return false
	}
	t := b.topic(topic)
	size := wire.MpubMessageLen(len(m.body))
	if t.open != nil && t.open.bytes+size > b.opts.MaxBytes {
		b.dispatch(t)
	}
	if t.open == nil {
		t.open = b.newBatch(t)
	}
	o := t.open
	m.batch = o
	o.messages = append(o.messages, m)
	o.bytes += size
	if len(o.messages) == b.opts.MaxMessages || o.bytes >= b.opts.MaxBytes {
		b.dispatch(t)
	} else {
		b.startCollecting(t)
	}
	return true
}

// newBatch returns an empty batch for a topic. Callers hold the mutex.
func (b *Batcher) newBatch(t *batchTopic) *batch {
	o := &batch{topic: t, bytes: wire.MpubCountLen}
	if b.opts.MaxDelay > 0 {
		o.delay = time.AfterFunc(b.opts.MaxDelay, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if t.open == o { // neither sealed nor emptied in the meantime
				b.dispatch(t)
			}
		})
	}
	return o
}

// ready reports whether the open batch of a topic, if there is one, may be sent although it
// is not full.
func (t *batchTopic) ready() bool {
	return t.open != nil && (t.inFlight < freeInFlight || len(t.open.messages)*freeInFlight >= t.messages)
}

// seal closes the open batch of a topic to further messages and returns it, to be sent.
// Callers hold the mutex.
func (b *Batcher) seal(t *batchTopic) *batch {
	o := t.open
	t.open = nil
	if o.delay != nil {
		o.delay.Stop()
	}
	o.ctx, o.cancel = context.WithCancelCause(b.life)
	o.waiting = len(o.messages)
	t.inFlight++
	t.messages += len(o.messages)
	return o
}

// tidy deletes the state of a topic that has no batch. Callers hold the mutex.
func (b *Batcher) tidy(t *batchTopic) {
	if t.open == nil && t.inFlight == 0 && t.collecting == 0 {
		delete(b.topics, t.name)
	}
}

// giveUp returns the result for a caller whose context has ended.
func (b *Batcher) giveUp(m *batchedMessage) error {
	cause := context.Cause(m.ctx)
	o, state, last := b.detach(m)
	if last {
		o.cancel(cause)
	}
	switch {
	case state == batchedUnsent:
		return batchError(o.topic.name, ErrNotSent, cause)
	case state == batchedDone, last: // the result is there, or about to arrive
		return <-m.done
	}
	return batchError(o.topic.name, ErrUnknownOutcome, cause)
}

// detach notes that a caller no longer waits, and takes its message out of the
// batch if that is still open. It returns the batch, the state that the message
// was in, and whether this was the last caller that waited for a sealed batch.
func (b *Batcher) detach(m *batchedMessage) (o *batch, state batchedState, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.gone = true
	o = m.batch
	if o.topic.open == o {
		b.takeOut(o, m)
		return o, batchedUnsent, false
	}
	if m.state == batchedDone {
		return o, batchedDone, false
	}
	o.waiting--
	return o, m.state, o.waiting == 0
}

// takeOut takes a message out of an open batch. Callers hold the mutex.
func (b *Batcher) takeOut(o *batch, m *batchedMessage) {
	i := slices.Index(o.messages, m)
	o.messages = slices.Delete(o.messages, i, i+1)
	o.bytes -= wire.MpubMessageLen(len(m.body))
	b.room.release(m.size)
	if len(o.messages) > 0 {
		return
	}
	o.topic.open = nil
	if o.delay != nil {
		o.delay.Stop()
	}
	b.tidy(o.topic)
}
