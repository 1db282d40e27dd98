package nsqwatermill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rdyhq/nsq"
)

// SubscriberConfig configures a [Subscriber]. It needs a Channel, and addresses of nsqds or
// nsqlookupds.
type SubscriberConfig struct {
	// NSQDs has the addresses of nsqds, host:port. Each subscription connects to all of them.
	NSQDs []string

	// Lookupds has the addresses of nsqlookupds, host:port or URLs. Each subscription
	// connects to the nsqds that they list for its topic, and follows changes. An nsqd is
	// listed for a topic from the first message on.
	Lookupds []string

	// Channel is the channel of all topics: Watermill's consumer group.
	Channel string

	// Config is for the Consumers; nil means nsq.NewConfig(). The Subscriber keeps a copy,
	// in which it changes some options. MaxAttempts is 0, because a message that is given up
	// would be acked although Watermill has not handled it. RecycleBodies is off, because
	// handlers may keep payloads. StopTimeout is CloseTimeout and 5 s, and MaxInFlight is at
	// least Concurrency. A larger MaxInFlight keeps messages ready in this process. A Nack never
	// makes a message a dead letter of Config.DeadLetter: use PoisonQueue for that.
	Config *nsq.Config

	// Concurrency is how many messages of a subscription may wait for an Ack or Nack at a
	// time. With 1, the default, each message comes after the Ack or Nack of the one before.
	Concurrency int

	// NackDelay, times the attempts of the message, is how long nsqd waits after a Nack before
	// it delivers the message again. MaxRequeueDelay of the Config, 15 minutes by default,
	// bounds the product. nsqd counts in milliseconds. Default: 100 ms.
	NackDelay time.Duration

	// CloseTimeout is how long Close waits for the Ack or Nack of messages. After that their
	// contexts end, and they are requeued. Keep it below the CloseTimeout of Watermill's
	// Router, which is 30 s by default. Default: 10 s.
	CloseTimeout time.Duration

	// Marshaler makes the messages; nil means Envelope.
	Marshaler Marshaler

	// Configure, if not nil, is called with each Consumer before it connects, also with the
	// short-lived ones of SubscribeInitialize. It may add middleware, set the HTTP client for
	// nsqlookupds, or pass the Consumer on to metrics and health checks. It must not add
	// handlers, and the program must not stop the Consumer.
	Configure func(*nsq.Consumer)
}

func (c *SubscriberConfig) setDefaults() {
	if c.Config == nil {
		c.Config = nsq.NewConfig()
	}
	c.Concurrency = cmp.Or(c.Concurrency, 1)
	c.NackDelay = cmp.Or(c.NackDelay, 100*time.Millisecond)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 10*time.Second)
	c.Marshaler = orEnvelope(c.Marshaler)
}

func (c *SubscriberConfig) validate() error {
	switch {
	case len(c.NSQDs)+len(c.Lookupds) == 0:
		return errors.New("no address: set option NSQDs or Lookupds")
	case !nsq.IsValidChannelName(c.Channel):
		return fmt.Errorf("invalid channel name %q of %d bytes: NSQ allows 1 to 64 letters, digits, '.', '_' and '-'",
			c.Channel, len(c.Channel))
	case c.Concurrency < 0:
		return fmt.Errorf("option Concurrency is %d, want 1 or more", c.Concurrency)
	case c.NackDelay < 0:
		return fmt.Errorf("option NackDelay is %v, want more than 0", c.NackDelay)
	case c.CloseTimeout < 0:
		return fmt.Errorf("option CloseTimeout is %v, want more than 0", c.CloseTimeout)
	}
	return c.Config.Validate()
}

// Subscriber is Watermill's message.Subscriber on Consumers, one for each subscription. Make
// one with [NewSubscriber]. Its methods may be called from any goroutine.
type Subscriber struct {
	config  SubscriberConfig
	closing context.Context // ends when Close is called
	close   context.CancelCauseFunc
	running sync.WaitGroup // subscriptions, and calls that may start one

	mu   sync.Mutex // guards errs, and running.Add against Close
	errs []error    // of the subscriptions that Close has stopped
}

var (
	_ message.Subscriber           = (*Subscriber)(nil)
	_ message.SubscribeInitializer = (*Subscriber)(nil)
)

// NewSubscriber returns a Subscriber. It does not connect. It fails if the config has no
// address, or a value out of range. It panics if config.Config was not made by
// nsq.NewConfig.
func NewSubscriber(config SubscriberConfig) (*Subscriber, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	c := *config.Config
	c.MaxAttempts = 0
	c.RecycleBodies = false
	c.StopTimeout = config.CloseTimeout + stopMargin
	c.MaxInFlight = max(c.MaxInFlight, config.Concurrency)
	config.Config = &c
	s := &Subscriber{config: config}
	s.closing, s.close = context.WithCancelCause(context.Background())
	return s, nil
}

