package nsq

import "time"

// Hooks are functions that a Consumer, Producer or ProducerPool calls when something
// happens. They are for metrics, traces and alerts. Set them in [Config].Hooks. Nil hooks
// cost nothing.
//
// Handled and Published run on the goroutine that does the work:
//
//   - Handled runs on the goroutine that handled the message, before the message is acked.
//   - Published runs on the goroutine that called the publish method, before the method
//     returns. For an asynchronous publish it usually runs on the goroutine that reads
//     nsqd's replies, before the transaction is sent.
//
// They delay every message or publish by the time that they take, so they should do no I/O.
// They must neither publish nor stop the Producer. They are called from many goroutines at
// once.
//
// All other hooks of a Consumer, Producer or ProducerPool run on one goroutine, one at a
// time, in the order of the events. They may block, and may call any method, Snapshot
// included. While one blocks, events wait. When 4096 events wait, further ones are dropped
// and counted in the Dropped of the next event. Stopped is the last call.
//
// A hook that does not return holds up no stop for ever. A Handled hook counts as part of
// its handler. For a Published hook that holds up nsqd's replies, a stop waits until
// stop_timeout is over, and a second more. For the other hooks see Stopped.
//
// No hook runs under a lock. A panic of a hook is recovered and does not affect the message
// or the publish. The first panic of each hook is logged. A hook should not call
// runtime.Goexit, as t.FailNow does: the caller of a publish may then get no result.
// If a Config has several Hooks, they are called in order. No event holds a message body, a
// secret or a password, except for HandledEvent.Message, which a Handled hook must not keep.
type Hooks struct {
	// Connected is called when a dial of an nsqd has succeeded or failed.
	Connected func(ConnectEvent)
	// Disconnected is called when a connection has ended.
	Disconnected func(DisconnectEvent)
	// LookedUp is called when a request to an nsqlookupd has succeeded or failed.
	LookedUp func(LookupEvent)
	// Discovered is called when the set of nsqds that nsqlookupds list has changed.
	Discovered func(DiscoverEvent)
	// Ready is called when a Consumer has set a connection's RDY.
	Ready func(ReadyEvent)
	// BackedOff is called when a Consumer's backoff level has changed.
	BackedOff func(BackoffEvent)
	// Handled is called for each message when its handler has returned or panicked, and when
	// the message is given up. Message.Answer calls it for a message of a batch whose handler
	// has not returned, and for one of a Fetch or of a loop over Messages. Handled does not
	// hear of a message of the latter two that the program acks or requeues in another way.
	Handled func(HandledEvent)
	// Abandoned is called for each message that nsqd delivers again although no handler
	// failed: its lease or its connection ended, nsqd refused its ack, or its body was too
	// big to be read.
	Abandoned func(AbandonedEvent)
	// Buried is called when a Consumer has stored a message as a dead letter, or has failed
	// to: see [DeadLetterPolicy].
	Buried func(BuriedEvent)
	// Published is called once for each publish command when it has succeeded or failed. An
	// MPUB is one command, even if it was sent again over another connection, or never sent.
	// A pool calls Published for each nsqd that it tries, and once without an Addr if it
	// finds no nsqd to try. A publish after Stop is reported. One with an invalid topic name,
	// body or delay is not.
	Published func(PublishedEvent)
	// PoolChanged is called when a pool begins or ceases to pass over an nsqd.
	PoolChanged func(PoolEvent)
	// Stopped is called last. The stop ends when Stopped has returned, or after
	// stop_timeout: only then is a Consumer's StopChan closed, and only then do
	// Producer.Stop and ProducerPool.Stop return. Once the context of a Shutdown has ended,
	// the Consumer waits for a tenth of a second only. No hook may wait for the end of a
	// stop. Handlers and publishes that the stop did not wait for may call Handled and
	// Published later.
	Stopped func(StoppedEvent)
}

// EventMeta is part of every event that may be delivered late or dropped: see [Hooks].
type EventMeta struct {
	At      time.Time // when it happened
	Dropped int       // how many events were dropped since the previous one
}

func (m *EventMeta) set(to EventMeta) { *m = to }

// ConnectEvent says that a dial of an nsqd has succeeded or failed. Topic and Channel are
// those of a Consumer, and empty in all events of a Producer's connections.
type ConnectEvent struct {
	EventMeta
	Topic, Channel string
	Addr           string        // as given, or as listed by nsqlookupd
	Took           time.Duration // how long the dial and the handshake took, including a Consumer's wait before SUB
	Err            error         // nil if connected
	Version        string        // nsqd's version; Version, TLS and Compression are empty after an error
	TLS            string        // TLS version, such as "TLS 1.3"; empty without TLS
	Compression    string        // "snappy", "deflate" or empty
	RetryIn        time.Duration // after an error, the earliest time until a Consumer dials again
}

// DisconnectEvent says that a connection has ended.
type DisconnectEvent struct {
	EventMeta
	Topic, Channel string
	Addr           string
	Err            error         // nil if the client no longer wanted the connection and nothing was cut off
	Up             time.Duration // how long the connection lasted
	Lost           int           // messages that a Consumer lost with it: in flight, or with an ack that was not sent
	RetryIn        time.Duration // the earliest time until a Consumer dials again; 0 if it does not, or with the next poll
}

