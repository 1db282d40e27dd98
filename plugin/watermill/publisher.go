package nsqwatermill

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rdyhq/nsq"
)

// ErrClosed reports that the Publisher or Subscriber was closed.
var ErrClosed = errors.New("closed")

// maxBatch bounds the bodies that one command publishes, in bytes. nsqd refuses a command of
// more than 5 MiB by default, although it accepts each of its messages alone.
const maxBatch = 1 << 20

// PublisherConfig configures a [Publisher]. The zero value has the defaults.
type PublisherConfig struct {
	Marshaler Marshaler // nil means Envelope
}

// Publisher is Watermill's message.Publisher on a Producer or ProducerPool. Make one with
// [NewPublisher]. Its methods may be called from any goroutine.
type Publisher struct {
	to        nsq.Publisher
	marshaler Marshaler
	closed    atomic.Bool
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher returns a Publisher that publishes through to: a Producer, a ProducerPool, or
// a wrapper of one. Several Publishers may share it. The program stops it, after the last
// Publisher is closed. NewPublisher panics if to is nil.
func NewPublisher(to nsq.Publisher, config PublisherConfig) *Publisher {
	if to == nil {
		panic("nil publisher")
	}
	return &Publisher{to: to, marshaler: orEnvelope(config.Marshaler)}
}

func orEnvelope(m Marshaler) Marshaler {
	if m == nil {
		return Envelope{}
	}
	return m
}

// Publish publishes messages and waits for nsqd's replies. A nil error means that nsqd has
// all of them.
//
// Publish waits for a message until the message's context ends. Neighbours with the same
// context are published as one command, up to 1 MiB of bodies at a time. If a command fails,
// Publish does not publish the rest, and its error says how many messages were published
// before. It is safe to publish all of them again, but those that were published before are
// then duplicated.
//
// The errors wrap those of the Producer's PublishContext: use errors.Is with nsq.ErrNotSent,
// nsq.ErrUnknownOutcome and so on. If the topic name is invalid, or a message cannot be
// marshalled, nothing is published. After Close the error wraps [ErrClosed].
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	if p.closed.Load() {
		return fmt.Errorf("publish to topic %s: publisher %w", topic, ErrClosed)
	}
	if err := checkTopic(topic); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	bodies := make([][]byte, len(messages))
	for i, m := range messages {
		var err error
		if bodies[i], err = p.marshaler.Marshal(topic, m); err != nil {
			return fmt.Errorf("publish to topic %s: marshal message %q: %w", topic, m.UUID, err)
		}
	}
	for sent := 0; sent < len(messages); {
		n := batch(messages[sent:], bodies[sent:])
		err := p.send(messages[sent].Context(), topic, bodies[sent:sent+n])
		if err != nil {
			return fmt.Errorf("%d of %d messages were published to topic %s: %w", sent, len(messages), topic, err)
		}
		sent += n
	}
	return nil
}

// batch returns how many of the messages, at least one, go into the first command.
func batch(messages []*message.Message, bodies [][]byte) int {
	ctx, size := messages[0].Context(), len(bodies[0])
	for i, m := range messages[1:] {
		size += len(bodies[i+1])
		if size > maxBatch || !same(ctx, m.Context()) {
			return i + 1
		}
	}
	return len(messages)
}

// same reports whether two contexts are the same one. To compare contexts of a type that is
// not comparable would panic; such contexts count as different.
func same(a, b context.Context) bool { return reflect.ValueOf(a).Comparable() && a == b }

func (p *Publisher) send(ctx context.Context, topic string, bodies [][]byte) error {
	if len(bodies) == 1 {
		return p.to.PublishContext(ctx, topic, bodies[0])
	}
	return p.to.MultiPublishContext(ctx, topic, bodies)
}

// Close makes further calls of Publish fail. There is nothing to flush: a Publish that has
// returned nil has published. It does not stop the Producer or ProducerPool. It returns nil.
func (p *Publisher) Close() error {
	p.closed.Store(true)
	return nil
}

func checkTopic(topic string) error {
	if nsq.IsValidTopicName(topic) {
		return nil
	}
	return fmt.Errorf("invalid topic name %q of %d bytes: NSQ allows 1 to 64 letters, digits, '.', '_' and '-'",
		topic, len(topic))
}
