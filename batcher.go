package nsq

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/publishing"
	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// The bounds of a batch unless BatchOptions sets others: far below nsqd's
	// max-body-size, which is 5 MiB by default.
	defaultBatchMessages = 1000
	defaultBatchBytes    = 1 << 20

	maxBatchMessages = 100_000
	maxBatchDelay    = time.Minute

	// batchStopTimeout bounds Batcher.Stop.
	batchStopTimeout = 30 * time.Second
)

// checker is a Publisher that knows max_msg_size: what it would refuse joins no
// batch. Otherwise one message that is too large has its whole batch published one
// by one. Producer and ProducerPool are checkers.
type checker interface{ check(m *publication) error }

// BatchOptions bound the batches of a [Batcher]. The zero value suits most
// programs.
type BatchOptions struct {
	// MaxMessages is the largest number of messages in a batch: 1 to 100,000. 0
	// means 1000.
	MaxMessages int
	// MaxBytes is the largest size of a batch: 1 to 16 MiB. 0 means 1 MiB. Each
	// message counts its body and 4 bytes. Stay below nsqd's max-body-size, 5 MiB by
	// default: nsqd refuses what exceeds it and closes the connection. A message
	// that exceeds MaxBytes by itself is sent alone.
	MaxBytes int
	// MaxDelay is how long a message may wait for others: up to a minute. With 0, a
	// message waits only while a batch of its topic is in flight; all messages that
	// arrive in that time are sent together when nsqd has replied. So batches grow
	// with the load, and a single caller does not wait.
	MaxDelay time.Duration
}

// withDefaults checks the options and fills in the defaults.
func (o BatchOptions) withDefaults() (BatchOptions, error) {
	switch {
	case o.MaxMessages < 0 || o.MaxMessages > maxBatchMessages:
		return o, fmt.Errorf("batcher: MaxMessages %d out of range 0-%d", o.MaxMessages, maxBatchMessages)
	case o.MaxBytes < 0 || o.MaxBytes > maxOutstanding:
		return o, fmt.Errorf("batcher: MaxBytes %d out of range 0-%d", o.MaxBytes, maxOutstanding)
	case o.MaxDelay < 0 || o.MaxDelay > maxBatchDelay:
		return o, fmt.Errorf("batcher: MaxDelay %v out of range 0-%v", o.MaxDelay, maxBatchDelay)
	}
	o.MaxMessages = cmp.Or(o.MaxMessages, defaultBatchMessages)
	o.MaxBytes = cmp.Or(o.MaxBytes, defaultBatchBytes)
	return o, nil
}

// Batcher packs messages that are published to one topic at about the same time
// into one command, MPUB. That costs the client and nsqd a fraction of what single
// publishes cost. Each caller gets the result of its own message.
//
// A batch is sent when it is full, or else when [BatchOptions] says so. A batch of one
// message is published with PublishContext. If nsqd refuses a batch because of its
// content, it has stored nothing, and the messages are published one by one.
//
// A Batcher pays off with a few dozen concurrent callers or more. With fewer, the
// Producer alone is as fast or faster: a batch waits for the one before it, single
// messages do not.
//
// All methods may be called from any goroutine. At most 16 MiB may wait to be sent
// or for nsqd's reply; further publishes block until there is room.
type Batcher struct {
	to    Publisher
	opts  BatchOptions
	check func(*publication) error
	room  window // bytes

	// stopped ends when Stop is called. life ends when Stop has finished waiting; it
	// ends the batches that are still in flight.
	stopped, life context.Context
	stop, kill    context.CancelCauseFunc
	wg            sync.WaitGroup // batches in flight

	mu       sync.Mutex // guards what follows, the batches and the messages in them
	topics   map[string]*batchTopic
	reported uint64 // messages that have got their result
}

// batchTopic is the state of a topic. It exists while the topic has a batch.
type batchTopic struct {
	open     *batch // takes messages; nil if none waits
	inFlight int    // batches that are being sent
}

// batch holds messages of one topic that are sent together.
type batch struct {
	topic    string
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
	body  []byte          // a copy: the caller may return before it is written
	size  int64           // the room that it takes
	batch *batch
	state batchedState
	gone  bool       // the caller no longer waits
	done  chan error // buffers the result
}

type batchedState uint8

const (
	batchedUnsent batchedState = iota // nsqd does not get it if the caller leaves
	batchedSent                       // nsqd may have it
	batchedDone                       // done has the result, or is about to get it
)

