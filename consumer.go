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
// The Consumer has at most max_in_flight messages in flight, from all nsqds together;
// rdy_strategy decides how nsqds share them. Set max_in_flight to at least the number
// of handlers, or some have nothing to do, and to at least the number of nsqds, or
// they take turns: a message then waits up to 35 ms for each nsqd without messages
// whose turn comes first. If max_in_flight is too low, the Consumer warns once and
// names the figure to set.
//
// The memory that the bodies of these messages take is bounded as well: see
// Config.MaxBytesInFlight. An nsqd that sends far more than its RDY allows is
// disconnected, with [ErrBeyondRDY], and dialled again after about lookupd_poll_interval.
//
// When a handler fails, the Consumer backs off, unless max_backoff_duration is 0: it
// pauses, then tries one message at a time until one is handled. Failures of other
// messages that were in hand at the first failure do not count. With backoff_policy
// "adaptive" occasional failures only slow it down.
//
// An nsqd whose connection is lost is dialled again: first after about 100 ms, then
// at growing intervals up to lookupd_poll_interval, until a dial succeeds or
// [Consumer.DisconnectFromNSQD] is called. Handlers never hold up a connection: however
// long they take, it stays.
type Consumer struct {
	// StopChan is closed when the Consumer has stopped.
	StopChan chan int

	stopped chan struct{} // closed just before StopChan

	topic, channel string
	cfg            *Config
	shared         bool // a Group sets its max_in_flight, again and again
	logs           *logs
	log            *slog.Logger
	start          time.Time // when the Consumer's clock read 0

	mail      *mailbox
	flags     flowFlags
	memory    memory
	hooks     *hooks
	queue     *deliveryQueue
	contexts  contexts
	discovery *discovery
	loop      *runLoop // until StopChan is closed, only events may touch it

	// handling is the parent of all messages' contexts. It ends at a stop's
	// deadline, if the stop takes that long.
	handling     context.Context
	stopHandling context.CancelCauseFunc

	// dialling is the parent of all dials, and of the poller of nsqlookupds. It
	// ends when a stop begins.
	dialling     context.Context
	stopDialling context.CancelCauseFunc

	// running is a child of the context of Run, nil before it: see watch.
	running atomic.Pointer[context.Context]

	// probed is when Health posted a probe that the run loop has not run yet, on the
	// Consumer's clock; 0 if none is pending.
	probed atomic.Int64

	// connected is the run loop's connections, for Stats, IsStarved and Health. When one
	// comes or goes, the run loop stores a new value.
	connected atomic.Pointer[connections]

	// wrap calls wrapHandlers once. If wrapHandlers panics, every call of wrap panics.
	wrap func()

	mu         sync.Mutex // guards the fields below
	handlers   []*addedHandler
	middleware []Middleware
	connecting bool // a connect call was made: handlers and middleware stay as they are
	taken      bool // Messages or Fetch was called: no handler may be added
}

var (
	errConsumerStopped = fmt.Errorf("consumer %w", ErrStopped)
	errNoHandlers      = errors.New("no handlers")
)

// NewConsumer returns a Consumer of a channel of a topic. It does not connect. It
// fails if a name is invalid, the config does not pass [Config.Validate], or dead letters
// would go to the topic itself. It copies the config: later changes have no effect.
//
// It panics if the config was not made by [NewConfig].
func NewConsumer(topic string, channel string, config *Config) (*Consumer, error) {
	if err := checkConsumer(topic, channel, config); err != nil {
		return nil, err
	}
	return newConsumer(topic, channel, config.clone(), false), nil
}

// checkConsumer returns the error of NewConsumer.
func checkConsumer(topic, channel string, config *Config) error {
	config.mustBeInitialized()
	if err := config.Validate(); err != nil {
		return err
	}
	if !IsValidTopicName(topic) {
		return fmt.Errorf("invalid topic name %q", topic)
	}
	if !IsValidChannelName(channel) {
		return fmt.Errorf("invalid channel name %q", channel)
	}
	_, err := config.DeadLetter.resolve(topic, channel, config.MaxAttempts)
	return err
}

