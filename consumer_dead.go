package nsq

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/rdyhq/nsq/envelope"
)

const (
	// leastDeadDelay is the shortest delay of a message that could not be stored as a dead
	// letter. With a default_requeue_delay of 0 nsqd would otherwise deliver it again at
	// once, thousands of times a second, for as long as dead letters cannot be stored. It
	// would soon have had 65535 attempts, after which nsqd counts from 0 again.
	leastDeadDelay = time.Second

	// longestErrorText is the length of the longest text of an error in a dead letter.
	longestErrorText = 4 << 10
)

var errNotStoredInTime = errors.New("half of what was left of the message's lease is over")

// bury publishes a message as a dead letter, and returns what becomes of the message: it is
// acked if the dead letter is stored, and otherwise requeued.
//
// The caller claims the message only after that. If it claimed the message before:
//
//  1. bury waits for the reply to the publish.
//  2. The message's lease ends, since auto_touch does not touch a message that looks acked.
//     For the same reason the sweep does not mark it as timed out.
//  3. nsqd delivers the message again, over the same connection.
//  4. bury returns, and the FIN acks the new delivery, whose handler is still at work.
func (c *Consumer) bury(m *Message, end *ending) outcome {
	o := end.outcome
	if m.is(responded | timedOut) { // its handler has acked it, or nsqd delivers it again
		return o
	}
	why := end.err
	if end.as == OutcomeGivenUp {
		why = fmt.Errorf("delivered %d times, max_attempts is %d", m.Attempts, c.cfg.MaxAttempts)
	}
	err := c.publishDead(m.own(), why, c.buryBy(m, end))
	c.tellBuried(m, why, err)
	if err != nil {
		c.log.ErrorContext(repeating, "message not stored as a dead letter, requeueing it", "err", err,
			"id", string(m.ID[:]), "attempts", m.Attempts, "nsqd", m.NSQDAddress, "dead_topic", c.cfg.DeadLetter.Topic)
		o.delay = c.deadDelay(m)
		return o
	}
	m.conn.buried.Add(1)
	o.fate = buried
	return o
}

// buryBy returns when the publish of a dead letter must be over, on the Consumer's clock: when
// half of what is left of the lease is over. The rest is for the FIN or REQ. Messages that a
// batch or a Fetch gives up one after the other share that half, or little would be left of the
// leases of the others that the program gets after that.
func (c *Consumer) buryBy(m *Message, end *ending) time.Duration {
	from := c.elapsed()
	if end.together {
		from = end.begun
	}
	return from + (m.leaseEnds()-from)/2
}

// deadDelay returns the delay of a message that waits to be stored as a dead letter, or to be
// replayed.
func (c *Consumer) deadDelay(m *Message) time.Duration {
	return max(c.cfg.requeueDelay(m.Attempts), leastDeadDelay)
}

// publishDead publishes a message as a dead letter, and returns nil if it is stored. It gives up
// at the time by, and when the context of the message ends. m is the message as it was
// delivered.
func (c *Consumer) publishDead(m *Message, why error, by time.Duration) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("the publisher of dead letters panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the publisher panicked: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeoutCause(c.contexts.of(m), by-c.elapsed(), errNotStoredInTime)
	defer cancel()
	to := c.cfg.DeadLetter
	body := m.Body
	if !to.Raw {
		body = envelope.Seal(c.deadHeader(m, why), body)
	}
	return to.To.PublishContext(ctx, to.Topic, body)
}

// deadHeader returns the headers of a dead letter.
func (c *Consumer) deadHeader(m *Message, why error) envelope.Header {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	return envelope.Header{
		HeaderOriginTopic:     c.topic,
		HeaderOriginChannel:   c.channel,
		HeaderOriginNSQD:      m.conn.addr,
		HeaderOriginID:        string(m.ID[:]),
		HeaderOriginAttempts:  strconv.Itoa(int(m.Attempts)),
		HeaderOriginPublished: stamp(time.Unix(0, m.Timestamp)),
		HeaderFailedAt:        stamp(time.Now()),
		HeaderFailedError:     cutText(fmt.Sprint(why), longestErrorText), // Sprint survives a panic of why
		HeaderFailedHost:      c.cfg.Hostname,
	}
}

// cutText cuts a text to at most most bytes. It does not cut a character in two.
func cutText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// FromDeadLetters returns a [Handler] for a Consumer of dead letters: see [DeadLetterPolicy].
// It calls h with the message that a dead letter holds. So the handler that failed tries
// again, and no other channel of the original topic gets a copy:
//
//	cfg := nsq.NewConfig()
//	cfg.MaxAttempts = 0
//	replay, err := nsq.NewConsumer("orders.billing.dead", "replay", cfg)
//	...
//	replay.AddHandler(nsq.FromDeadLetters(billing))
//
// h gets a copy of the dead letter with the original Body. ID, Timestamp, Attempts, Topic and
// Channel are those of the dead letter. The headers tell the origin: h finds them in the
// message's context with [envelope.FromContext]. See HeaderOriginTopic. A message that is no
// dead letter, or was stored by DeadLetterPolicy.Raw, goes to h as it is. If the original
// messages are in envelopes themselves, use
//
//	nsq.FromDeadLetters(nsq.OpenEnvelopes()(billing))
//
// and not [Consumer.Use], because OpenEnvelopes would open the dead letter.
//
// If h fails, the dead letter is requeued, as any message is. A Consumer without a
// DeadLetterPolicy of its own never drops a dead letter by giving it up: beyond max_attempts
// it requeues the dead letter at each delivery, without calling h, and tells h if that is a
// [FailedMessageLogger]. For this, add the handler that FromDeadLetters returns, and not
// another one around it. So set max_attempts to 0, and let h return [Discard] for dead letters
// that may be dropped.
//
// FromDeadLetters panics if h is nil.
func FromDeadLetters(h Handler) Handler {
	if h == nil {
		panic("nil handler")
	}
	return &replayHandler{h}
}

// replayHandler is a FailedMessageLogger, which the Consumer tells before it gives a message
// up.
type replayHandler struct{ next Handler }

// HandleMessage calls the handler with the original message.
func (r *replayHandler) HandleMessage(m *Message) error { return r.next.HandleMessage(unbury(m)) }

// LogFailedMessage requeues the dead letter, unless the Consumer makes it a dead letter again. It
// does so even if the handler's LogFailedMessage panics: the Consumer would then ack it.
func (r *replayHandler) LogFailedMessage(m *Message) {
	defer func() {
		if m.conn != nil && m.conn.c.cfg.DeadLetter == nil {
			m.RequeueWithoutBackoff(m.conn.c.deadDelay(m))
		}
	}()
	if failed, ok := r.next.(FailedMessageLogger); ok {
		failed.LogFailedMessage(unbury(m))
	}
}

// unbury returns a copy of a dead letter with the original body, and with its headers in the
// context. It returns m if it is no dead letter.
func unbury(m *Message) *Message {
	h, body, ok := envelope.Open(m.Body)
	if _, dead := h[HeaderOriginTopic]; !ok || !dead {
		return m
	}
	original := m.WithContext(envelope.NewContext(m.Context(), h))
	original.Body = body
	return original
}