// Subscribe connects a Consumer to the topic and returns the channel of its messages. The
// channel is closed after ctx has ended or Close was called, when each message has got its
// Ack or Nack, but after CloseTimeout at the latest.
//
// When ctx ends, the contexts of all messages end at once. When Close is called they live
// on, so that handlers can finish. In both cases Acks and Nacks still count, messages that
// the program has not taken from the channel are requeued, and no others come. Watermill's
// Router does both when it closes. A handler that must finish then needs
// context.WithoutCancel.
//
// The context of a message has the values of ctx. It ends when ctx ends, with the message's
// Ack or Nack, with its lease, and when its connection is lost. context.Cause says which. After
// that a message without Ack or Nack still counts as one of Concurrency, because its handler
// may be at work.
//
// If no nsqd of NSQDs can be reached, Subscribe fails. If some can, it returns, and the
// Consumer keeps dialling the others. With Lookupds it does not need an nsqd, because the
// Consumer finds those that appear later. After Close the error is [ErrClosed].
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	failed := func(err error) error {
		return fmt.Errorf("subscribe to topic %s, channel %s: %w", topic, s.config.Channel, err)
	}
	if err := s.begin(); err != nil {
		return nil, failed(err)
	}
	sub, err := s.start(ctx, topic)
	if err != nil {
		s.running.Done()
		return nil, failed(err)
	}
	go func() {
		defer s.running.Done()
		s.note(sub.run())
	}()
	return sub.messages, nil
}

// begin lets Close wait for the caller, who must call running.Done.
func (s *Subscriber) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return context.Cause(s.closing)
	}
	s.running.Add(1)
	return nil
}

// note keeps the error of a subscription for Close to return. The error of a subscription that
// ended before Close is dropped; its Consumer has logged it.
func (s *Subscriber) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.closing.Err() != nil {
		s.errs = append(s.errs, err)
	}
}

// start returns a subscription whose Consumer is connected.
func (s *Subscriber) start(ctx context.Context, topic string) (*subscription, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	consumer, err := s.consumer(topic, s.config.Config)
	if err != nil {
		return nil, err
	}
	sub := newSubscription(ctx, s.closing, consumer, &s.config)
	consumer.AddConcurrentHandlers(sub, s.config.Concurrency)
	err = s.connect(sub.ending, consumer)
	if err == nil && len(s.config.Lookupds) == 0 {
		if connected, unreachable := reached(consumer); connected == 0 {
			err = unreachable
		}
	}
	if err != nil {
		sub.end(err)
		_ = sub.run() // stops the Consumer, which has done nothing
		return nil, err
	}
	return sub, nil
}

// stopMargin is how much later than CloseTimeout a Consumer gives up its handlers. They requeue
// their messages at CloseTimeout, and on a busy machine that takes a while.
const stopMargin = 5 * time.Second

// consumer returns a Consumer that is not connected.
func (s *Subscriber) consumer(topic string, config *nsq.Config) (*nsq.Consumer, error) {
	if err := checkTopic(topic); err != nil {
		return nil, err
	}
	consumer, err := nsq.NewConsumer(topic, s.config.Channel, config)
	if err == nil && s.config.Configure != nil {
		s.config.Configure(consumer)
	}
	return consumer, err
}

// connect connects a Consumer, and stops it if ctx ends meanwhile. An nsqd that cannot be
// reached is not an error.
func (s *Subscriber) connect(ctx context.Context, consumer *nsq.Consumer) error {
	unhook := context.AfterFunc(ctx, consumer.Stop)
	defer unhook()
	if len(s.config.Lookupds) > 0 {
		if err := consumer.ConnectToNSQLookupds(s.config.Lookupds); err != nil {
			return err
		}
	}
	_ = consumer.ConnectToNSQDs(s.config.NSQDs) // see reached
	return context.Cause(ctx)
}

// reached returns how many nsqds are connected, and the errors of the others. Unlike the errors
// of the connect calls, these name addresses, and include nsqds that nsqlookupds list.
func reached(consumer *nsq.Consumer) (connected int, err error) {
	var errs []error
	for _, nsqd := range consumer.Snapshot().Connections {
		switch {
		case nsqd.State == nsq.ConnectionUp:
			connected++
		case nsqd.LastError != nil:
			errs = append(errs, nsqd.LastError)
		default:
			errs = append(errs, fmt.Errorf("[%s] not connected yet", nsqd.Addr))
		}
	}
	return connected, errors.Join(errs...)
}

// SubscribeInitialize creates the topic and the channel at all nsqds of NSQDs and at those
// that nsqlookupds list for the topic. From then on the channel gets the messages that are
// published there, even before the first Subscribe.
//
// It fails if an nsqd cannot be reached. It also fails if NSQDs is empty and no nsqlookupd
// lists an nsqd for the topic. In that case no message was ever published, and the first
// channel gets all messages anyway. For an ephemeral channel it does nothing: nsqd would
// remove the channel at once.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	if err := s.initialize(topic); err != nil {
		return fmt.Errorf("create channel %s of topic %s: %w", s.config.Channel, topic, err)
	}
	return nil
}

func (s *Subscriber) initialize(topic string) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.running.Done()
	config := *s.config.Config
	config.MaxInFlight = 0 // it is enough to subscribe
	consumer, err := s.consumer(topic, &config)
	if err != nil {
		return err
	}
	defer func() {
		consumer.Stop()
		<-consumer.Stopped()
	}()
	if strings.HasSuffix(s.config.Channel, "#ephemeral") {
		return nil
	}
	consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error { return errStale })) // a Consumer needs one
	if err := s.connect(s.closing, consumer); err != nil {
		return err
	}
	connected, err := reached(consumer)
	if connected == 0 && err == nil {
		return errors.New("no nsqlookupd lists an nsqd with the topic: publish a message first, or set NSQDs")
	}
	return err
}

// Close ends all subscriptions as described at [Subscriber.Subscribe], and waits for them. It
// takes no longer than CloseTimeout, or at most 6 s longer if middleware hangs. Further calls of Subscribe fail.
//
// The error joins those of Consumers that have left work unfinished: see nsq.StopError. A
// second call waits for the first and returns the same error.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.close(fmt.Errorf("subscriber %w", ErrClosed))
	s.mu.Unlock()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}