// newConsumer makes and starts a Consumer from what checkConsumer has checked. The Consumer
// owns the config.
func newConsumer(topic, channel string, config *Config, shared bool) *Consumer {
	config.DeadLetter, _ = config.DeadLetter.resolve(topic, channel, config.MaxAttempts) // checked
	c := &Consumer{
		StopChan: make(chan int),
		stopped:  make(chan struct{}),
		topic:    topic,
		channel:  channel,
		cfg:      config,
		shared:   shared,
		start:    time.Now(),
		mail:     newMailbox(),
		contexts: newContexts(),
	}
	c.memory.limit = readersStopAt(c.cfg)
	c.queue = newQueue(c.cfg.MaxInFlight, c.cfg.AutoTouch, c.elapsed)
	c.logs = newLogs(c.cfg.Logger)
	c.log = c.logs.logger.With("topic", topic, "channel", channel)
	c.hooks = newHooks(c.cfg.Hooks, c.log)
	c.queue.exact = len(c.hooks.handled) > 0 // they are told when the handling began
	c.dialling, c.stopDialling = context.WithCancelCause(context.Background())
	c.handling, c.stopHandling = context.WithCancelCause(context.Background())
	c.connected.Store(&connections{})
	c.discovery = newDiscovery(c.log)
	c.wrap = sync.OnceFunc(c.wrapHandlers)
	c.loop = newRunLoop(c)
	go c.loop.run()
	return c
}

// ConnectToNSQD connects to an nsqd and subscribes, and waits for the result.
// The address is host:port.
//
// After an error the Consumer keeps dialling the address until it is connected or
// [Consumer.DisconnectFromNSQD] is called. Another ConnectToNSQD meanwhile dials at
// once and waits for the result. If nsqd closes the connection and accepts the next one,
// it may be removing the topic, so the Consumer waits three seconds before it subscribes
// again. The errors are:
//
//   - [ErrAlreadyConnected] if the address is connected and an earlier call returned
//     nil for it, or if another call is waiting for it;
//   - the dial's error, as the dial returns it, if it fails;
//   - [ErrIdentify] if the handshake fails;
//   - one that wraps a [*ProtocolError] if nsqd refuses AUTH or the subscription.
//
// The first three are not wrapped, for programs that compare with == or use type
// assertions. [Consumer.Snapshot] and the log name the address as well.
func (c *Consumer) ConnectToNSQD(addr string) error {
	if err := c.beginConnecting(); err != nil {
		return err
	}
	result := make(chan error, 1) // room for the result: the loop must not block
	if !c.post(func(now time.Time) { c.loop.machine.Connect(now, addr, c.loop.call(result)) }) {
		return errConsumerStopped
	}
	return <-result
}

// ConnectToNSQDs calls [Consumer.ConnectToNSQD] for several addresses at once and
// waits for all of them. One that fails does not keep the others from being connected.
// If several fail, their errors are joined, each with its address, unless all of them
// are [ErrAlreadyConnected]. If one fails, its error is returned as it is.
func (c *Consumer) ConnectToNSQDs(addresses []string) error {
	if len(addresses) == 0 {
		return nil
	}
	if err := c.beginConnecting(); err != nil {
		return err
	}
	errs := make([]error, len(addresses))
	var wg sync.WaitGroup
	for i, addr := range addresses {
		wg.Go(func() { errs[i] = c.ConnectToNSQD(addr) })
	}
	wg.Wait()
	return joinConnectErrors(addresses, errs)
}

