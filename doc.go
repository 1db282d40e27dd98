// Package nsq is a client for NSQ, the realtime distributed message queue: a
// [Consumer] that takes messages from any number of nsqds and hands them to
// handlers, a [Producer] that publishes to one, and a [ProducerPool] that
// publishes to any of several.
//
// It has the API of github.com/nsqio/go-nsq, so that an application moves by
// changing its import path; docs/MIGRATION.md lists what behaves differently,
// and why, and examples/migration shows the steps.
//
// # The words
//
// An nsqd is a server that keeps messages. A message is published to a topic, at
// one nsqd; each channel of the topic gets a copy of it, and each copy goes to
// one consumer of that channel. So workers that share work use one channel, and
// two services that both want all messages use one each. Topics and channels
// come into being when they are first named. An nsqlookupd knows which nsqds
// have a topic. Delivery is at least once, in no certain order.
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
//		log.Print(err) // those that failed are tried again
//	}
//	...
//	err = consumer.Run(ctx) // until ctx ends; then handlers may finish what they have
//
// With ConnectToNSQLookupds the Consumer finds the nsqds by itself, and keeps up
// with those that come and go.
//
// # What becomes of a message
//
// It must be answered. The Consumer does so when the handler returns:
//
//	return nil                               finished: nsqd forgets it
//	return err                               delivered again after default_requeue_delay times its attempts, and the Consumer backs off
//	return nsq.RetryAfter(d, err)            delivered again after d instead
//	return nsq.NoBackoff(err)                delivered again, and no backing off
//	return nsq.Discard(err)                  finished, logged: to try again is of no use
//	panic                                    as an error, with its stack logged
//
// A message that was delivered more than max_attempts times is given up before a
// handler sees it: see [FailedMessageLogger].
//
// A message that is not answered within nsqd's msg-timeout, its lease, is
// delivered again, perhaps to another consumer, so handlers must bear
// duplicates. [Message.Context] ends when that happens; [Message.Touch] and
// auto_touch put it off. [Message.DisableAutoResponse] leaves the answer to the
// handler, at any time within the lease: examples/batch collects messages so.
//
// # How many at a time
//
// nsqd sends no more unanswered messages than it was granted with RDY, NSQ's flow
// control. max_in_flight bounds them over all nsqds, and the Consumer shares it
// over its connections, most to those that have messages. Set it to the number of
// handlers at least; a few times that keeps them busy; much more makes messages
// wait here that others could work on. The default of 1 is safe and slow.
//
// Handlers never hold up a connection: its reader takes what comes, answers
// heartbeats, and queues messages, whatever handlers do. When handlers fail, the
// Consumer backs off, so that something broken is not tried with all messages at
// full speed. [Consumer.Snapshot] shows how matters stand.
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
// It connects when it has to. A nil error says that nsqd has the message. Errors
// tell apart what nsqd refused ([ErrProtocol]), what it never saw ([ErrNotSent])
// and what it may have stored ([ErrUnknownOutcome]). For throughput, publish from
// many goroutines, with [Producer.MultiPublish], or asynchronously: commands that
// come together leave together. A [ProducerPool] publishes to any of several nsqds,
// and a [Batcher] packs what many goroutines publish into fewer commands.
//
// # Stopping
//
// [Consumer.Run], [Consumer.Shutdown] and Stop take no new messages, give back at
// once what no handler has begun, and wait for handlers, within a bound.
// [Producer.Stop] waits for the answers that are due. Neither leaves a goroutine
// or a connection behind.
//
// # Logs
//
// Config.Logger takes a *slog.Logger. Without one, lines like go-nsq's go to
// standard error, and the SetLogger methods redirect them.
//
// # Testing
//
// Package nsqtest has a fake nsqd and an in-memory network for tests, also in
// virtual time with testing/synctest; examples/testing has a handler and its
// test.
//
// # Beneath
//
// [Conn] is one connection to an nsqd, and [Command] what is sent over it, for
// programs that speak NSQ's protocol themselves.
package nsq
