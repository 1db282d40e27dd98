package delay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
)

const (
	channel = "relay"

	// longestHop is how long a message waits before the relay looks at the time again. It
	// bounds how late the message can be if the relay's clock is set forward meanwhile. A
	// longer one would save little: 10,000 messages that wait cost 17 requeues a second.
	longestHop = 10 * time.Minute

	// retryWithin bounds how long, after the destination was down, a message waits for
	// the next try.
	retryWithin = 15 * time.Second
)

// NewRelay returns a Consumer that publishes messages of [Publish] to their topic when they are
// due, through a Publisher. The caller connects the Consumer to all nsqds that Publish may
// use, best by nsqlookupd, and runs and stops it like any other. Stop it before the Publisher.
// The Consumer has its handler already. The caller may add hooks, middleware and metrics.
//
// Each topic needs a relay of its own. Any number of processes may run one for the same
// topic: they share the messages, and if one of them stops, its messages wait on.
//
// The config is copied. Its max_in_flight is also the number of handlers, and so of messages
// that are published at once. Set it to at least the number of nsqds. The copy has other
// values for these options:
//
//   - max_attempts is unlimited: each requeue is an attempt.
//   - sample_rate is 0: otherwise nsqd would discard messages.
//   - DeadLetter.After is unlimited as well: an outage of the destination makes no dead
//     letters.
//   - backoff_policy is adaptive: with the other one, messages that wait would hold up those
//     that are due.
//   - max_backoff_duration and max_requeue_delay are at most 15 s, so that messages flow soon
//     after the destination is back.
//
// Requeues are not logged, and hooks see them as [nsq.OutcomeAnswered]. A message is acked
// only once the Publisher has returned nil. If the Publisher fails, or takes more than half of
// what is left of the message's lease, the error is logged and the message is published again
// later. It may then arrive twice.
//
// A message that Publish did not make, or that is for another topic, is logged as an error. It
// becomes a dead letter if [nsq.Config.DeadLetter] is set. Otherwise it is requeued again and
// again: to get rid of it, consume the channel with a program that acks it.
//
// NewRelay fails if [Topic] or [nsq.NewConsumer] does. It panics if the Publisher is nil, and
// if the config was not made by [nsq.NewConfig].
func NewRelay(topic string, to nsq.Publisher, config *nsq.Config) (*nsq.Consumer, error) {
	if to == nil {
		panic("nil publisher")
	}
	waiting, err := Topic(topic)
	if err != nil {
		return nil, err
	}
	c := *config
	c.MaxAttempts = 0
	c.SampleRate = 0
	c.BackoffPolicy = nsq.BackoffAdaptive
	c.MaxBackoffDuration = min(c.MaxBackoffDuration, retryWithin)
	c.MaxRequeueDelay = min(c.MaxRequeueDelay, retryWithin)
	if c.DeadLetter != nil {
		policy := *c.DeadLetter
		policy.After = 0 // without max_attempts: only what the handler returns as a DeadLetter
		c.DeadLetter = &policy
	}
	consumer, err := nsq.NewConsumer(waiting, channel, &c)
	if err != nil {
		return nil, err
	}
	consumer.AddConcurrentHandlers(&relay{topic: topic, to: to}, max(c.MaxInFlight, 1))
	return consumer, nil
}

// relay is the handler of a relay's Consumer.
type relay struct {
	topic string
	to    nsq.Publisher
}

// HandleMessage publishes a message that is due, and requeues one that is not.
//
// RetryAfter would log each requeue. RequeueWithoutBackoff does not, and adaptive backoff
// ignores it: messages that wait neither slow down nor speed up those that are due.
func (r *relay) HandleMessage(m *nsq.Message) error {
	d, err := open(received(m))
	if err == nil && d.topic != r.topic {
		err = fmt.Errorf("delayed message is for topic %q, want %s", d.topic, r.topic)
	}
	if err != nil {
		return nsq.NoBackoff(nsq.DeadLetter(err))
	}
	if wait := time.Until(d.until); wait > 0 {
		m.RequeueWithoutBackoff(hop(wait))
		return nil
	}
	ctx, cancel := half(m.Context())
	defer cancel()
	return r.to.PublishContext(ctx, r.topic, d.body)
}

// hop returns the delay of the next requeue of a message that is due after the given time. It
// is in whole milliseconds, as nsqd counts them, and never ends too early, since the message
// would then come back at once, again and again.
func hop(wait time.Duration) time.Duration {
	return (min(wait, longestHop) + time.Millisecond - 1).Truncate(time.Millisecond)
}

// half returns a context for a publish that ends after half of the time to the deadline of
// ctx. If the publish took all of the lease, the requeue would come too late.
func half(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Until(end)/2)
}

// received returns the body of a message as nsqd delivered it, even if the relay's Consumer
// uses nsq.OpenEnvelopes.
func received(m *nsq.Message) []byte {
	if h, opened := envelope.FromContext(m.Context()); opened {
		return envelope.Seal(h, m.Body)
	}
	return m.Body
}

// delayed is what open finds in a message.
type delayed struct {
	until time.Time
	topic string
	body  []byte // what is to be published
}

var errNotDelayed = errors.New("message was not published by delay.Publish")

// open takes a message of Publish apart. It removes only what Publish has added. A Publisher may
// have added headers to the envelope, or put it into another one. The destination should get
// them as it does with other messages of that Publisher.
func open(data []byte) (delayed, error) {
	h, body, ok := envelope.Open(data)
	outer := 0 // the length of the headers of envelopes around that of Publish
	for ok && h[untilHeader] == "" {
		outer = len(data) - len(body)
		h, body, ok = envelope.Open(body)
	}
	if !ok {
		return delayed{}, errNotDelayed
	}
	d := delayed{topic: h[topicHeader]}
	if err := d.until.UnmarshalText([]byte(h[untilHeader])); err != nil {
		return delayed{}, fmt.Errorf("delayed message for topic %q: %w", d.topic, err)
	}
	delete(h, untilHeader)
	delete(h, topicHeader)
	d.body = slices.Concat(data[:outer], withHeaders(h, body))
	return d, nil
}

// withHeaders adds headers to a body. If the body is an envelope, it adds them to that, as the
// Publisher did with the envelope of Publish.
func withHeaders(added envelope.Header, body []byte) []byte {
	if len(added) == 0 {
		return body
	}
	h, inner, ok := envelope.Open(body)
	if !ok {
		return envelope.Seal(added, body)
	}
	maps.Copy(h, added)
	return envelope.Seal(h, inner)
}
