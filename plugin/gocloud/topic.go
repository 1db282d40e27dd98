package nsqpubsub

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"gocloud.dev/gcerrors"
	"gocloud.dev/pubsub"
	"gocloud.dev/pubsub/batcher"
	"gocloud.dev/pubsub/driver"

	"github.com/rdyhq/nsq"
)

// sendTimeout bounds how long one batch waits for nsqds: long enough for an nsqd to restart,
// and short enough that an outage does not fill the memory with Sends.
const sendTimeout = 10 * time.Second

// errSendTimeout is the cause of the end of a batch's context. It is no context error: package
// pubsub would take that for the end of the context of a Send.
var errSendTimeout = fmt.Errorf("no success within %v", sendTimeout)

// sendAtOnce has each Send publish its message at once by itself. There is no queue, in which
// messages would outlive the contexts of their Sends.
var sendAtOnce = batcher.Options{MaxHandlers: math.MaxInt32, MaxBatchSize: 1}

// TopicOptions are the options of a topic. The zero value has the defaults.
type TopicOptions struct {
	// BatcherOptions says how messages of concurrent Sends are put together. By default
	// each message is a command of its own, and an error of a message is that of no other. A
	// Producer sends the commands of concurrent Sends together.
	//
	// With any other value than the zero value a batch is one MPUB command, which fails as a
	// whole. That pays for some ten thousand messages a second. Then MaxBatchByteSize must
	// keep bodies and metadata, of which it counts only the bodies, below nsqd's
	// max-body-size, 5 MiB by default.
	BatcherOptions batcher.Options
}

// OpenTopic returns a topic that publishes through p: a ProducerPool, a Producer, or a wrapper
// of one. Several topics may share it. The program stops it after it has shut down the topics.
// Do not use a wrapper of nsq.SealPublisher: set metadata instead. opts may be nil. OpenTopic
// does not connect. It fails if p is nil or the name is invalid.
//
// A Send returns nil when nsqd has stored the message. A ProducerPool, which may have a single
// nsqd, tries again for 10 seconds while all nsqds fail, for example because one restarts. A
// Producer fails at once. A Send whose own context ends returns before that, but the message
// may still be published. errors.Is tells nsq.ErrNotSent, after which a Send cannot make a
// duplicate, from nsq.ErrUnknownOutcome.
func OpenTopic(p nsq.Publisher, name string, opts *TopicOptions) (*pubsub.Topic, error) {
	t, err := newTopic(p, name)
	if err != nil {
		return nil, fmt.Errorf("open topic %q: %w", name, err)
	}
	return opts.topic(t), nil
}

func newTopic(p nsq.Publisher, name string) (*topic, error) {
	if p == nil {
		return nil, errors.New("nil publisher")
	}
	if err := checkTopic(name); err != nil {
		return nil, err
	}
	return &topic{to: p, name: name}, nil
}

func checkTopic(name string) error {
	if nsq.IsValidTopicName(name) {
		return nil
	}
	return fmt.Errorf("invalid topic name %q of %d bytes: NSQ allows 1 to 64 letters, digits, '.', '_' and '-'",
		name, len(name))
}

// topic returns the portable type for a driver.
func (o *TopicOptions) topic(t *topic) *pubsub.Topic {
	batches := sendAtOnce
	if o != nil && o.BatcherOptions != (batcher.Options{}) {
		batches = o.BatcherOptions
	}
	return pubsub.NewTopic(t, &batches)
}

// topic is a driver.Topic.
type topic struct {
	to   nsq.Publisher
	name string
	stop func() // stops to; nil if the program does that
}

// SendBatch publishes messages as one command.
func (t *topic) SendBatch(ctx context.Context, ms []*driver.Message) error {
	bodies := make([][]byte, len(ms))
	for i, m := range ms {
		if err := call(m.BeforeSend); err != nil {
			return err
		}
		body, err := seal(m.Metadata, m.Body)
		if err != nil {
			return fmt.Errorf("publish to topic %s: %w", t.name, err)
		}
		bodies[i] = body
	}
	if err := t.publish(ctx, bodies); err != nil {
		return err
	}
	for _, m := range ms {
		if err := call(m.AfterSend); err != nil {
			return err
		}
	}
	return nil
}

func (t *topic) publish(ctx context.Context, bodies [][]byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, sendTimeout, errSendTimeout)
	defer cancel()
	if len(bodies) == 1 {
		return t.to.PublishContext(ctx, t.name, bodies[0])
	}
	return t.to.MultiPublishContext(ctx, t.name, bodies)
}

// call calls a callback of a message. It offers no types for As.
func call(callback func(asFunc func(any) bool) error) error {
	if callback == nil {
		return nil
	}
	return callback(func(any) bool { return false })
}

// IsRetryable reports false: a ProducerPool has tried again by then. Package pubsub would try
// for as long as the topic is open, and beyond the contexts of the Sends.
func (*topic) IsRetryable(error) bool { return false }

// As sets a *nsq.Publisher.
func (t *topic) As(i any) bool {
	p, ok := i.(*nsq.Publisher)
	if ok {
		*p = t.to
	}
	return ok
}

// ErrorAs sets the types that the package documentation lists.
func (*topic) ErrorAs(err error, target any) bool { return errorAs(err, target) }

// ErrorCode returns the code that describes an error.
func (*topic) ErrorCode(err error) gcerrors.ErrorCode { return errorCode(err) }

// Close stops the ProducerPool of a topic that was opened by a URL.
func (t *topic) Close() error {
	if t.stop != nil {
		t.stop()
	}
	return nil
}