// joinConnectErrors joins the errors of several addresses. Because programs for go-nsq
// compare with ==, it returns a single error unwrapped, and ErrAlreadyConnected if all
// errors are that.
func joinConnectErrors(addresses []string, errs []error) error {
	var failed []error
	var last error
	connected := 0
	for i, err := range errs {
		switch {
		case err == nil:
			continue
		case errors.Is(err, ErrAlreadyConnected):
			connected++
		}
		last = err
		failed = append(failed, fmt.Errorf("[%s] %w", addresses[i], err))
	}
	if len(failed) == 1 || connected == len(failed) {
		return last
	}
	return errors.Join(failed...)
}

// elapsed reads the Consumer's clock.
func (c *Consumer) elapsed() time.Duration { return time.Since(c.start) }

// post has the run loop run an event. It never waits. Once the loop has ended, it
// reports false and the event does not run.
func (c *Consumer) post(event func(now time.Time)) bool { return c.mail.post(event) }

// beginConnecting checks that the Consumer may connect. If so, no handler or middleware can
// be added from then on, and the handlers are wrapped in the middleware.
func (c *Consumer) beginConnecting() error {
	if c.queue.workerCount() == 0 && !c.queue.isSealed() { // once it is sealed, workers may be gone
		return errNoHandlers
	}
	return c.beginConnectingAnyway()
}

// beginConnectingAnyway is beginConnecting for a Consumer that may have no handler.
func (c *Consumer) beginConnectingAnyway() error {
	c.mu.Lock()
	sealed := c.queue.isSealed()
	c.connecting = c.connecting || !sealed
	c.mu.Unlock()
	if sealed {
		return errConsumerStopped
	}
	c.wrap()
	return nil
}

// DisconnectFromNSQD gives up an nsqd that the Consumer connects to. It returns at
// once. The connection takes no more messages. Messages that no handler has begun
// are requeued before DisconnectFromNSQD returns, and the connection closes when the
// others are acked. It returns [ErrNotConnected] for an address that the Consumer does
// not connect to.
func (c *Consumer) DisconnectFromNSQD(addr string) error {
	result := make(chan error, 1)
	disconnect := func(now time.Time) {
		c.loop.machine.Disconnect(now, addr, c.loop.call(result))
		c.loop.forgetUnknown()
	}
	if !c.post(disconnect) {
		return ErrNotConnected
	}
	return <-result
}

// ChangeMaxInFlight sets how many messages may be in flight from now on. 0 pauses:
// connections stay, messages in flight are handled, no others come. A negative
// number counts as 0. During a [Consumer.Pause] it takes effect with [Consumer.Resume].
func (c *Consumer) ChangeMaxInFlight(maxInFlight int) {
	c.post(func(now time.Time) {
		c.queue.setLimit(max(maxInFlight, 0))
		c.loop.machine.SetMaxInFlight(now, maxInFlight)
	})
}

// Pause keeps new messages from coming until [Consumer.Resume]. Connections stay. Pause
// returns at once: messages in flight, up to max_in_flight of them, are still handled.
func (c *Consumer) Pause() { c.post(func(now time.Time) { c.loop.machine.Pause(now, true) }) }

// Resume ends a [Consumer.Pause].
func (c *Consumer) Resume() { c.post(func(now time.Time) { c.loop.machine.Pause(now, false) }) }

// SetLogger sets where log lines go and the lowest level that is logged. A nil
// logger discards them. It takes effect at once for everything the Consumer logs.
// See [Config] for a structured Logger.
func (c *Consumer) SetLogger(l Logger, lvl LogLevel) { c.logs.SetLogger(l, lvl) }

// SetLoggerForLevel sets where log lines of one level go. A nil logger discards
// them.
func (c *Consumer) SetLoggerForLevel(l Logger, lvl LogLevel) { c.logs.SetLoggerForLevel(l, lvl) }

// SetLoggerLevel sets the lowest level that is logged.
func (c *Consumer) SetLoggerLevel(lvl LogLevel) { c.logs.SetLoggerLevel(lvl) }
