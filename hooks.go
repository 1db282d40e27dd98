package nsq

import "time"

// Hooks are functions that a Consumer, Producer or ProducerPool calls when something
// happens: for metrics, traces and alerts. Set them in [Config].Hooks. Those that are nil
// cost nothing.
//
// Handled runs on the goroutine that handled the message, before the message is acked.
// Published runs on the goroutine that called the publish method, before the method
// returns; for an asynchronous publish it runs on the goroutine that reads nsqd's replies,
// before the transaction is sent. The time that they take is added to every message, so they
// should do no I/O, and they must not publish, nor stop the Producer. They are called from
// many goroutines at once.
//
// All other hooks run on one goroutine of the Consumer, Producer or ProducerPool, one at a
// time and in the order of the events. They may block and may call any method, Snapshot
// included. While one blocks, events wait; if 4096 wait, further events are dropped and
// counted in the next event's Dropped. Stopped is the last call.
//
// No hook runs under a lock. A hook that panics is recovered, and its first panic is
// logged; the message or the publish is not affected. A hook should not call runtime.Goexit,
// as t.FailNow does: it ends the goroutine that the hook runs on. Several Hooks in a Config are
// called in their order. No event holds a body, a secret, or a password: Message is the
// exception, which a Handled hook must not keep.
type Hooks struct {
	// Connected is called when a dial of an nsqd has ended, well or not.
	Connected func(ConnectEvent)
	// Disconnected is called when a connection has ended.
	Disconnected func(DisconnectEvent)
	// LookedUp is called when an nsqlookupd has responded to a poll, or has not.
	LookedUp func(LookupEvent)
	// Discovered is called when the set of nsqds that nsqlookupds list has changed.
	Discovered func(DiscoverEvent)
	// Ready is called when a Consumer has set a connection's RDY.
	Ready func(ReadyEvent)
	// BackedOff is called when a Consumer's backoff level has changed.
	BackedOff func(BackoffEvent)
	// Handled is called for each message when its handler has returned, and for each
	// message that is given up.
	Handled func(HandledEvent)
	// Abandoned is called for each message that nsqd delivers again although no handler has
	// failed: its lease or its connection ended, nsqd refused its ack, or its body was not
	// read because it is too big.
	Abandoned func(AbandonedEvent)
	// Published is called when a publish has ended, well or not, once for each command: an
	// MPUB is one, also if it was sent again over another connection, or not at all. A
	// pool's publish is one for each nsqd that it tries, or one without an Addr if it finds
	// no nsqd to try. A publish after Stop is one; a publish with an invalid topic name, body
	// or delay is none.
	Published func(PublishedEvent)
	// PoolChanged is called when a pool passes over an nsqd from now on, or no longer does.
	PoolChanged func(PoolEvent)
	// Stopped is called last. A Consumer's StopChan is closed when it has returned, or
	// stop_timeout later; Producer.Stop and ProducerPool.Stop wait likewise. So a hook must
	// not wait for the end of the stop.
	Stopped func(StoppedEvent)
}

// EventMeta is part of the events that may be late or dropped: see [Hooks].
type EventMeta struct {
	At      time.Time // when it happened
	Dropped int       // how many events were dropped since the one before
}

func (m *EventMeta) set(to EventMeta) { *m = to }

// ConnectEvent says that a dial of an nsqd has ended. A Producer's has no Topic and
// Channel; neither have the events of its other connections.
type ConnectEvent struct {
	EventMeta
	Topic, Channel string
	Addr           string        // as given, or as listed by nsqlookupd
	Took           time.Duration // of the dial and the handshake; a consumer's wait before SUB included
	Err            error         // nil if connected
	Version        string        // nsqd's; this and what follows is empty without a connection
	TLS            string        // its version, such as "TLS 1.3"; empty without
	Compression    string        // "snappy", "deflate" or empty
	RetryIn        time.Duration // after an error: until the next dial of a Consumer, at the earliest
}

