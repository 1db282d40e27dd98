package nsq

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// MessageID is the ID that nsqd gave a message: 16 opaque, printable bytes,
// unique within a topic of one nsqd.
type MessageID [MsgIDLength]byte

// Message is a message as it was delivered.
//
// A message must be answered once, with [Message.Finish], [Message.Requeue] or
// [Message.RequeueWithoutBackoff]. The Consumer does so when the handler
// returns, unless [Message.DisableAutoResponse] was called. Answering goes to
// the connection that delivered the message; if that is gone, or the message's
// lease is over, the answer is lost and nsqd delivers the message again. The
// lease is nsqd's msg-timeout from the receipt of the message and from each
// [Message.Touch], but never longer than nsqd's max-msg-timeout in all.
//
// A copy of a message that a Consumer delivered, with another body for instance,
// is the same message: what is done with one is done with both.
//
// The methods may be called from any goroutine and never block. The fields are
// the receiver's own: nothing else writes them, and the body may be kept, unless
// recycle_bodies is set. Messages that arrive together share memory, at most 16
// KiB of bodies, so a kept body or message keeps its neighbours, too.
type Message struct {
	ID          MessageID
	Body        []byte
	Timestamp   int64  // when it was published, in nanoseconds since 1970
	Attempts    uint16 // deliveries so far; 1 on the first
	lease       uint32 // milliseconds from received; accessed atomically; here for the sake of alignment
	NSQDAddress string // of the nsqd that delivered it

	// Delegate is where answers go. It is exported for tests that make their
	// own messages with [NewMessage]; without one, answers go nowhere.
	Delegate MessageDelegate

	state uint32 // the bits below; accessed atomically
	epoch uint32 // of the Consumer's backoff, when it came; see flow

	// Of a message that a Consumer received:
	original *Message // itself; a handler may make copies, which have no state of their own
	conn     *consumerConn
	bodies   *bodies       // with recycle_bodies: what Body is part of
	received time.Duration // by the Consumer's clock
}

const (
	responded    uint32 = 1 << iota // it was answered
	manualAnswer                    // DisableAutoResponse was called
	givenUp                         // it is not to be tried again: for backoff its answer is neither success nor failure
	timedOut                        // its lease or connection ended before it was answered
	detached                        // its handler returned before it was answered
	observed                        // its context was asked for
)

// autoDelay is the delay that asks for the configured one.
const autoDelay time.Duration = -1

// MessageDelegate receives the answers to messages. It exists for tests of
// handlers; a Consumer's messages have the Consumer's own.
type MessageDelegate interface {
	// OnFinish is called by Finish, once.
	OnFinish(*Message)
	// OnRequeue is called by Requeue and RequeueWithoutBackoff, once.
	OnRequeue(m *Message, delay time.Duration, backoff bool)
	// OnTouch is called by Touch while the message is not answered.
	OnTouch(*Message)
}

// NewMessage returns a message as a test of a handler needs one: published now,
// attempts 0, no delegate.
func NewMessage(id MessageID, body []byte) *Message {
	return &Message{ID: id, Body: body, Timestamp: time.Now().UnixNano()}
}

// DecodeMessage reads the data of a message frame. The body aliases b.
func DecodeMessage(b []byte) (*Message, error) {
	w, err := wire.ParseMessage(b)
	if err != nil {
		return nil, err
	}
	return &Message{ID: MessageID(w.ID), Body: w.Body, Timestamp: w.Timestamp, Attempts: w.Attempts}, nil
}

// WriteTo writes the message as the data of a message frame, in one Write.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	data := make([]byte, 0, wire.MessageDataLen(len(m.Body)))
	data = wire.AppendMessageData(data, &wire.Message{
		Timestamp: m.Timestamp, Attempts: m.Attempts, ID: wire.ID(m.ID), Body: m.Body,
	})
	n, err := w.Write(data)
	return int64(n), err
}

// DisableAutoResponse leaves answering to the handler, which may do so after it
// returned. It must be called before the handler returns. A message that is not
// answered when its lease ends is given up.
func (m *Message) DisableAutoResponse() { m.set(manualAnswer) }

// IsAutoResponseDisabled tells whether DisableAutoResponse was called.
func (m *Message) IsAutoResponseDisabled() bool {
	return m.is(manualAnswer)
}

// own is the message whose state counts: the one that was delivered, if m is a
// copy of it.
func (m *Message) own() *Message {
	if m.original != nil {
		return m.original
	}
	return m
}

func (m *Message) set(bit uint32) (before uint32) { return atomic.OrUint32(&m.own().state, bit) }

// is tells whether any of the bits is set.
func (m *Message) is(bits uint32) bool { return atomic.LoadUint32(&m.own().state)&bits != 0 }

// HasResponded tells whether the message was answered.
func (m *Message) HasResponded() bool { return m.is(responded) }

// respond makes the caller the one who answers, if nobody was before.
func (m *Message) respond() bool {
	before := m.set(responded)
	if before&responded != 0 {
		return false
	}
	if before&(detached|observed) != 0 {
		m.conn.claimed(m.own(), before)
	}
	if m.bodies != nil {
		m.bodies.done(m.own().Body)
	}
	return true
}

// Finish answers that the message is done (FIN). Only the first answer counts.
func (m *Message) Finish() {
	if m.respond() && m.Delegate != nil {
		m.Delegate.OnFinish(m)
	}
}

// Requeue answers that the message is to be delivered again after a delay
// (REQ), and has the Consumer back off, as an error from a handler does (see
// [Consumer]). Only the first answer counts.
//
// A delay of exactly -1 stands for the configured one: default_requeue_delay
// times the message's attempts, at most max_requeue_delay. Any other negative
// delay is 0. nsqd counts in milliseconds and reduces what exceeds its
// max-req-timeout.
func (m *Message) Requeue(delay time.Duration) { m.requeue(delay, true) }

// RequeueWithoutBackoff is Requeue without having the Consumer back off. One
// that backs off already stays at its level.
func (m *Message) RequeueWithoutBackoff(delay time.Duration) { m.requeue(delay, false) }

// expire marks a message whose answer nsqd does not wait for any more, unless it
// was answered or marked before. So whoever answers it first can tell by the
// mark that it is too late, and nobody marks it after that.
func (m *Message) expire() bool {
	for {
		before := atomic.LoadUint32(&m.state)
		if before&(responded|timedOut) != 0 {
			return false
		}
		if atomic.CompareAndSwapUint32(&m.state, before, before|timedOut) {
			return true
		}
	}
}

func (m *Message) requeue(delay time.Duration, backoff bool) {
	if m.respond() && m.Delegate != nil {
		m.Delegate.OnRequeue(m, delay, backoff)
	}
}

// Touch asks nsqd for another msg_timeout from now for the message, within
// nsqd's max-msg-timeout (TOUCH). It does nothing once the message is answered
// or its lease is over.
func (m *Message) Touch() {
	if !m.is(responded|timedOut) && m.Delegate != nil {
		m.Delegate.OnTouch(m)
	}
}

// milliseconds32 fits a lease into a Message. nsqd's own limit is far below.
func milliseconds32(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), 1<<32-1)) // #nosec G115 -- in range
}
