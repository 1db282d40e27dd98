package nsq

import (
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
	"strings"
)

// DeadLetterPolicy makes a Consumer keep messages that cannot be handled: it publishes them
// to a topic of their own, as dead letters, instead of dropping them. Set it as
// Config.DeadLetter.
//
// A message becomes a dead letter in one of these cases:
//
//   - Its handler fails, and the message has been delivered After times or more. A handler
//     that returns [RetryAfter] plans a retry and has not failed.
//   - Its handler returns the error of [DeadLetter].
//   - It was delivered more than max_attempts times. The Consumer gives it up without calling
//     the handler, after it has told a [FailedMessageLogger].
//
// [Discard] still drops a message on purpose. An error that is passed to [Message.Answer]
// counts as one that a handler returns. Messages that the program acks or requeues by other
// methods never become dead letters.
//
// # No message is lost
//
// The Consumer acks the message when the publish is confirmed, and only then. The publish may
// take half of what is left of the message's lease, and ends earlier if the connection is
// lost or a stop runs out of time. Until then it occupies the handler's goroutine, and
// auto_touch keeps the lease alive. It also holds up the caller of [Message.Answer] and, for
// a message that is given up, that of [Consumer.Fetch] or a loop over [Consumer.Messages].
// All messages that a Fetch or a batch gives up share that half of a lease.
//
// If the publish fails, the Consumer logs the error and requeues the message, with the delay
// of a plain error but at least a second. The next delivery counts as an attempt, as any
// does. Beyond max_attempts the Consumer tries to publish the dead letter at each delivery,
// without calling the handler. So no message is acked that is neither handled, nor stored as
// a dead letter, nor dropped on purpose. If the outcome of the publish is unknown, or the
// lease ends during it, there may be two dead letters, or a dead letter of a message that is
// handled later.
//
// nsqd refuses a message over its max-msg-size, 1 MiB unless configured. A dead letter is
// larger than its message by the headers: typically 400 bytes, and at most some 20 KiB if the
// error has a long text. If nsqd refuses it, the message is requeued again and again. So
// where messages come close to max-msg-size, raise that of the nsqd that gets dead letters.
//
// nsqd keeps the messages of a topic that has no channel yet. A dead letter waits there until
// a Consumer reads the topic: see [FromDeadLetters].
//
// Hooks.Buried is called for each dead letter, stored or not.
type DeadLetterPolicy struct {
	// To publishes the dead letters: a [Producer], a [ProducerPool] or another Publisher.
	// It must be set. The Consumer does not stop it: stop it after the Consumer.
	To Publisher

	// Topic is where the dead letters go. It must not be the Consumer's own topic, nor
	// ephemeral. "", the default, stands for TOPIC.CHANNEL.dead, with the Consumer's topic and
	// channel without "#ephemeral". A name over 64 bytes, which NSQ does not allow, is cut
	// and ends with a hash of the whole name and ".dead". Two Consumers with the same
	// TOPIC.CHANNEL, such as a.b/c and a/b.c, would share it: set Topic then.
	Topic string

	// After is how many deliveries a message has had when a failure first makes it a dead
	// letter. With 3, the third failure does, unless something else has cost an attempt. 0,
	// the default, stands for MaxAttempts. After must not exceed MaxAttempts, unless that is
	// 0. If both are 0, only the error of [DeadLetter] makes dead letters.
	After uint16

	// Raw publishes the message's Body alone. By default the dead letter is an envelope (see
	// package envelope) with this body and with the headers that HeaderOriginTopic and the
	// constants beside it name. The body is the one that the message has when its handler has
	// returned. [OpenEnvelopes] does not change it: it passes on a copy of the message.
	Raw bool
}

// The headers of a dead letter. Handlers of [FromDeadLetters] find them in their context.
const (
	HeaderOriginTopic     = "origin-topic"
	HeaderOriginChannel   = "origin-channel"
	HeaderOriginNSQD      = "origin-nsqd"      // address of the nsqd that delivered the message
	HeaderOriginID        = "origin-id"        // the message's ID at that nsqd
	HeaderOriginAttempts  = "origin-attempts"  // how often it was delivered
	HeaderOriginPublished = "origin-published" // when it was published: RFC 3339, UTC
	HeaderFailedAt        = "failed-at"        // when it became a dead letter: RFC 3339, UTC
	HeaderFailedError     = "failed-error"     // the handler's error, or that it was given up; at most 4 KiB
	HeaderFailedHost      = "failed-host"      // the Config.Hostname of the Consumer
)

const (
	// deadSuffix ends the default name of a topic for dead letters.
	deadSuffix = ".dead"
	// longestName is the length of the longest name that nsqd accepts.
	longestName = 64

	ephemeralSuffix = "#ephemeral"
)

// validate returns an error if the policy cannot work, whatever the Consumer's topic and
// channel are. A nil policy is valid.
func (p *DeadLetterPolicy) validate(maxAttempts uint16) error {
	switch {
	case p == nil:
		return nil
	case isNil(reflect.ValueOf(p.To)):
		return errors.New("DeadLetter.To is nil")
	case p.Topic != "" && !IsValidTopicName(p.Topic):
		return fmt.Errorf("DeadLetter.Topic: invalid topic name %q", p.Topic)
	case strings.HasSuffix(p.Topic, ephemeralSuffix):
		return fmt.Errorf("DeadLetter.Topic %s: nsqd does not keep the messages of an ephemeral topic", p.Topic)
	case maxAttempts > 0 && p.After > maxAttempts:
		return fmt.Errorf("DeadLetter.After %d must not exceed MaxAttempts %d", p.After, maxAttempts)
	}
	return nil
}

// resolve returns a copy of a valid policy with its defaults filled in for a Consumer, nil for
// nil. It fails if dead letters would go to the Consumer's own topic.
func (p *DeadLetterPolicy) resolve(topic, channel string, maxAttempts uint16) (*DeadLetterPolicy, error) {
	if p == nil {
		return nil, nil
	}
	resolved := *p
	if resolved.Topic == "" {
		resolved.Topic = deadTopic(topic, channel)
	}
	if resolved.Topic == topic {
		return nil, fmt.Errorf("DeadLetter.Topic %s is the consumer's own topic", topic)
	}
	if resolved.After == 0 {
		resolved.After = maxAttempts
	}
	return &resolved, nil
}

// deadTopic returns the default topic for the dead letters of a channel. Names that are too
// long are cut and get a hash, so that those of two channels with a long topic still differ.
func deadTopic(topic, channel string) string {
	name := strings.TrimSuffix(topic, ephemeralSuffix) + "." + strings.TrimSuffix(channel, ephemeralSuffix)
	if len(name)+len(deadSuffix) <= longestName {
		return name + deadSuffix
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	tail := fmt.Sprintf("-%08x%s", hash.Sum32(), deadSuffix)
	return name[:longestName-len(tail)] + tail
}

// takes reports whether a message becomes a dead letter if its handler returns an error that
// asks for asked at this attempt. p is resolved, or nil.
func (p *DeadLetterPolicy) takes(asked handlerResult, attempts uint16) bool {
	switch {
	case p == nil || asked.discard:
		return false
	case asked.deadLetter:
		return true
	}
	return !asked.planned() && p.After > 0 && attempts >= p.After
}
