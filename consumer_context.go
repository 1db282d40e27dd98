package nsq

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Context returns a context for the work on the message. It ends when the message is
// acked or requeued, or before that with one of these as its context.Cause:
//
//   - [ErrMessageTimedOut]: the lease is over. Err is context.DeadlineExceeded.
//   - [ErrConnectionLost]: the connection that delivered the message is gone.
//   - [ErrStopped]: the Consumer is stopping and waits for handlers half a second more.
//
// With the first two nsqd delivers the message again, and with the last one as well unless
// the handler returns in time, so abandon the work. For a message that no Consumer received
// Context returns context.Background.
//
// The deadline is the end of the lease at the first call of Context; with auto_touch,
// the latest that the lease can end. It does not move: after the handler's own
// [Message.Touch] the context lives on beyond it. A handler that touches must not
// derive a context.WithTimeout that ends after the deadline: such a context sets no
// timer of its own.
//
// For a copy made by [Message.WithContext], Context returns the context given there.
func (m *Message) Context() context.Context {
	switch {
	case m.extra != nil && m.extra.ctx != nil:
		return m.extra.ctx
	case m.conn == nil:
		return context.Background()
	}
	return m.conn.c.contexts.of(m.own())
}

// WithContext returns a copy of the message with another context, for a [Middleware] to
// pass on. Derive ctx from m.Context(). Otherwise it does not end with the lease, and the
// handler does not learn that its work is in vain. WithContext panics if ctx is nil.
//
// The copy stands for the same message, but has fields of its own: an ack of one acks both.
// A copy of the copy has the same context. The Body is not copied. When the handler
// returns, the Consumer acks the delivered message, through that message's Delegate.
func (m *Message) WithContext(ctx context.Context) *Message {
	if ctx == nil {
		panic("nil context")
	}
	// Not *m: other goroutines write state and lease, which only the original needs.
	return &Message{
		ID: m.ID, Body: m.Body, Timestamp: m.Timestamp, Attempts: m.Attempts,
		NSQDAddress: m.NSQDAddress, Delegate: m.Delegate,
		weight: m.weight, epoch: m.epoch, received: m.received,
		original: m.own(), conn: m.conn, extra: &messageExtra{ctx: ctx},
	}
}

// Topic returns the topic of the Consumer that delivered the message, or "" if none did.
func (m *Message) Topic() string {
	if m.conn == nil {
		return ""
	}
	return m.conn.c.topic
}

// Channel returns the channel of the Consumer that delivered the message, or "" if none
// did.
func (m *Message) Channel() string {
	if m.conn == nil {
		return ""
	}
	return m.conn.c.channel
}

// ContextHandlerFunc is a function as a [Handler]. It receives the message's context:
// see [Message.Context].
type ContextHandlerFunc func(ctx context.Context, message *Message) error

// HandleMessage calls the function.
func (h ContextHandlerFunc) HandleMessage(m *Message) error { return h(m.Context(), m) }

var (
	// ErrMessageTimedOut is the cause of the end of a message's context when nsqd no
	// longer waits for the message's ack.
	ErrMessageTimedOut = errors.New("message timed out")
	// ErrConnectionLost is the cause of the end of a message's context, wrapped with
	// nsqd's address, when the connection that delivered the message is gone.
	ErrConnectionLost = errors.New("connection lost")
	// ErrMessageTooBig is why a message was abandoned if its body was not read: see
	// Config.MaxMsgSize and [AbandonedEvent].
	ErrMessageTooBig = errors.New("body exceeds max_msg_size")
)

// contexts holds the contexts that handlers have asked for, of messages in hand. A
// message without a context costs nothing.
type contexts struct {
	mu   sync.Mutex // guards open
	open map[*Message]*messageContext
}

func newContexts() contexts { return contexts{open: make(map[*Message]*messageContext)} }

// messageContext is a child of its connection's context, with a deadline. It has no
// timer: the run loop ends it when a sweep finds the lease over.
type messageContext struct {
	context.Context
	deadline time.Time
	cancel   context.CancelCauseFunc
}

// Deadline returns the end of the lease.
func (c *messageContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Err returns context.DeadlineExceeded if the lease is over.
func (c *messageContext) Err() error {
	err := c.Context.Err()
	if err != nil && errors.Is(context.Cause(c.Context), ErrMessageTimedOut) {
		return context.DeadlineExceeded
	}
	return err
}

// of returns the context of a message, the same one each time until the message is
// acked, requeued or timed out. Another goroutine may do that at the same time:
//
//  1. The other goroutine sets responded or timedOut. It does not find observed set, so
//     it ends no context.
//  2. of stores the context and sets observed.
//  3. of checks responded and timedOut, and ends the context.
//
// Without step 3 the context would never end.
func (s *contexts) of(m *Message) context.Context {
	s.mu.Lock()
	c := s.open[m]
	if c == nil {
		c = &messageContext{deadline: m.conn.c.start.Add(m.lastLeaseEnds(m.conn.c.elapsed()))}
		c.Context, c.cancel = context.WithCancelCause(m.conn.ctx)
		s.open[m] = c
		m.set(observed)
	}
	s.mu.Unlock()
	switch {
	case m.is(responded):
		s.end(m, context.Canceled)
	case m.is(timedOut):
		s.end(m, ErrMessageTimedOut)
	}
	return c
}

// end ends the context of a message, if it has one.
func (s *contexts) end(m *Message, cause error) {
	s.mu.Lock()
	c := s.open[m]
	delete(s.open, m)
	s.mu.Unlock()
	if c != nil {
		c.cancel(cause)
	}
}

// any reports whether a message in hand has a context that has not ended.
func (s *contexts) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open) > 0
}
