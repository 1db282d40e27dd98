package nsq

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// The bounds of a batch, if BatchOptions says nothing: far below nsqd's
	// max-body-size, which is 5 MiB unless configured.
	defaultBatchMessages = 1000
	defaultBatchBytes    = 1 << 20

	maxBatchMessages = 100_000
	maxBatchDelay    = time.Minute

	// batchStopTimeout bounds Batcher.Stop.
	batchStopTimeout = 30 * time.Second
)

// Publisher is what a [Batcher] publishes through: a [Producer], a
// [ProducerPool], or something around one. Both methods return as soon as the
// context ends, and their errors are those of [Producer.PublishContext].
type Publisher interface {
	PublishContext(ctx context.Context, topic string, body []byte) error
	MultiPublishContext(ctx context.Context, topic string, body [][]byte) error
}

// BatchOptions say when a batch of a [Batcher] leaves. The zero value is good
// for most.
type BatchOptions struct {
	// MaxMessages is how many messages a batch has at most: 1 to 100,000; 0 is
	// 1000.
	MaxMessages int
	// MaxBytes is how many bytes a batch has at most, 4 more than its body being
	// counted for each message: 1 to 16 MiB; 0 is 1 MiB. nsqd refuses what
	// exceeds its max-body-size, 5 MiB unless configured, and closes the
	// connection: it should be below that. A message that exceeds it by itself
	// goes alone.
	MaxBytes int
	// MaxDelay is how long a message may be kept for others to come: up to a
	// minute. With 0 none is kept but while a batch of its topic is under way:
	// what comes in that time leaves together when that is answered. So batches
	// grow with the load, and who is alone does not wait.
	MaxDelay time.Duration
}

// withDefaults checks the options and fills in what they do not say.
func (o BatchOptions) withDefaults() (BatchOptions, error) {
	switch {
	case o.MaxMessages < 0 || o.MaxMessages > maxBatchMessages:
		return o, fmt.Errorf("batcher: MaxMessages %d out of range 0-%d", o.MaxMessages, maxBatchMessages)
	case o.MaxBytes < 0 || o.MaxBytes > maxUnanswered:
		return o, fmt.Errorf("batcher: MaxBytes %d out of range 0-%d", o.MaxBytes, maxUnanswered)
	case o.MaxDelay < 0 || o.MaxDelay > maxBatchDelay:
		return o, fmt.Errorf("batcher: MaxDelay %v out of range 0-%v", o.MaxDelay, maxBatchDelay)
	}
	o.MaxMessages = cmp.Or(o.MaxMessages, defaultBatchMessages)
	o.MaxBytes = cmp.Or(o.MaxBytes, defaultBatchBytes)
	return o, nil
}

// Batcher packs messages that are published to one topic at about the same time
// into one command, MPUB, which costs client and nsqd a fraction of as many
// single ones. Each caller gets the result of his own message.
//
// A batch leaves when it is full, and else as [BatchOptions] say. One message is
// published as by [Producer.PublishContext]. If nsqd refuses a batch for what is
// in it, before it has stored anything, its messages are published one by one.
//
// It pays from some dozens of callers on. With fewer the Producer alone is as fast
// or faster: a batch waits for the one before, single messages do not.
//
// All methods may be called from any goroutine. Up to 16 MiB may wait to leave
// or to be answered; whoever publishes more waits for room.
type Batcher struct {
	to    Publisher
	opts  BatchOptions
	check func(*publication) error
	room  window // bytes

	// stopped ends when Stop is called; life, and with it what is under way, when
	// it was waited for in vain.
	stopped, life context.Context
	stop, kill    context.CancelCauseFunc
	wg            sync.WaitGroup // batches under way

	mu     sync.Mutex // guards what follows, the batches and the messages in them
	topics map[string]*batchTopic
}

// batchTopic is the state of a topic. There is one as long as anything waits or
// is under way.
type batchTopic struct {
	open     *batch // messages may join it; nil if none waits
	underWay int    // batches
}

// batch are messages of one topic that leave together.
type batch struct {
	topic    string
	messages []*batchedMessage
	bytes    int
	delay    *time.Timer // has it leave; nil without a MaxDelay

	// When it has left:

	ctx     context.Context
	cancel  context.CancelCauseFunc
	waiting int // callers
}

// batchedMessage is a message in a batch.
type batchedMessage struct {
	ctx   context.Context // of the caller
	body  []byte          // a copy: the caller may leave before it is written
	batch *batch
	state batchedState
	gone  bool // the caller does not wait any more
	done  chan error
}