// LookupEvent says that a request to an nsqlookupd has succeeded or failed.
type LookupEvent struct {
	EventMeta
	Topic string // empty for a pool, which asks for all nsqds
	Addr  string // of the nsqlookupd: scheme, host and path
	Took  time.Duration
	NSQDs int   // how many usable nsqds the response lists
	Err   error // nil if it responded
}

// DiscoverEvent says which nsqds a Consumer or pool begins and ceases to use because the
// lists of nsqlookupds have changed. The addresses are sorted.
type DiscoverEvent struct {
	EventMeta
	Topic, Channel string // empty for a pool
	Added, Removed []string
}

// ReadyEvent says that a Consumer has set a connection's RDY: how many messages nsqd may
// have in flight on it.
type ReadyEvent struct {
	EventMeta
	Topic, Channel string
	Addr           string
	RDY, Before    int
}

// BackoffEvent says that a Consumer's backoff level has changed.
type BackoffEvent struct {
	EventMeta
	Topic, Channel string
	Level, Before  int           // 0: no backoff
	Pause          time.Duration // how long no messages come from now on
}

// Outcome is what happens to a message after its handler has returned. The set of values
// is small and fixed, so an Outcome can be a metric's label.
type Outcome string

// The outcomes. If the message's lease or connection ended while the handler was at work,
// the ack is not sent, and Abandoned is called as well.
const (
	OutcomeFinished  Outcome = "finished"  // the Consumer acks it
	OutcomeRequeued  Outcome = "requeued"  // the Consumer requeues it: the handler returned an error or panicked
	OutcomeDiscarded Outcome = "discarded" // the Consumer acks it: the handler returned Discard
	OutcomeAnswered  Outcome = "answered"  // the handler has acked or requeued it
	OutcomePending   Outcome = "pending"   // the program acks it later: see Message.DisableAutoResponse
	// OutcomeBuried: the Consumer publishes it as a dead letter, and acks it if the dead
	// letter is stored. Otherwise the Consumer requeues it. The Buried hook says which.
	OutcomeBuried Outcome = "buried"
	// OutcomeGivenUp: it was delivered more than max_attempts times. The Consumer acks it
	// unhandled or, with Config.DeadLetter, proceeds as for OutcomeBuried.
	OutcomeGivenUp Outcome = "given_up"
)

// HandledEvent says that a handler has returned, or that a message was given up.
type HandledEvent struct {
	Topic, Channel string

	// Message is not yet acked by the Consumer. A hook may read it, but must neither ack
	// nor keep it. With recycle_bodies its Body is nil if the handler may have acked it.
	Message *Message
	Outcome Outcome
	Err     error         // the error that the handler returned; a *PanicError if it panicked
	Delay   time.Duration // of the requeue; 0 for other outcomes

	Age    time.Duration // from the publish until the handler began; negative if nsqd's clock is ahead of ours
	Waited time.Duration // from the message's receipt until the handler began
	Took   time.Duration // how long the handler took

	// Messages is how many messages were handled together: the size of the batch that a
	// [BatchHandler] received or a Fetch returned, otherwise 1. Handled is called for each
	// of them, and Took is the time that the whole batch took.
	Messages int
}

// AbandonedEvent says that nsqd delivers a message again although no handler failed.
type AbandonedEvent struct {
	EventMeta
	Topic, Channel string
	ID             MessageID
	NSQDAddress    string
	Attempts       uint16        // 0 if nsqd refused an ack, since then only the ID is known
	Held           time.Duration // time since its receipt; 0 if nsqd refused an ack
	Begun          bool          // whether a handler had begun it
	// Why is ErrMessageTimedOut, ErrConnectionLost, ErrMessageTooBig or, if nsqd refused an
	// ack, a *ProtocolError.
	Why error
}

// BuriedEvent says that a Consumer has stored a message as a dead letter and acks the message,
// or that it has failed to and requeues the message.
type BuriedEvent struct {
	EventMeta
	Topic, Channel string
	DeadTopic      string // the topic of the dead letter
	ID             MessageID
	NSQDAddress    string // of the nsqd that delivered the message
	Attempts       uint16
	Err            error // the handler's error, or one that says that the message was given up
	PublishErr     error // why the dead letter was not stored, or may not be; nil if it is
}

// PublishedEvent says that a publish has succeeded or failed.
type PublishedEvent struct {
	Topic    string
	Addr     string        // of the nsqd; empty if a pool had none to try
	Messages int           // 1, or the number of messages of an MPUB
	Bytes    int           // total size of their bodies
	Start    time.Time     // when the publish method was called or, in a pool, when the pool turned to this nsqd
	Took     time.Duration // from Start to the result
	Deferred time.Duration // the delay of a DPUB
	// Err is nil if nsqd has stored the messages. Otherwise it is the error that a publish
	// method with a context returns: an [ErrProtocol], or an error that wraps [ErrNotSent],
	// [ErrUnknownOutcome] or [ErrStopped].
	Err error
}

// PoolEvent says that a pool begins or ceases to pass over an nsqd.
type PoolEvent struct {
	EventMeta
	Addr    string
	Healthy bool  // whether publishes go to it from now on
	Err     error // why it is passed over; nil if Healthy
}

// StoppedEvent is the last event of a Consumer, Producer or ProducerPool.
type StoppedEvent struct {
	EventMeta
	Topic, Channel string        // of a Consumer
	Addr           string        // of a Producer's nsqd
	Took           time.Duration // how long the stop took
	Left           *StopError    // what a Consumer left unfinished; nil if nothing
}
