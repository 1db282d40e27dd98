package nsqpubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gocloud.dev/gcerrors"
	"gocloud.dev/pubsub"
	"gocloud.dev/pubsub/batcher"
	"gocloud.dev/pubsub/driver"

	"github.com/rdyhq/nsq"
)

const (
	// pollTime is how long ReceiveBatch waits for a first message: the interface asks for
	// about a second at most.
	pollTime = time.Second

	// gatherTime is how long ReceiveBatch waits for more messages after the first. nsqd
	// sends those that it has together. Package pubsub calls ReceiveBatch again at once, so
	// all that a longer time would bring is delay.
	gatherTime = 10 * time.Millisecond
)

var errNacked = errors.New("nacked")

// SubscriptionOptions are the options of a subscription. It needs an address of an nsqd or of
// an nsqlookupd.
type SubscriptionOptions struct {
	NSQDs    []string // addresses of nsqds, host:port
	Lookupds []string // addresses of nsqlookupds, host:port or URLs, that know the nsqds

	// ReceiveBatcherOptions bounds how many messages are fetched at a time. The zero value
	// is what package pubsub aims at: two seconds of what the program handles, in one batch
	// of 3,000 at most.
	ReceiveBatcherOptions batcher.Options

	// AckBatcherOptions says how Acks and Nacks are put together. The zero value is fine:
	// they are queued at once, and the Consumer sends together what is queued.
	AckBatcherOptions batcher.Options
}

// OpenSubscription returns a subscription to a channel of a topic. It connects, and creates
// both at the nsqds that it reaches. It waits until each nsqd of opts.NSQDs, and of those that
// nsqlookupds list, is connected or has failed once. If ctx ends before that, it fails.
//
// The subscription copies the config; nil means nsq.NewConfig(). In the copy MaxAttempts is 0,
// because a message that is given up would be acked although the program has not handled it,
// and RecycleBodies is off, because programs may keep bodies. MaxInFlight does not matter: the
// subscription fetches as many messages as package pubsub asks for. A smaller
// OutputBufferTimeout makes messages of a quiet topic come sooner: nsqd keeps them for 250 ms
// by default.
//
// An nsqd that cannot be reached is no error: the subscription keeps dialling it, before and
// after it was connected. But Receive returns an error if no nsqd was reached since
// OpenSubscription, and all have failed for a reason that lasts: an unknown host name, a
// refused authorization or TLS, or a config that nsqd refuses.
//
// OpenSubscription fails if a name, an address of an nsqlookupd or the config is invalid, or
// if there is no address. It panics if config was not made by nsq.NewConfig.
func OpenSubscription(ctx context.Context, config *nsq.Config, topic, channel string, opts *SubscriptionOptions) (*pubsub.Subscription, error) {
	if opts == nil {
		opts = &SubscriptionOptions{}
	}
	s, err := newSubscription(ctx, config, topic, channel, opts)
	if err != nil {
		return nil, fmt.Errorf("open subscription to topic %q, channel %q: %w", topic, channel, err)
	}
	return pubsub.NewSubscription(s, &opts.ReceiveBatcherOptions, &opts.AckBatcherOptions), nil
}

// subscription is a driver.Subscription.
type subscription struct {
	consumer *nsq.Consumer
	reached  atomic.Bool // an nsqd was connected since newSubscription

	mu     sync.Mutex // guards what follows
	closed bool
	held   map[*nsq.Message]func() bool // messages without Ack or Nack; the functions unhook letGo
}

