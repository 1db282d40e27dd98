// Package nsq is a client for NSQ, the realtime distributed message queue: a
// [Consumer] that takes messages from any number of nsqds and hands them to
// handlers, and a [Producer] that publishes to one.
//
// It has the API of github.com/nsqio/go-nsq, so that an application moves by
// changing its import path; docs/MIGRATION.md lists what behaves differently,
// and why.
//
// # Consuming
//
// A topic's messages go to each of its channels; a channel's messages go to one
// of its consumers each. A Consumer belongs to one channel:
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
// Delivery is at least once. A handler that returns nil finishes the message; an
// error, or a panic, has nsqd deliver it again later, and [RetryAfter],
// [NoBackoff] and [Discard] say more exactly how. A message that is not answered
// within nsqd's msg-timeout, its lease, is delivered again, too, perhaps to
// another consumer, so handlers must bear duplicates. [Message.Context] ends when
// that happens; [Message.Touch] and auto_touch put it off.
//
// nsqd sends no more messages than it was granted with RDY, NSQ's flow control.
// The Consumer shares max_in_flight over its connections, most to those that have
// messages, and backs off when handlers fail: [Consumer.Snapshot] shows how
// matters stand. Handlers never hold up
// a connection: its reader takes what comes, answers heartbeats, and queues
// messages, whatever handlers do.
//
// # Publishing
//
//	producer, err := nsq.NewProducer("10.0.0.1:4150", nsq.NewConfig())
//	if err != nil {
//		return err
//	}
//	defer producer.Stop()
//	err = producer.Publish("orders", body)
//
// A nil error says that nsqd has the message. Errors tell apart what nsqd refused
// ([ErrProtocol]), what it never saw ([ErrNotSent]) and what it may have stored
// ([ErrUnknownOutcome]).
//
// # Testing
//
// Package nsqtest has a fake nsqd and an in-memory network for tests, also in
// virtual time with testing/synctest.
package nsq