type batchedState uint8

const (
	batchWaits    batchedState = iota // it can be taken out
	batchLeft                         // nsqd may have it
	batchAnswered                     // done has the result, or is about to
)

// NewBatcher returns a Batcher that publishes through a [Producer] or a
// [ProducerPool], which it does not stop. It fails on options that are out of
// range.
func NewBatcher(to Publisher, opts BatchOptions) (*Batcher, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Batcher{to: to, opts: opts, topics: make(map[string]*batchTopic)}
	b.check = func(m *publication) error { return m.check(maxLen) }
	if own, ok := to.(interface{ check(*publication) error }); ok { // it knows max_msg_size
		b.check = own.check
	}
	b.room.limit = maxUnanswered
	b.stopped, b.stop = context.WithCancelCause(context.Background())
	b.life, b.kill = context.WithCancelCause(context.Background())
	return b, nil
}

// Publish publishes a message with others and waits for nsqd's answer. See
// [Batcher.PublishContext].
func (b *Batcher) Publish(topic string, body []byte) error {
	return b.PublishContext(context.Background(), topic, body)
}

// PublishContext publishes a message with others and waits for nsqd's answer, at
// most as long as ctx allows. A nil error says that nsqd has the message. The body
// may be changed as soon as the call returns.
//
// The errors are those of [Producer.PublishContext]. When ctx ends before the
// batch left, the message is taken out of it and the error is [ErrNotSent]; later
// it is [ErrUnknownOutcome], unless nobody else waits for the batch, which is then
// given up and says what is known. If nsqd fails midway in a batch
// (E_MPUB_FAILED) nobody knows whose messages it has: the error is
// ErrUnknownOutcome for all.
func (b *Batcher) PublishContext(ctx context.Context, topic string, body []byte) error {
	m := publication{command: wire.CmdPub, topic: topic, body: body}
	if err := b.check(&m); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return batchError(topic, ErrNotSent, context.Cause(ctx))
	}
	if err := b.room.acquire(ctx, b.stopped, m.size(), 0); errors.Is(err, ErrStopped) {
		return err
	} else if err != nil {
		return batchError(topic, ErrNotSent, err)
	}
	mine := &batchedMessage{ctx: ctx, body: bytes.Clone(body), done: make(chan error, 1)}
	if !b.join(topic, mine) {
		b.room.release(m.size())
		return ErrStopped
	}
	select {
	case err := <-mine.done:
		return err
	case <-ctx.Done():
		return b.leave(mine)
	}
}

func batchError(topic string, verdict, cause error) error {
	return fmt.Errorf("publish to %q: %w: %w", topic, verdict, cause)
}

// size is the room that the message takes.
func (m *batchedMessage) size() int { return commandSize + len(m.body) }

// join adds a message to the open batch of its topic. False says that the
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
	size := 4 + len(m.body)
	if t.open != nil && t.open.bytes+size > b.opts.MaxBytes {
		b.depart(t)
	}
	if t.open == nil {
		t.open = b.newBatch(t, topic)
	}
	o := t.open
	m.batch = o
	o.messages = append(o.messages, m)
	o.bytes += size
	alone := b.opts.MaxDelay == 0 && t.underWay == 0
	if alone || len(o.messages) == b.opts.MaxMessages || o.bytes >= b.opts.MaxBytes {
		b.depart(t)
	}
	return true
}

// newBatch needs the mutex.
func (b *Batcher) newBatch(t *batchTopic, topic string) *batch {
	o := &batch{topic: topic, bytes: 4}
	if b.opts.MaxDelay > 0 {
		o.delay = time.AfterFunc(b.opts.MaxDelay, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if t.open == o { // it has neither left nor been emptied meanwhile
				b.depart(t)
			}
		})
	}
	return o
}

// depart has the open batch of a topic leave. Callers hold the mutex.
func (b *Batcher) depart(t *batchTopic) {
	t.underWay++
	first := b.take(t)
	b.wg.Go(func() {
		for o := first; o != nil; o = b.arrived(t, o.topic) {
			b.publish(o)
		}
	})
}

// take closes the open batch of a topic. Callers hold the mutex.
func (b *Batcher) take(t *batchTopic) *batch {
	o := t.open
	t.open = nil
	if o.delay != nil {
		o.delay.Stop()
	}
	o.ctx, o.cancel = context.WithCancelCause(b.life)
	o.waiting = len(o.messages)
	for _, m := range o.messages {
		m.state = batchLeft
	}
	return o
}