// DisconnectEvent says that a connection has ended.
type DisconnectEvent struct {
	EventMeta
	Topic, Channel string
	Addr           string
	Err            error         // nil if the connection was no longer wanted and nothing was cut off
	Up             time.Duration // how long it lasted
	Lost           int           // messages of a Consumer that were lost by it: in flight, or acked and the ack not sent
	RetryIn        time.Duration // until the next dial of a Consumer, at the earliest; 0: none follows, or with the next poll
}

// LookupEvent says what became of a request to an nsqlookupd.
type LookupEvent struct {
	EventMeta
	Topic string // empty for a pool, which asks for all nsqds
	Addr  string // of the nsqlookupd: scheme, host and path
	Took  time.Duration
	NSQDs int // how many it lists
	Err   error
}

// DiscoverEvent says which nsqds a Consumer or a pool begins and ceases to use because of
// what nsqlookupds list. The addresses are sorted.
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
	Pause          time.Duration // during which no messages come
}

// Outcome is what becomes of a message when its handler has returned. It is fit for a
// metric's label.
type Outcome string

// The outcomes. If the message's lease or connection ended while the handler was at work,
// the ack is not sent: Abandoned reports that as well.
const (
	OutcomeFinished  Outcome = "finished"  // the Consumer acks it
	OutcomeRequeued  Outcome = "requeued"  // the Consumer requeues it: the handler failed or panicked
	OutcomeDiscarded Outcome = "discarded" // the Consumer acks it: the handler returned Discard
	OutcomeGivenUp   Outcome = "given_up"  // the Consumer acks it unhandled: it was delivered more than max_attempts times
	OutcomeAnswered  Outcome = "answered"  // the handler has acked or requeued it
	OutcomePending   Outcome = "pending"   // the handler has left it to be acked later: see Message.DisableAutoResponse
)

// HandledEvent says that a handler has returned, or that a message was given up.
type HandledEvent struct {
	Topic, Channel string

	// Message is not yet acked by the Consumer. A hook may read it, but must not ack it,
	// nor keep it. With recycle_bodies its Body is gone if the handler has acked it.
	Message *Message
	Outcome Outcome
	Err     error         // what the handler returned; a *PanicError if it panicked
	Delay   time.Duration // of OutcomeRequeued

	Age    time.Duration // from the publish to the handler's begin, by nsqd's clock and ours; may be negative
	Waited time.Duration // from the message's receipt to the handler's begin
	Took   time.Duration // what the handler took
}

// AbandonedEvent says that nsqd delivers a message again though no handler has failed.
type AbandonedEvent struct {
	EventMeta
	Topic, Channel string
	ID             MessageID
	NSQDAddress    string
	Attempts       uint16        // 0 if nsqd refused an ack: only the ID is known then
	Held           time.Duration // since its receipt; 0 likewise
	Begun          bool          // a handler has begun it
	// Why is ErrMessageTimedOut, ErrConnectionLost, ErrMessageTooBig or, if nsqd refused an
	// ack, a *ProtocolError.
	Why error
}

// PublishedEvent says that a publish has ended.
type PublishedEvent struct {
	Topic    string
	Addr     string        // of the nsqd; empty if a pool had none to try
	Messages int           // 1, or how many an MPUB has
	Bytes    int           // of their bodies
	Start    time.Time     // when the publish was called or, in a pool, turned to this nsqd
	Took     time.Duration // until its result
	Deferred time.Duration // the delay of a DPUB
	// Err is nil if nsqd has stored the messages. It is that of the publish methods with a
	// context: an [ErrProtocol], or an error that wraps [ErrNotSent], [ErrUnknownOutcome] or
	// [ErrStopped].
	Err error
}

// PoolEvent says that a pool passes over an nsqd from now on, or no longer does.
type PoolEvent struct {
	EventMeta
	Addr    string
	Healthy bool
	Err     error // why it is passed over
}

// StoppedEvent is the last event of a Consumer, Producer or ProducerPool.
type StoppedEvent struct {
	EventMeta
	Topic, Channel string        // of a Consumer
	Addr           string        // of a Producer's nsqd
	Took           time.Duration // what the stop took
	Left           *StopError    // what a Consumer left unfinished; nil for nothing
}
