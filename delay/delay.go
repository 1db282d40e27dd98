// Package delay publishes messages that are delivered at a given time, however far ahead.
//
//	err := delay.Publish(ctx, producer, "reminders", time.Now().Add(12*time.Hour), body)
//
// [Publish] publishes to another topic, reminders.delayed, in which messages wait. A relay,
// which must run somewhere, moves each message to the topic reminders when its time has come.
// [NewRelay] makes one:
//
//	relay, err := delay.NewRelay("reminders", producer, config)
//	...
//	err = relay.ConnectToNSQLookupds(lookupds)
//	...
//	err = relay.Run(ctx)
//
// Consumers of reminders notice nothing: they get the message as if it had just been
// published. The time is part of the message, so it does not matter if nsqd, the relay or the
// destination is restarted or is down for a while. Only a crash of nsqd costs messages: see
// Limits.
//
// # Short delays
//
// [nsq.Producer.DeferredPublishContext] needs no relay, but nsqd allows it no delay over its
// max-req-timeout, an hour by default. nsqd also forgets the delay when it restarts, or when
// its memory queue is full: it then delivers the message at once. If a message must not come
// early, use Publish for short delays as well.
//
// # How messages wait
//
// The relay is a Consumer of the channel "relay". It requeues a message until its time has
// come, for at most ten minutes at a time. Between these requeues the message waits in nsqd as
// deferred: it is not in flight, and counts neither against max_in_flight nor in the depth of
// the channel. No other channel sees the requeues.
//
// By the relay's clock, a message normally reaches its destination within a second after its
// time, and never before it. It is late if no relay runs, if the destination is down, if
// max_in_flight is less than the number of nsqds, or, by up to 5 s, if the channel is new. If
// the relay's clock is set forward, messages may be up to ten minutes late. If nsqd's clock is
// set back, they may be late by as much.
//
// # Limits
//
//   - nsqd keeps messages that wait in memory, bodies included. It writes them to disk when it
//     is shut down. If it crashes or is killed they are lost, as are those that are in flight
//     or in its memory queue.
//   - A message may be delivered twice, as any message of NSQ may: if the relay learns too
//     late, or never, that the destination has it.
//   - A message cannot be withdrawn, and messages with the same time may change their order.
//   - nsqd's max-msg-size and the Producer's max_msg_size apply to the body together with
//     about 150 bytes of headers.
//
// # Envelopes
//
// While a message waits, its body is in an envelope: see package envelope. The relay takes it
// out again, so a body that is an envelope itself stays as it is. If Publish gets an
// [nsq.Publisher] that adds headers, such as [nsq.SealPublisher], the destination gets these
// headers as if the message had been published to it directly. So give the relay a Publisher
// that adds none. Otherwise messages arrive in two envelopes.
package delay

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
)

const (
	suffix     = ".delayed" // of the topics in which messages wait
	maxNameLen = 64         // of a topic

	untilHeader = "delay-until" // when the message is due, as RFC 3339 has it
	topicHeader = "delay-topic" // where it goes then
)

// Topic returns the name of the topic in which the messages for a topic wait: the topic's name
// and ".delayed". nsqd allows 64 characters in all. If the topic's name has over 56, its end is
// replaced with a hash of the whole name.
//
// Topic fails if the name is invalid, or if the topic is ephemeral: nsqd does not keep its
// messages.
func Topic(topic string) (string, error) {
	switch {
	case !nsq.IsValidTopicName(topic):
		return "", fmt.Errorf("delay: invalid topic name %q", topic)
	case strings.HasSuffix(topic, "#ephemeral"):
		return "", fmt.Errorf("delay: topic %s is ephemeral: nsqd does not keep its messages for later", topic)
	}
	if len(topic)+len(suffix) > maxNameLen {
		hash := fnv.New32a()
		_, _ = hash.Write([]byte(topic))
		sum := fmt.Sprintf("-%08x", hash.Sum32())
		topic = topic[:maxNameLen-len(suffix)-len(sum)] + sum
	}
	return topic + suffix, nil
}

// Publish publishes a message that a relay moves to the topic at the given time: see
// [NewRelay]. It waits for nsqd's reply until ctx ends. A nil error means that nsqd has the
// message. If the time is not in the future, Publish publishes to the topic itself, without
// a relay.
//
// p may be any [nsq.Publisher], and may publish to any nsqd whose topic [Topic] a relay
// consumes. Publish may be called from any goroutine if p's methods may. The body may be
// changed as soon as the call returns.
//
// Publish fails, before anything is sent, if Topic does, if the body is empty, which nsqd
// would refuse when the message is due, or if the time is after the year 9999. Its other
// errors are those of p: see [nsq.Producer.PublishContext].
func Publish(ctx context.Context, p nsq.Publisher, topic string, at time.Time, body []byte) error {
	waiting, err := Topic(topic)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return fmt.Errorf("delay: publish to topic %s: empty body", topic)
	}
	if !at.After(time.Now()) {
		return p.PublishContext(ctx, topic, body)
	}
	until, err := at.UTC().MarshalText()
	if err != nil {
		return fmt.Errorf("delay: publish to topic %s: %w", topic, err)
	}
	h := envelope.Header{untilHeader: string(until), topicHeader: topic}
	return p.PublishContext(ctx, waiting, envelope.Seal(h, body))
}
