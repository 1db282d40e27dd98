package nsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Consumer receives the messages of one channel of one topic from any number
// of nsqds and hands them to handlers.
//
// Make one with [NewConsumer], add handlers, connect, and [Consumer.Stop] it
// when done. All methods may be called from any goroutine.
//
// At most max_in_flight messages are taken from all nsqds together at a time,
// and rdy_strategy says how many from which. It should be at least the number of
// handlers, or some have nothing to do; and at least the number of nsqds, or
// these take turns, and a message may wait for its nsqd's: 35 ms for each nsqd
// without messages that comes before. A warning says so once, with the figure to
// set.
//
// After a handler fails the Consumer backs off, if max_backoff_duration is not 0:
// it pauses, then tries one message at a time until that goes well. What else
// is in hand when the first failure comes does not count. backoff_policy
// "adaptive" takes failures now and then more lightly.
//
// A connection is kept up until it is given up with
// [Consumer.DisconnectFromNSQD]: when it is lost it is dialled again, first
// after about 100 ms, then at growing intervals up to lookupd_poll_interval.
// Handlers never hold up a connection: however long they take, heartbeats are
// answered.
type Consumer struct {
	// StopChan is closed when the Consumer has stopped.
	StopChan chan int

	topic, channel string
	cfg            *Config
	logs           *logs
	log            *slog.Logger
	start          time.Time // when it was made

	mail      *mailbox
	flags     flowFlags
	queue     *deliveryQueue
	contexts  contexts
	discovery discovery
	loop      *runLoop

	// handling is the parent of all messages' contexts. It ends when the
	// Consumer stops and waits for handlers no longer.
	handling     context.Context
	stopHandling context.CancelCauseFunc

	// dialling ends all dials when the Consumer stops.
	dialling     context.Context
	stopDialling context.CancelCauseFunc

	// connected is what the run loop shows of its connections.
	connected atomic.Pointer[connections]

	mu         sync.Mutex // guards what follows
	handlers   []Handler  // that were added
	connecting bool       // a connect call was made: it is too late for others
}

var (
	errConsumerStopped = fmt.Errorf("consumer %w", ErrStopped)
	errNoHandlers      = errors.New("no handlers")
)

// NewConsumer returns a Consumer of a channel that is not connected yet. It
// fails on a name that is not valid and on a config that does not pass
// [Config.Validate]. The config is copied: changing it later changes nothing.
//
// It panics if the config was not made by [NewConfig].
func NewConsumer(topic string, channel string, config *Config) (*Consumer, error) {
	config.mustBeInitialized()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if !IsValidTopicName(topic) {
		return nil, fmt.Errorf("invalid topic name %q", topic)
	}
	if !IsValidChannelName(channel) {
		return nil, fmt.Errorf("invalid channel name %q", channel)
	}
	c := &Consumer{
		StopChan: make(chan int),
		topic:    topic,
		channel:  channel,
		cfg:      config.clone(),
		start:    time.Now(),
		mail:     newMailbox(),
		contexts: newContexts(),
	}
	c.queue = newQueue(config.MaxInFlight, c.elapsed)
	c.logs = newLogs(c.cfg.Logger)
	c.log = c.logs.logger.With("topic", topic, "channel", channel)
	c.dialling, c.stopDialling = context.WithCancelCause(context.Background())
	c.handling, c.stopHandling = context.WithCancelCause(context.Background())
	c.connected.Store(&connections{})
	c.discovery.lookupds.log = c.log
	c.loop = newRunLoop(c)
	go c.loop.run()
	return c, nil
}

// ConnectToNSQD connects to an nsqd and subscribes, and waits for the result.
// The address is host:port.
//
// An error does not end it: the address is dialled again until it succeeds or
// [Consumer.DisconnectFromNSQD] is called. Calling ConnectToNSQD again meanwhile
// dials at once and waits for that. It returns [ErrAlreadyConnected] if the
// address is connected and a former call said so, or if another call waits for
// it; [ErrIdentify] if the handshake fails; an error that wraps a
// [*ProtocolError] if nsqd refuses the subscription.
func (c *Consumer) ConnectToNSQD(addr string) error {
	if err := c.beginConnecting(); err != nil {
		return err
	}
	result := make(chan error, 1) // the loop never waits for us
	if !c.post(func(now time.Time) { c.loop.machine.Connect(now, addr, c.loop.call(result)) }) {
		return errConsumerStopped
	}
	return <-result
}

// ConnectToNSQDs connects to several nsqds at once, as [Consumer.ConnectToNSQD]
// does to one, and waits for all of them. The errors of those that failed are
// joined; the others are connected.
func (c *Consumer) ConnectToNSQDs(addresses []string) error {
	errs := make([]error, len(addresses))
	var wg sync.WaitGroup
	for i, addr := range addresses {
		wg.Go(func() { errs[i] = c.ConnectToNSQD(addr) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// elapsed is the Consumer's clock.
func (c *Consumer) elapsed() time.Duration { return time.Since(c.start) }

// post has the run loop run an event. It reports false, and the event will not
// run, once the loop has ended. It never waits.
func (c *Consumer) post(event func(now time.Time)) bool { return c.mail.post(event) }

func (c *Consumer) beginConnecting() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.dialling.Done():
		return errConsumerStopped
	default:
	}
	if c.queue.workerCount() == 0 {
		return errNoHandlers
	}
	c.connecting = true
	return nil
}

// DisconnectFromNSQD gives up an nsqd that the Consumer was told to connect to.
// It returns at once. The connection takes no more messages; what no handler
// has begun is requeued; it closes when the handlers have answered the rest.
// For an unknown address it returns [ErrNotConnected].
func (c *Consumer) DisconnectFromNSQD(addr string) error {
	result := make(chan error, 1)
	if !c.post(func(now time.Time) { c.loop.machine.Disconnect(now, addr, c.loop.call(result)) }) {
		return ErrNotConnected
	}
	return <-result
}

// ChangeMaxInFlight sets how many messages may be in flight from now on. 0
// pauses: connections stay, messages in flight are worked on, no new ones come.
// A negative number is 0. While the Consumer is paused it takes effect with
// [Consumer.Resume].
func (c *Consumer) ChangeMaxInFlight(maxInFlight int) {
	c.post(func(now time.Time) {
		c.queue.setLimit(max(maxInFlight, 0))
		c.loop.machine.SetMaxInFlight(now, maxInFlight)
	})
}

// Pause has no new messages come until [Consumer.Resume]. Connections stay, and
// messages in flight are worked on.
func (c *Consumer) Pause() { c.post(func(now time.Time) { c.loop.machine.Pause(now, true) }) }

// Resume ends a [Consumer.Pause].
func (c *Consumer) Resume() { c.post(func(now time.Time) { c.loop.machine.Pause(now, false) }) }

// SetLogger replaces where log lines go, and the lowest level that does. A nil
// logger discards them. It takes effect at once for everything the Consumer
// logs. See [Config] for a structured Logger.
func (c *Consumer) SetLogger(l logger, lvl LogLevel) { c.logs.SetLogger(l, lvl) }

// SetLoggerForLevel replaces where log lines of one level go. A nil logger
// discards them.
func (c *Consumer) SetLoggerForLevel(l logger, lvl LogLevel) { c.logs.SetLoggerForLevel(l, lvl) }

// SetLoggerLevel sets the lowest level that is logged.
func (c *Consumer) SetLoggerLevel(lvl LogLevel) { c.logs.SetLoggerLevel(lvl) }
