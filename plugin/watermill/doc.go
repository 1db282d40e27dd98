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
// '_' and '-'. Another name is an error. A consumer group is a channel: each channel gets a
// copy of every message, and Subscribers with the same channel share the messages.
//
// nsqd keeps the messages of a topic until the topic has its first channel. Each later
// channel gets only messages that are published after the channel was created. So a group
// that must not miss any needs its channel before the first publish: see
// [Subscriber.SubscribeInitialize].
//
// # Messages
//
// UUID and metadata travel in an envelope, as readable headers in front of the body: see
// [Envelope] and package envelope. Plain bodies of other publishers come through with empty
// metadata. To exchange plain bodies with consumers that open no envelopes, write a
// [Marshaler].
//
// # Delivery
//
// A message is delivered at least once, in no guaranteed order. After delivery:
//
//	Ack                      nsqd forgets it
//	Nack                     nsqd delivers it again after NackDelay × attempts
//	neither within its lease nsqd delivers it again; the message's context ends
//
// A message's lease is nsqd's msg-timeout, 60 seconds by default. To work longer, set
// MsgTimeout or AutoTouch of the Config. A Nack does not make the Consumer back off, because
// it says nothing about other messages. No message is given up after max_attempts: that is
// left to Watermill, for example to its middleware PoisonQueue. [FromContext] returns the NSQ
// message, with its attempts.
package nsqwatermill