// arrived returns the batch that was waiting for one under way to end, if any.
func (b *Batcher) arrived(t *batchTopic, topic string) *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.open != nil && b.opts.MaxDelay == 0 && t.underWay == 1 {
		return b.take(t)
	}
	t.underWay--
	b.forget(t, topic)
	return nil
}

// forget frees the state of a topic for which there is nothing to do. Callers
// hold the mutex.
func (b *Batcher) forget(t *batchTopic, topic string) {
	if t.open == nil && t.underWay == 0 {
		delete(b.topics, topic)
	}
}

// leave is for a caller whose context has ended.
func (b *Batcher) leave(m *batchedMessage) error {
	cause := context.Cause(m.ctx)
	o, state, last := b.abandon(m)
	if last {
		o.cancel(cause)
	}
	switch {
	case state == batchWaits:
		return batchError(o.topic, ErrNotSent, cause)
	case state == batchAnswered, last:
		return <-m.done
	}
	return batchError(o.topic, ErrUnknownOutcome, cause)
}

// abandon takes a message out of its batch, if it can be, and tells what state it
// was in, and whether nobody waits for that batch any more, which had left.
func (b *Batcher) abandon(m *batchedMessage) (o *batch, state batchedState, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.gone = true
	o = m.batch
	if t := b.topics[o.topic]; t != nil && t.open == o {
		b.takeOut(t, m)
		return o, batchWaits, false
	}
	if m.state == batchAnswered {
		return o, batchAnswered, false
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
	o.bytes -= 4 + len(m.body)
	b.room.release(m.size())
	if len(o.messages) > 0 {
		return
	}
	t.open = nil
	if o.delay != nil {
		o.delay.Stop()
	}
	b.forget(t, o.topic)
}

// publish publishes a batch and gives each caller the result.
func (b *Batcher) publish(o *batch) {
	defer o.cancel(nil)
	ctx, cancel := o.bounded()
	defer cancel()
	if len(o.messages) == 1 {
		m := o.messages[0]
		b.answer(m, b.to.PublishContext(ctx, o.topic, m.body))
		return
	}
	bodies := make([][]byte, len(o.messages))
	for i, m := range o.messages {
		bodies[i] = m.body
	}
	err := b.to.MultiPublishContext(ctx, o.topic, bodies)
	if refusedForContent(err) {
		b.oneByOne(ctx, o)
		return
	}
	if storedInPart(err) {
		err = batchError(o.topic, ErrUnknownOutcome, err)
	}
	for _, m := range o.messages {
		b.answer(m, err)
	}
}

// bounded is the context of a batch with a deadline, if all callers have one: the
// last of them.
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

// refusedForContent tells whether nsqd refused a batch for one of its messages or
// for its size. It does so before it stores any of them. Other refusals would
// meet each message alone, too.
func refusedForContent(err error) bool {
	code := refusedWith(err)
	return code == wire.BadMessage || code == wire.BadBody
}

// oneByOne publishes the messages of a batch that was refused, so that each has
// its own result. It waits for each answer: what is behind a refusal in the
// connection suffers from it.
func (b *Batcher) oneByOne(ctx context.Context, o *batch) {
	b.mu.Lock()
	for _, m := range o.messages {
		m.state = batchWaits
	}
	b.mu.Unlock()
	for _, m := range o.messages {
		b.mu.Lock()
		gone := m.gone
		m.state = batchLeft
		b.mu.Unlock()
		if gone {
			b.answer(m, batchError(o.topic, ErrNotSent, context.Cause(m.ctx)))
		} else {
			b.answer(m, b.to.PublishContext(ctx, o.topic, m.body))
		}
	}
}

// answer gives a caller the result.
func (b *Batcher) answer(m *batchedMessage, err error) {
	b.mu.Lock()
	if !m.gone {
		m.batch.waiting--
	}
	m.state = batchAnswered
	b.mu.Unlock()
	b.room.release(m.size())
	m.done <- err
}

// Stop ends the Batcher: nothing is accepted any more, what waits leaves at once,
// and what is under way is waited for, 30 seconds at most. The Producer or
// ProducerPool is to be stopped after that. A second call only waits.
func (b *Batcher) Stop() {
	b.stop(ErrStopped)
	b.mu.Lock()
	for _, t := range b.topics {
		if t.open != nil {
			b.depart(t)
		}
	}
	b.mu.Unlock()
	limit := time.AfterFunc(batchStopTimeout, func() { b.kill(errStopTimeout) })
	b.wg.Wait()
	limit.Stop()
	b.kill(ErrStopped)
}