// NewBatcher returns a Batcher that publishes through a [Producer] or a
// [ProducerPool], which it does not stop. It fails if there is none, or if an option is
// out of range.
func NewBatcher(to Publisher, opts BatchOptions) (*Batcher, error) {
	if v := reflect.ValueOf(to); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("batcher: no Publisher")
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Batcher{to: to, opts: opts, topics: make(map[string]*batchTopic)}
	b.check = func(m *publication) error { return m.check(maxLen) }
	if own, ok := to.(checker); ok {
		b.check = own.check
	}
	b.room.limit = maxOutstanding
	b.stopped, b.stop = context.WithCancelCause(context.Background())
	b.life, b.kill = context.WithCancelCause(context.Background())
	return b, nil
}

// Publish publishes a message with others and waits for nsqd's reply. See
// [Batcher.PublishContext].
func (b *Batcher) Publish(topic string, body []byte) error {
	return b.PublishContext(context.Background(), topic, body)
}

// PublishContext publishes a message with others and waits for nsqd's reply until
// ctx ends. A nil error means that nsqd has the message. The body may be changed as
// soon as the call returns.
//
// The errors are those of [Producer.PublishContext], with two differences:
//   - When ctx ends before the batch is sent, the message is taken out of it and the
//     error is [ErrNotSent]. When ctx ends later the error is [ErrUnknownOutcome].
//     If no other caller waits for the batch, it is cancelled, and the error is as
//     exact as that of a single publish.
//   - When nsqd fails midway in a batch (E_MPUB_FAILED), nsqd does not say which
//     messages it has stored: the error is ErrUnknownOutcome for all.
func (b *Batcher) PublishContext(ctx context.Context, topic string, body []byte) error {
	m := pub(topic, body)
	if err := b.check(m); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return batchError(topic, ErrNotSent, context.Cause(ctx))
	}
	if err := b.room.acquire(ctx, b.stopped, m.size, 0); errors.Is(err, ErrStopped) {
		return err
	} else if err != nil {
		return batchError(topic, ErrNotSent, err)
	}
	mine := &batchedMessage{ctx: ctx, body: bytes.Clone(body), size: m.size, done: make(chan error, 1)}
	if !b.join(topic, mine) {
		b.room.release(mine.size)
		return ErrStopped
	}
	select {
	case err := <-mine.done:
		return err
	case <-ctx.Done():
		return b.giveUp(mine)
	}
}

func batchError(topic string, verdict, cause error) error {
	return fmt.Errorf("publish to %q: %w: %w", topic, verdict, cause)
}

// join adds a message to the open batch of its topic. It reports false if the
// Batcher is stopped.
func (b *Batcher) join(topic string, m *batchedMessage) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped.Err() != nil {
		return false
	}
	t := b.topics[topic]
	if t == nil {
		t = &batchTopic{}
		b.topics[topic] = t
	}
	size := wire.MpubMessageLen(len(m.body))
	if t.open != nil && t.open.bytes+size > b.opts.MaxBytes {
		b.dispatch(t)
	}
	if t.open == nil {
		t.open = b.newBatch(t, topic)
	}
	o := t.open
	m.batch = o
	o.messages = append(o.messages, m)
	o.bytes += size
	alone := b.opts.MaxDelay == 0 && t.inFlight == 0
	if alone || len(o.messages) == b.opts.MaxMessages || o.bytes >= b.opts.MaxBytes {
		b.dispatch(t)
	}
	return true
}

// newBatch returns an empty batch for a topic. Callers hold the mutex.
func (b *Batcher) newBatch(t *batchTopic, topic string) *batch {
	o := &batch{topic: topic, bytes: wire.MpubCountLen}
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

// dispatch seals the open batch of a topic and starts to send it. Callers hold the
// mutex.
func (b *Batcher) dispatch(t *batchTopic) {
	t.inFlight++
	first := b.seal(t)
	b.wg.Go(func() {
		for o := first; o != nil; o = b.next(t, o.topic) {
			b.send(o)
		}
	})
}

// seal closes the open batch of a topic to further messages and returns it. Callers
// hold the mutex.
func (b *Batcher) seal(t *batchTopic) *batch {
	o := t.open
	t.open = nil
	if o.delay != nil {
		o.delay.Stop()
	}
	o.ctx, o.cancel = context.WithCancelCause(b.life)
	o.waiting = len(o.messages)
	for _, m := range o.messages {
		m.state = batchedSent
	}
	return o
}

// next notes that a batch of a topic is no longer in flight. It seals and returns the
// batch that waited for this, or returns nil if there is none.
func (b *Batcher) next(t *batchTopic, topic string) *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.open != nil && b.opts.MaxDelay == 0 && t.inFlight == 1 {
		return b.seal(t)
	}
	t.inFlight--
	b.tidy(t, topic)
	return nil
}

