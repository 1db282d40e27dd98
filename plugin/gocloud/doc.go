// Package nsqpubsub is a driver for NSQ of the Go CDK's pubsub package (gocloud.dev/pubsub).
// [OpenTopic] returns a pubsub.Topic that publishes through a Producer or ProducerPool of
// package nsq. [OpenSubscription] returns a pubsub.Subscription that takes messages from a
// Consumer.
//
// # URLs
//
// For pubsub.OpenTopic and pubsub.OpenSubscription, this package registers the scheme "nsq":
//
//	nsq://orders?nsqd=10.0.0.1:4150
//	nsq://orders?channel=billing&lookupd=10.0.0.1:4161
//
// See [URLOpener] for the format and for other options. See https://gocloud.dev/concepts/urls
// for background.
//
// # Topics and subscriptions
//
// A topic is a topic of NSQ, and a subscription is one of its channels. Subscriptions of the
// same channel share its messages; each channel gets all of them. nsqd creates both on first
// use. It keeps the messages of a topic until the topic has its first channel; each later
// channel gets what is published after it was created. A subscription has created its
// channel, at each nsqd that it reached, when OpenSubscription returns.
//
// # Messages
//
// Metadata travels in an envelope, headers in front of the body that show in any tail: see
// package envelope. A message without metadata is published as a plain body, and plain bodies
// of other publishers come through without metadata. A body that is empty or is an envelope
// itself is put into an envelope in any case. Consumers that do not open envelopes get the
// headers as part of the body.
//
// # Delivery
//
// A message is delivered at least once, in no guaranteed order. What becomes of it:
//
//	Ack                       nsqd forgets it
//	Nack                      nsqd delivers it again at once
//	neither within its lease  nsqd delivers it again
//
// A lease is MsgTimeout of the Config, nsqd's default of 60 seconds without it. Package pubsub
// receives messages ahead of the program, up to two seconds of what the program handles, and
// their leases run meanwhile. A Nack does not back off. Messages are not given up after
// max_attempts, so a program must itself give up on those that can never be handled. To have a
// message delivered later, requeue NSQ's message before the Ack:
//
//	var m *nsq.Message
//	if message.As(&m) {
//		m.RequeueWithoutBackoff(time.Minute)
//	}
//	message.Ack() // has no effect by now, but package pubsub wants it
//
// # As
//
// This package exposes these types for As:
//
//   - Topic: nsq.Publisher
//   - Subscription: *nsq.Consumer
//   - Message: *nsq.Message. Touch it to extend its lease.
//   - Message.BeforeSend, Message.AfterSend: none
//   - Error: *nsq.ProtocolError, nsq.ErrIdentify, *nsq.StopError
//
// errors.Is finds nsq.ErrNotSent, nsq.ErrUnknownOutcome and the like in errors of Send.
package nsqpubsub
