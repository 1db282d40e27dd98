// Package nsq is a client for NSQ, the realtime distributed message queue. It has the API of
// github.com/nsqio/go-nsq: an application migrates by changing its import path.
// docs/MIGRATION.md lists what behaves differently, and why. docs/recipes has tested code for
// common tasks.
//
//	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
//	...
//	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error { return bill(m.Body) }))
//	err = consumer.ConnectToNSQLookupds([]string{"10.0.0.1:4161", "10.0.0.2:4161"})
//	...
//	err = consumer.Run(ctx) // until ctx ends; then running handlers may finish
//
//	producer, err := nsq.NewProducer("10.0.0.1:4150", nsq.NewConfig())
//	...
//	defer producer.Stop()
//	err = producer.PublishContext(ctx, "orders", body)
//
// # NSQ in short
//
// An nsqd is a server that stores messages. Programs publish a message to a topic, at one nsqd.
// Each channel of the topic gets a copy, and each copy goes to one consumer of its channel:
// workers that share work use one channel, and two services that both need every message use a
// channel each. nsqd creates a topic or channel on first use. nsqlookupd is a directory of the
// nsqds that have a topic. Messages are delivered at least once, in no guaranteed order.
//
// # Consume
//
// A [Consumer] receives the messages of one channel from any number of nsqds. It calls a
// [Handler], such as a [HandlerFunc] or a [ContextHandlerFunc], on as many goroutines as
// [Consumer.AddConcurrentHandlers] says. [Typed] makes a handler of a function of a decoded
// value, with a [Codec] such as [JSON]. [Consumer.Use] adds [Middleware]: [ContextLogger] names
// the message in what a handler logs, and [OpenEnvelopes] reads the headers that publishers
// put in front of bodies.
//
// # Other ways to take messages
//
// A [BatchHandler] gets many messages at a time. A program can also take messages itself, from a
// Consumer without handlers. While nothing takes messages, nsqd sends none. The sections below
// apply to all of these ways.
//
//	consumer.AddHandler(h)                             // one message at a time
//	consumer.AddBatchHandler(h, limits, 2)             // many at a time: see examples/batch
//	for m := range consumer.Messages(ctx) { … }        // in a loop of the program's own
//	messages, err := consumer.Fetch(ctx, limits)       // the next n and no more
//
// # Ack and requeue
//
// The Consumer acks a message when its handler returns nil. After an error or a panic it
// requeues the message, and nsqd delivers it again. [RetryAfter], [NoBackoff], [DeadLetter] and
// [Discard] make errors that ask for something else: [Handler] has a table. A message that was
// delivered more than max_attempts times no longer reaches a handler: see
// [FailedMessageLogger]. [Message.Answer] is for messages that have no handler, and
// [Message.DisableAutoResponse] for handlers that ack later.
//
// # Leases
//
// nsqd waits for the ack or requeue until its msg-timeout is over. That time is the message's
// lease. Then nsqd delivers the message again, perhaps to another consumer, so handlers must
// cope with duplicates. [Message.Context] ends with the lease. [Message.Touch] and the option
// auto_touch extend it.
//
// # Find nsqds
//
// [Consumer.ConnectToNSQLookupds] connects to the nsqds of the topic, and follows them as they
// come and go; a [DiscoveryFilter] chooses among them. A topic that was deleted stays deleted.
// [Consumer.ConnectToNSQDs] connects to addresses. [Consumer.Discover] and [Consumer.Connect] do
// the same for Consumers without handlers. The Consumer redials lost connections. A program that
// starts can check with [CheckNSQD] that an nsqd can be reached and accepts the Config.
//
// # How many messages at a time
//
// RDY is NSQ's flow control: nsqd keeps no more messages in flight on a connection than the RDY
// count that the client last sent. max_in_flight bounds the messages in flight over all nsqds,
// and max_bytes_in_flight the memory that their bodies take. The Consumer shares max_in_flight
// among its connections as the [RDYStrategy] says. Set it to at least the number of handlers:
// the default of 1 is safe and slow. Handlers never hold up a connection: it replies to
// heartbeats, however long handlers take.
//
// # Failures and backoff
//
// When handlers fail, the Consumer backs off: it pauses, and then tries one message at a time,
// so that a broken dependency is not hit at full speed. [BackoffPolicy] and [BackoffStrategy]
// say how. A failure that says nothing about other messages need not count: see [NoBackoff].
//
// # Dead letters
//
// With a [DeadLetterPolicy] the Consumer publishes a message that cannot be handled to another
// topic, and acks it once it is stored there. [FromDeadLetters] handles these messages later.
//
// # Many topics
//
// A [Group] runs the Consumers of many topics and channels as one. It can consume all topics
// whose names match a regular expression, and share max_in_flight among topics by weight or by
// strict priority.
//
// # Stop
//
// [Consumer.Run], [Consumer.Shutdown] and [Consumer.Stop] stop a Consumer: it takes no new
// messages, requeues at once those that no handler has begun, and waits for running handlers,
// for a bounded time. A [StopError] names what was left. [Producer.Stop] waits for outstanding
// replies. Neither leaves a goroutine or a connection behind.
//
// # Publish
//
// A [Producer] publishes to one nsqd. It connects when it has something to publish. A nil error
// of [Producer.PublishContext] means that nsqd has the message. Otherwise the error tells a
// message that nsqd refused ([ErrProtocol]) from one that it never got ([ErrNotSent]) and one
// that it may have stored ([ErrUnknownOutcome]). [Producer.Publish] returns go-nsq's errors,
// which do not tell the last two apart. [PublishTyped] encodes a value, and [SealPublisher]
// puts headers in front of bodies.
//
// For throughput, publish from many goroutines, with [Producer.MultiPublish] or
// [Producer.PublishAsync]: commands that are pending together are sent together.
//
// # Pools and batchers
//
// A [ProducerPool] publishes to any of several nsqds, with [NewDiscoveredProducerPool] to those
// that nsqlookupds list. A [Batcher] packs what many goroutines publish into fewer commands.
// Package delay publishes messages that are delivered at a given time, however far ahead.
//
// # Configure
//
// [NewConfig] returns a [Config] with defaults. Assign its fields, or set options by name with
// [Config.Set], [Config.SetMap], [Config.SetEnv] or a [ConfigFlag]. The examples of Config show
// the options that are often misunderstood.
//
// # Observe
//
// [Consumer.Snapshot], [Producer.Snapshot] and [ProducerPool.Snapshot] show the state of a
// client and count what it has done. The [Hooks] of a Config are called for each event.
// [Consumer.Health] says whether a Consumer works, and if not, why. Config.Logger takes a
// *slog.Logger; without one, lines in go-nsq's format go to standard error.
//
// # Test
//
// [NewMessage] makes a message for a test of a handler. Package nsqtest has a fake nsqd that
// also works in the virtual time of testing/synctest. examples/testing has a handler and its
// test.
//
// # The wire
//
// [Conn] is one connection to an nsqd, and a [Command] is what is sent over it, for programs
// that speak NSQ's protocol themselves. A [ConnDelegate] hears what happens on a Conn.
// [ReadUnpackedResponse] reads from any other connection.
//
// # Other packages
//
//   - [github.com/rdyhq/nsq/nsqtest]: a fake nsqd, nsqlookupd and network, for tests
//   - [github.com/rdyhq/nsq/broker]: a real cluster in the process, for demos and tests
//   - [github.com/rdyhq/nsq/health]: liveness and readiness probes
//   - [github.com/rdyhq/nsq/admin]: watches and operates clusters
//   - [github.com/rdyhq/nsq/envelope]: headers in front of a message's body
//   - [github.com/rdyhq/nsq/delay]: messages that are delivered at a given time
//   - [github.com/rdyhq/nsq/middleware]: timeouts, limits, retries, circuit breakers, deduplication
//   - [github.com/rdyhq/nsq/plugin/prom] and [github.com/rdyhq/nsq/plugin/otel]: metrics and traces
//   - [github.com/rdyhq/nsq/plugin/watermill] and [github.com/rdyhq/nsq/plugin/gocloud]: adapters
package nsq
