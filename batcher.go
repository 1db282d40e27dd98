package nsq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

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
type checker interface{ maxBody() int }

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
	// MaxDelay is how long a message may wait for others: up to a minute. With 0, no
	// message waits for time to pass: see [Batcher] for when a batch is sent. So batches
	// grow with the load, and a single caller does not wait.
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
// A batch is sent when it is full, or when [BatchOptions.MaxDelay] is over. Without a
// MaxDelay, the batches of its topic that nsqd has not replied to decide when it is sent:
//   - With fewer than 4, a message is published alone and at once, in its caller's
//     goroutine, as the Publisher itself would do it.
//   - With fewer than 16, a batch is sent as soon as the callers that are about to publish
//     have joined it. The callers of a batch get their results together, and often publish
//     again together. Only goroutines that are ready to run are waited for.
//   - With 16 or more, the batch must also hold a sixteenth of the messages that nsqd has
//     not replied to.
//
// So a message waits for a small part of a round trip, and the more messages are in flight,
// the larger the batches are. Their number grows with the logarithm of the messages'.
//
// A batch of one message is published with PublishContext. If nsqd refuses a batch because
// of its content, it has stored nothing, and the messages are published one by one.
//
// A caller that waits for each result before its next publish has its messages stored in
// order. Between messages that are published at the same time there is no order.
//
// All methods may be called from any goroutine. At most 16 MiB may wait to be sent
// or for nsqd's reply; further publishes block until there is room.
type Batcher struct {
	to    Publisher
	opts  BatchOptions
	limit func() int // of a body
	room  window     // bytes
	spare sync.Pool  // *batchedMessage

	// stopped ends when Stop is called. life ends when Stop has finished waiting; it
	// ends the batches that are still in flight.
	stopped, life context.Context
	stop, kill    context.CancelCauseFunc
	wg            sync.WaitGroup // batches in flight

	mu       sync.Mutex // guards what follows, the topics, the batches and the messages in them
	topics   map[string]*batchTopic
	reported uint64 // messages that have got their result
}

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
	b.limit = func() int { return maxLen }
	if own, ok := to.(checker); ok {
		b.limit = own.maxBody
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
	m := publication{command: wire.CmdPub, topic: topic, body: body, size: commandSize + int64(len(body))}
	if err := m.check(b.limit()); err != nil {
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
	if t := b.goAlone(topic); t != nil {
		return b.publishAlone(ctx, t, &m)
	}
	mine := b.newMessage(ctx, &m)
	if !b.join(topic, mine) {
		b.room.release(m.size)
		return ErrStopped
	}
	select {
	case err := <-mine.done:
		b.recycle(mine)
		return err
	case <-ctx.Done():
		return b.giveUp(mine)
	}
}

func batchError(topic string, verdict, cause error) error {
	return fmt.Errorf("publish to %q: %w: %w", topic, verdict, cause)
}

// publishAlone publishes a message in its caller's goroutine. It counts as a batch in
// flight, even if the Publisher panics.
func (b *Batcher) publishAlone(ctx context.Context, t *batchTopic, m *publication) error {
	defer b.wentAlone(t, m.size)
	own, cancel := b.contextOf(ctx)
	defer cancel()
	return b.to.PublishContext(own, m.topic, m.body)
}

// contextOf returns a context that ends with the caller's, with its cause and deadline, or
// with life. Like a batch's, it has none of the caller's values.
func (b *Batcher) contextOf(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Done() == nil {
		return b.life, func() {}
	}
	own, cancel := context.WithCancelCause(b.life)
	unlink := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	release := func() { unlink(); cancel(nil) }
	if last, ok := ctx.Deadline(); ok {
		var end context.CancelFunc
		own, end = context.WithDeadline(own, last)
		return own, func() { end(); release() }
	}
	return own, release
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