// tidy deletes the state of a topic that has no batch. Callers hold the mutex.
func (b *Batcher) tidy(t *batchTopic, topic string) {
	if t.open == nil && t.inFlight == 0 {
		delete(b.topics, topic)
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
		return batchError(o.topic, ErrNotSent, cause)
	case state == batchedDone, last: // the result is there, or about to arrive
		return <-m.done
	}
	return batchError(o.topic, ErrUnknownOutcome, cause)
}

// detach notes that a caller no longer waits, and takes its message out of the
// batch if that is still open. It returns the batch, the state that the message
// was in, and whether this was the last caller that waited for a sealed batch.
func (b *Batcher) detach(m *batchedMessage) (o *batch, state batchedState, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.gone = true
	o = m.batch
	if t := b.topics[o.topic]; t != nil && t.open == o {
		b.takeOut(t, m)
		return o, batchedUnsent, false
	}
	if m.state == batchedDone {
		return o, batchedDone, false
	}
	o.waiting--
	return o, m.state, o.waiting == 0
}

// takeOut takes a message out of the open batch of a topic. Callers hold the
// mutex.
func (b *Batcher) takeOut(t *batchTopic, m *batchedMessage) {
	o := t.open
	i := slices.Index(o.messages, m)
	o.messages = slices.Delete(o.messages, i, i+1)
	o.bytes -= wire.MpubMessageLen(len(m.body))
	b.room.release(m.size)
	if len(o.messages) > 0 {
		return
	}
	t.open = nil
	if o.delay != nil {
		o.delay.Stop()
	}
	b.tidy(t, o.topic)
}

// send publishes a batch and reports the result to each caller.
func (b *Batcher) send(o *batch) {
	defer o.cancel(nil)
	ctx, cancel := o.bounded()
	defer cancel()
	if len(o.messages) == 1 {
		m := o.messages[0]
		b.report(m, b.to.PublishContext(ctx, o.topic, m.body))
		return
	}
	bodies := make([][]byte, len(o.messages))
	for i, m := range o.messages {
		bodies[i] = m.body
	}
	err := b.to.MultiPublishContext(ctx, o.topic, bodies)
	if err != nil {
		switch verdictOf(err) {
		case publishing.Content:
			b.oneByOne(ctx, o)
			return
		case publishing.StoredInPart:
			err = batchError(o.topic, ErrUnknownOutcome, err)
		}
	}
	for _, m := range o.messages {
		b.report(m, err)
	}
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
// that follows a refused command on the same connection.
func (b *Batcher) oneByOne(ctx context.Context, o *batch) {
	b.mu.Lock()
	for _, m := range o.messages {
		m.state = batchedUnsent
	}
	b.mu.Unlock()
	for _, m := range o.messages {
		b.mu.Lock()
		gone := m.gone
		m.state = batchedSent
		b.mu.Unlock()
		if gone {
			b.report(m, batchError(o.topic, ErrNotSent, context.Cause(m.ctx)))
		} else {
			b.report(m, b.to.PublishContext(ctx, o.topic, m.body))
		}
	}
}

// report gives a caller its result.
func (b *Batcher) report(m *batchedMessage, err error) {
	b.mu.Lock()
	if !m.gone {
		m.batch.waiting--
	}
	m.state = batchedDone
	b.reported++
	b.mu.Unlock()
	b.room.release(m.size)
	m.done <- err
}

// results returns how many messages have got their result.
func (b *Batcher) results() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reported
}

// Stop stops the Batcher. New publishes fail with [ErrStopped], open batches are
// sent at once, and Stop waits for all in flight, 30 seconds at most. If none of their
// messages gets a result for 5 seconds, Stop cancels those that are left. Stop the Producer
// or ProducerPool after that. A second call only waits.
func (b *Batcher) Stop() {
	b.stop(ErrStopped)
	b.mu.Lock()
	for _, t := range b.topics {
		if t.open != nil {
			b.dispatch(t)
		}
	}
	b.mu.Unlock()
	limit := time.AfterFunc(batchStopTimeout, func() { b.kill(errStopTimeout) })
	silence := newStopWatch(b.stopped, func() any { return b.results() }, func() { b.kill(errLifeless) })
	b.wg.Wait()
	silence.end()
	limit.Stop()
	b.kill(ErrStopped)
}
