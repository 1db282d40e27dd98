package nsq

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// MsgIDLength is the number of bytes of a [MessageID].
const MsgIDLength = wire.IDLen

// MessageID is the ID that nsqd gave a message: 16 opaque, printable bytes,
// unique within a topic of one nsqd.
type MessageID [MsgIDLength]byte

// Message is a message as it was delivered.
//
// Every message must be acked with [Message.Finish], or requeued with
// [Message.Requeue] or [Message.RequeueWithoutBackoff], once. The Consumer does so
// when the handler returns, unless [Message.DisableAutoResponse] was called. The ack
// goes to the connection that delivered the message. If that connection is gone or the
// message's lease is over, the ack is lost and nsqd delivers the message again. The
// lease is nsqd's msg-timeout, counted from the receipt of the message and again from
// each [Message.Touch], but never longer than nsqd's max-msg-timeout in all.
//
// A copy of a message that a Consumer delivered, with another body for instance, is
// the same message: an ack of one acks both.
//
// The methods may be called from any goroutine and never block. The fields belong to
// the handler: nothing else writes them, and the body may be kept unless
// recycle_bodies is set. Messages that arrive together share memory, at most 16 KiB of
// bodies, so keeping a body or a message keeps the memory of its neighbours.
type Message struct {
	ID          MessageID
	Body        []byte
	Timestamp   int64  // when it was published, in nanoseconds since 1970
	Attempts    uint16 // deliveries so far; 1 on the first
	weight      weight // of Body when it was received; this and lease fill a gap
	lease       uint32 // milliseconds after received; accessed atomically
	NSQDAddress string // of the nsqd that delivered it

	// Delegate receives the acks. It is exported for tests that make their own
	// messages with [NewMessage]; without a Delegate, acks go nowhere.
	Delegate MessageDelegate

	state uint32 // the bits below; accessed atomically
	epoch uint32 // flow's epoch when the message arrived

	// Set when a Consumer receives the message or WithContext copies it, and never changed:
	original *Message // the delivered message, which has the state: m itself, or what m is a copy of
	conn     *consumerConn
	received time.Duration // when the message arrived, on the Consumer's clock

	extra *messageExtra // nil for most messages; never changed once the program has the message
}

// messageExtra holds what only a few messages have, so that slabs of the others stay small.
type messageExtra struct {
	bodies *bodies         // with recycle_bodies: the memory that the delivered message's Body is part of
	ctx    context.Context // of a copy that WithContext made
	taking *taking         // for hooks, of a message that was taken otherwise than by a Handler
}

// taking says when the program took a message by a loop, a Fetch or a batch handler, and how
// many messages it took together.
type taking struct {
	at       time.Duration // on the Consumer's clock
	messages int
}

const (
	responded      uint32 = 1 << iota // it was acked or requeued
	manualResponse                    // DisableAutoResponse was called
	noResult                          // backoff ignores what becomes of it: see Consumer.backoffResult
	timedOut                          // its lease or connection ended before it was acked
	detached                          // its handler returned before it was acked
	observed                          // its context was asked for
	told                              // Answer has told hooks of its outcome
)

// autoDelay stands for the configured delay of a requeue.
const autoDelay time.Duration = -1

// MessageDelegate receives the acks, requeues and touches of messages. It exists for
// tests of handlers. The messages of a Consumer have a Delegate of the Consumer's.
type MessageDelegate interface {
	// OnFinish is called by Finish, once.
	OnFinish(*Message)
	// OnRequeue is called by Requeue and RequeueWithoutBackoff, once.
	OnRequeue(m *Message, delay time.Duration, backoff bool)
	// OnTouch is called by Touch until the message is acked or requeued.
	OnTouch(*Message)
}

// NewMessage returns a message for a test of a handler: published now, attempts 0, no
// Delegate.
func NewMessage(id MessageID, body []byte) *Message {
	return &Message{ID: id, Body: body, Timestamp: time.Now().UnixNano()}
}

// DecodeMessage parses the data of a message frame. The body aliases b.
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

// DisableAutoResponse leaves acking to the handler, which may ack after it has
// returned. Call it before the handler returns. A message that is not acked when its
// lease ends is lost to the Consumer: nsqd delivers it again.
func (m *Message) DisableAutoResponse() { m.set(manualResponse) }

// IsAutoResponseDisabled reports whether DisableAutoResponse was called.
func (m *Message) IsAutoResponseDisabled() bool {
	return m.is(manualResponse)
}

// own returns the message that holds the state: the delivered one if m is a copy of it,
// and otherwise m.
func (m *Message) own() *Message {
	if m.original != nil {
		return m.original
	}
	return m
}

// set sets a bit of the state, and returns the state before.
func (m *Message) set(bit uint32) (before uint32) { return atomic.OrUint32(&m.own().state, bit) }

// is reports whether any of the bits is set.
func (m *Message) is(bits uint32) bool { return atomic.LoadUint32(&m.own().state)&bits != 0 }

// HasResponded reports whether the message was acked or requeued.
func (m *Message) HasResponded() bool { return m.is(responded) }

// respond claims the message for the caller, which must then ack or requeue it. It
// reports false if the message was already claimed.
func (m *Message) respond() bool {
	before := m.set(responded)
	if before&responded != 0 {
		return false
	}
	if before&(detached|observed) != 0 {
		m.conn.cleanUp(m.own(), before)
	}
	if own := m.own(); own.extra != nil && own.extra.bodies != nil {
		own.extra.bodies.release(own.Body)
	}
	return true
}

// Finish acks the message (FIN). Only the first ack or requeue counts.
func (m *Message) Finish() {
	if m.respond() && m.Delegate != nil {
		m.Delegate.OnFinish(m)
	}
}

// Requeue asks nsqd to deliver the message again after a delay (REQ), and has the
// Consumer back off as for an error of a handler (see [Consumer]). Only the first ack
// or requeue counts.
//
// A delay of exactly -1 stands for the configured one: default_requeue_delay times
// the message's attempts, at most max_requeue_delay. Any other negative delay is 0.
// nsqd counts in milliseconds, and reduces a delay above its max-req-timeout to that.
func (m *Message) Requeue(delay time.Duration) { m.requeue(delay, true) }

// RequeueWithoutBackoff is Requeue without backoff. A Consumer that is already backing
// off stays at its level.
func (m *Message) RequeueWithoutBackoff(delay time.Duration) { m.requeue(delay, false) }

// expire marks the message as timed out, because nsqd no longer waits for its ack. If the
// message was already acked, requeued or marked, expire changes nothing and reports
// false. The check and the mark are one atomic step: an ack after the mark sees it and is
// not sent, and no mark comes after an ack.
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

// Touch asks nsqd for another msg_timeout from now, within nsqd's max-msg-timeout
// (TOUCH). It does nothing once the message is acked or requeued, or its lease is over.
func (m *Message) Touch() {
	if !m.is(responded|timedOut) && m.Delegate != nil {
		m.Delegate.OnTouch(m)
	}
}

// milliseconds32 fits a lease into a Message. nsqd's own limit is far below.
func milliseconds32(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), 1<<32-1)) // #nosec G115 -- in range
}