func newSubscription(ctx context.Context, config *nsq.Config, topic, channel string, opts *SubscriptionOptions) (*subscription, error) {
	if len(opts.NSQDs)+len(opts.Lookupds) == 0 {
		return nil, errors.New("no address of an nsqd or nsqlookupd")
	}
	if config == nil {
		config = nsq.NewConfig()
	}
	ours := *config
	ours.MaxAttempts = 0
	ours.RecycleBodies = false
	consumer, err := nsq.NewConsumer(topic, channel, &ours)
	if err != nil {
		return nil, err
	}
	s := &subscription{consumer: consumer, held: make(map[*nsq.Message]func() bool)}
	if err := s.connect(ctx, opts); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// connect waits for the first dials. That an nsqd cannot be reached is no error.
func (s *subscription) connect(ctx context.Context, opts *SubscriptionOptions) error {
	if len(opts.Lookupds) > 0 {
		if err := s.consumer.Discover(ctx, opts.Lookupds...); err != nil {
			return err
		}
	}
	_ = s.consumer.Connect(ctx, opts.NSQDs...)
	_ = s.unreachable() // sets reached
	return context.Cause(ctx)
}

// unreachable returns why no nsqd can be reached, if none was until now and somebody has to do
// something about it.
func (s *subscription) unreachable() error {
	if s.reached.Load() {
		return nil
	}
	var errs []error
	snapshot := s.consumer.Snapshot()
	for _, nsqd := range snapshot.Connections {
		if nsqd.State == nsq.ConnectionUp {
			s.reached.Store(true)
			return nil
		}
		errs = append(errs, nsqd.LastError)
	}
	if len(errs) == 0 {
		for _, lookupd := range snapshot.Lookupds {
			errs = append(errs, lookupd.LastError)
		}
	}
	if slices.ContainsFunc(errs, func(err error) bool { return err == nil || !permanent(err) }) {
		return nil
	}
	return errors.Join(errs...)
}

// ReceiveBatch returns up to maxMessages messages, none if none comes within a second. While
// no nsqd is connected, it waits likewise: an error would have package pubsub pause for up to
// half a minute.
func (s *subscription) ReceiveBatch(ctx context.Context, maxMessages int) ([]*driver.Message, error) {
	if err := s.unreachable(); err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	fetched, err := s.consumer.Fetch(waiting, nsq.BatchLimits{Messages: maxMessages, Wait: gatherTime})
	switch {
	case err == nil:
		return s.hold(fetched)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case waiting.Err() != nil:
		return nil, nil
	}
	return nil, err
}

// hold notes that messages have neither Ack nor Nack, until their leases end.
func (s *subscription) hold(fetched []*nsq.Message) ([]*driver.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		for _, m := range fetched {
			m.RequeueWithoutBackoff(0)
		}
		return nil, nsq.ErrStopped
	}
	held := make([]*driver.Message, len(fetched))
	for i, m := range fetched {
		s.held[m] = context.AfterFunc(m.Context(), func() { s.letGo(m) })
		held[i] = received(m)
	}
	return held, nil
}

// letGo removes a message from held.
func (s *subscription) letGo(m *nsq.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if unhook := s.held[m]; unhook != nil {
		unhook()
		delete(s.held, m)
	}
}

// received returns what package pubsub gets for a message.
func received(m *nsq.Message) *driver.Message {
	metadata, body := open(m.Body)
	return &driver.Message{
		LoggableID: string(m.ID[:]), Body: body, Metadata: metadata, AckID: m,
		AsFunc: func(i any) bool {
			p, ok := i.(**nsq.Message)
			if ok {
				*p = m
			}
			return ok
		},
	}
}

// SendAcks acks messages. It does not wait: nsqd does not reply to an ack. It fails never: an
// ack that comes too late has no effect, and the Consumer logs it.
func (s *subscription) SendAcks(_ context.Context, ids []driver.AckID) error {
	s.answer(ids, nil)
	return nil
}

// CanNack reports true.
func (*subscription) CanNack() bool { return true }

// SendNacks requeues messages. Like SendAcks it neither waits nor fails.
func (s *subscription) SendNacks(_ context.Context, ids []driver.AckID) error {
	s.answer(ids, nsq.RetryAfter(0, errNacked))
	return nil
}

func (s *subscription) answer(ids []driver.AckID, err error) {
	for _, id := range ids {
		m := id.(*nsq.Message) // ReceiveBatch has set it
		s.letGo(m)
		m.Answer(err)
	}
}

// IsRetryable reports false: the Consumer connects again by itself, and what ReceiveBatch
// returns as an error lasts.
func (*subscription) IsRetryable(error) bool { return false }

// As sets a **nsq.Consumer.
func (s *subscription) As(i any) bool {
	p, ok := i.(**nsq.Consumer)
	if ok {
		*p = s.consumer
	}
	return ok
}

// ErrorAs sets the types that the package documentation lists.
func (*subscription) ErrorAs(err error, target any) bool { return errorAs(err, target) }

// ErrorCode returns the code that describes an error.
func (*subscription) ErrorCode(err error) gcerrors.ErrorCode { return errorCode(err) }

// Close stops the Consumer and requeues the messages without Ack or Nack, so that nsqd
// delivers them again at once. It takes stop_timeout at most. The error is a *nsq.StopError
// if an nsqd has not taken the last acks and requeues by then.
func (s *subscription) Close() error {
	s.consumer.Stop() // so that nsqd does not deliver them to this Consumer
	s.mu.Lock()
	held := s.held
	s.closed, s.held = true, nil
	s.mu.Unlock()
	for m, unhook := range held {
		unhook()
		m.RequeueWithoutBackoff(0)
	}
	return s.consumer.Shutdown(context.Background()) // within stop_timeout of the Stop above
}
