// Package nsq is a client for NSQ, the realtime distributed message queue. A
// [Consumer] receives messages from any number of nsqds and hands them to handlers.
// A [Producer] publishes to one nsqd, a [ProducerPool] to any of several.
//
// The package has the API of github.com/nsqio/go-nsq: an application migrates by
// changing its import path. docs/MIGRATION.md lists what behaves differently, and
// why; examples/migration shows the steps. docs/recipes has tested code for common tasks,
// such as batches into a database, and says what replaces the wrappers that programs for
// go-nsq have.
//
// # NSQ in short
//
// An nsqd is a server that stores messages. Programs publish a message to a topic, at
// one nsqd. Each channel of the topic gets a copy of the message, and each copy goes
// to one consumer of its channel: workers that share work use one channel, and two
// services that both need every message use a channel each. nsqd creates a topic or
// channel on first use. nsqlookupd is a directory of the nsqds that have a topic. A
// message is delivered at least once, and the order of messages is not guaranteed.
//
// # Consuming
//
// A Consumer belongs to one channel:
//
//	cfg := nsq.NewConfig()
//	cfg.MaxInFlight = 100
//	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
//	if err != nil {
//		return err
//	}
//	consumer.AddConcurrentHandlers(nsq.HandlerFunc(func(m *nsq.Message) error {
//		return bill(m.Body)
//	}), 10)
//	if err := consumer.ConnectToNSQDs([]string{"10.0.0.1:4150", "10.0.0.2:4150"}); err != nil {
//		log.Print(err) // the Consumer keeps trying the nsqds that failed
//	}
//	...
//	err = consumer.Run(ctx) // until ctx ends; then running handlers may finish
//
// With ConnectToNSQLookupds instead, the Consumer finds the nsqds of its topic
// itself, and follows them as they come and go. It does not redial an nsqd that
// nsqlookupds no longer list, so a topic that was deleted stays deleted.
//
// # What happens to a message
//
// The Consumer acks or requeues a message when its handler returns:
//
//	handler                        message                 backoff          log level
//	return nil                     ack: nsqd forgets it    one level down   -
//	return err                     requeue                 one level up     error
//	return nsq.NoBackoff(err)      requeue                 same level       error
//	return nsq.RetryAfter(d, err)  requeue, delayed by d   no effect        info
//	return nsq.DeadLetter(err)     dead letter, then ack   no effect        error
//	return nsq.Discard(err)        ack: no retry helps     no effect        error
//	panic(v)                       requeue                 one level up     error, with the stack
//
// Unless the table names a delay, a requeue is delayed by default_requeue_delay × attempts.
// NoBackoff does not begin a backoff. During one, it makes the Consumer pause again at the
// same level. RetryAfter is for planned retries, such as of an order that cannot be billed
// yet: it neither begins nor prolongs a backoff. If a dependency is down, return a plain
// error, so that the Consumer backs off.
//
// A message that was delivered more than max_attempts times no longer reaches a
// handler. The Consumer gives up on it: see [FailedMessageLogger].
//
// With Config.DeadLetter the Consumer keeps a message that cannot be handled: it publishes
// the message to another topic, as a dead letter, and acks it once the dead letter is stored.
// It does so when the last attempt fails, when it gives the message up, and at once when a
// handler returns DeadLetter: see [DeadLetterPolicy]. [FromDeadLetters] handles dead letters
// later. Without Config.DeadLetter, DeadLetter(err) counts as err.
//
// [Typed] turns a function of a decoded value into a handler, and [PublishTyped] publishes a
// value. A [Codec] such as [JSON] encodes and decodes the values.
//
// nsqd waits for the ack or requeue until its msg-timeout is over. That time is the
// message's lease. Then nsqd delivers the message again, perhaps to another consumer,
// so handlers must cope with duplicates. [Message.Context] ends with the lease;
// [Message.Touch] and auto_touch extend it. After [Message.DisableAutoResponse] the
// handler itself acks or requeues, at any time within the lease.
//
// # Other ways to take messages
//
// A batch handler gets several messages at a time. A program can also take messages itself,
// from a Consumer without handlers. Leases, RDY, backoff and shutdown are the same for all:
//
//	consumer.AddHandler(h)                             // one message at a time
//	consumer.AddBatchHandler(h, limits, 2)             // many at a time: see examples/batch
//	for m := range consumer.Messages(ctx) { … }        // in a loop of the program's own
//	messages, err := consumer.Fetch(ctx, limits)       // the next n and no more
//
// [Message.Answer] acks or requeues a message as if a handler had returned the error. While
// no handler, loop or Fetch takes messages, nsqd sends none. [Consumer.Connect] and
// [Consumer.Discover] connect a Consumer without handlers.
//
// # Middleware and envelopes
//
// [Consumer.Use] adds middleware to all handlers. [ContextLogger] gives a handler a logger
// that names the message. [OpenEnvelopes] opens the envelopes of [SealPublisher], which
// carry headers, such as a trace context, in a message's body: see package envelope. To
// write your own, write a function from [Handler] to Handler. It passes on the message that
// it gets, or a copy from [Message.WithContext]. Add middleware in this order: first what
// opens the body, then tracing, logging, and last what limits or retries. The module
// middleware has timeouts, limits, retries, a circuit breaker and deduplication.
//
// # How many messages at a time
//
// RDY is NSQ's flow control: nsqd keeps no more messages in flight on a connection
// than the RDY count that the client last sent. max_in_flight bounds the messages in
// flight over all nsqds. The Consumer shares it among its connections and gives most of
// it to those that have messages. Set max_in_flight to at least the number of handlers.
// A few times that keeps the handlers busy; far more makes messages wait in this
// process while other consumers could handle them. The default of 1 is safe and slow.
// max_bytes_in_flight, 64 MiB by default, bounds the memory that the bodies of these
// messages take: if bodies are large, fewer messages are in flight.
//
// Handlers never hold up a connection. Its reader queues what arrives and replies to
// heartbeats, however long handlers take. When handlers fail, the Consumer backs off:
// it pauses, and then tries one message at a time, so that a broken dependency is not
// hit at full speed. [Consumer.Snapshot] shows the state of all this.
//
// # Publishing
//
//	producer, err := nsq.NewProducer("10.0.0.1:4150", nsq.NewConfig())
//	if err != nil {
//		return err
//	}
//	defer producer.Stop()
//	err = producer.PublishContext(ctx, "orders", body)
//
// A Producer connects when it has something to publish. A nil error means that nsqd
// has the message. Otherwise the error tells a message that nsqd refused
// ([ErrProtocol]) from one that it never got ([ErrNotSent]) and one that it may have
// stored ([ErrUnknownOutcome]). [Producer.Publish], without a context, returns go-nsq's
// errors instead, which do not tell the last two apart.
//
// For throughput, publish from many goroutines, with [Producer.MultiPublish], or
// asynchronously: commands that are pending together are sent together. A
// [ProducerPool] publishes to any of several nsqds. A [Batcher] packs what many
// goroutines publish into fewer commands. Package delay publishes messages that are
// delivered at a given time, however far ahead.
//
// # Many topics
//
// A [Group] runs the Consumers of many topics and channels as one: they connect to the same
// nsqds and stop together. It can consume all topics whose names match a regular expression,
// and share max_in_flight among topics by weight, or by strict priority.
//
// # Stopping
//
// [Consumer.Run], [Consumer.Shutdown] and [Consumer.Stop] stop a Consumer: it takes no
// new messages, requeues at once those that no handler has begun, and waits for
// running handlers, for a bounded time. [Producer.Stop] waits for outstanding replies.
// Neither leaves a goroutine or a connection behind.
//
// # Health
//
// [Consumer.Health] says whether a Consumer works, and if not, why. Package health serves
// that to liveness and readiness probes; examples/kubernetes has a deployment. [CheckNSQD]
// checks when a program starts that an nsqd can be reached and accepts the Config.
//
// # Logs
//
// Config.Logger takes a *slog.Logger. Without one, lines in go-nsq's format go to
// standard error, and the SetLogger methods redirect them. What repeats, such as failed
// dials of an nsqd that is down, is logged at once and then at growing intervals, up to
// ten minutes. The attribute more counts the repeats that were not logged, and since is
// the time of the last one that was.
//
// # Metrics and traces
//
// [Consumer.Snapshot], [Producer.Snapshot] and [ProducerPool.Snapshot] show the state of a
// client and count what it has done. No count ever falls. The [Hooks] in a Config are
// functions that are called at each event: connections, RDY, backoff, each message and each
// publish. plugin/prom exports both to Prometheus. plugin/otel does so for OpenTelemetry,
// and traces messages.
//
// # Testing
//
// Package nsqtest has a fake nsqd and an in-memory network, which also work in the
// virtual time of testing/synctest. examples/testing has a handler and its test. The
// example of this package runs against such a fake.
//
// # Below Consumer and Producer
//
// [Conn] is one connection to an nsqd, and a [Command] is what is sent over it, for
// programs that speak NSQ's protocol themselves.
package nsq
