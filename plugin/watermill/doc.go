// Package nsqwatermill runs Watermill (github.com/ThreeDotsLabs/watermill) on NSQ: a
// [Publisher] that publishes through a Producer or ProducerPool of package nsq, and a
// [Subscriber] whose subscriptions are Consumers.
//
//	producer, err := nsq.NewProducer("10.0.0.1:4150", nsq.NewConfig())
//	...
//	defer producer.Stop()
//	publisher := nsqwatermill.NewPublisher(producer, nsqwatermill.PublisherConfig{})
//	subscriber, err := nsqwatermill.NewSubscriber(nsqwatermill.SubscriberConfig{
//		Lookupds: []string{"10.0.0.1:4161"},
//		Channel:  "billing",
//	})
//
// # Topics and channels
//
// A topic of Watermill is a topic of NSQ, so its name has at most 64 letters, digits, '.',
// '_' and '-'. Another name is an error. A consumer group is a channel: each channel gets
// every message once, and Subscribers with the same channel share the messages.
//
// nsqd keeps the messages of a topic until the topic has its first channel. Each later
// channel gets what is published after the channel was created. So a group that must not
// miss anything needs its channel before the first publish: see
// [Subscriber.SubscribeInitialize].
//
// # Messages
//
// UUID and metadata travel in an envelope, headers in front of the body that show in any
// tail: see [Envelope] and package envelope. Plain bodies of other publishers come through
// with empty metadata. To exchange plain bodies with consumers that open no envelopes, write
// a [Marshaler].
//
// # Delivery
//
// A message is delivered at least once, in no guaranteed order. What becomes of it:
//
//	Ack                      nsqd forgets it
//	Nack                     nsqd delivers it again after NackDelay × attempts
//	neither within its lease nsqd delivers it again; the message's context ends
//
// A message's lease is nsqd's msg-timeout, 60 seconds by default. To work longer, set
// MsgTimeout or AutoTouch of the Config. A Nack does not back off: it says nothing about
// other messages. Nothing is given up after max_attempts, because Watermill decides that
// itself, for example with its middleware PoisonQueue. [FromContext] returns NSQ's message,
// with its attempts.
package nsqwatermill
