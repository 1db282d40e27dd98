package nsq

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Context returns a context for the work on the message. It ends when the message
// is answered, and before that, with a cause that context.Cause tells:
//
//   - [ErrMessageTimedOut]: the lease is over. Its Err is context.DeadlineExceeded.
//   - [ErrConnectionLost]: the connection that delivered it is gone.
//   - [ErrStopped]: the Consumer stops and waits no longer.
//
// Whatever the cause, nsqd delivers the message again, so the work is best
// abandoned. For a message that no Consumer received it is context.Background.
//
// Its deadline is the end of the lease as it is at the first call of Context, or
// with auto_touch the latest that it can be made to be. A deadline does not move:
// after a [Message.Touch] of the handler's own the context lives on beyond it. A
// handler that touches must not rely on a context.WithTimeout of this one for a
// bound beyond the deadline, for that sets no timer of its own.
func (m *Message) Context() context.Context {
	if m.conn == nil {
		return context.Background()
	}
	return m.conn.c.contexts.of(m.own())
}

// ContextHandlerFunc is a function as a [Handler] that is given the message's
// context: see [Message.Context].
type ContextHandlerFunc func(ctx context.Context, message *Message) error

// HandleMessage calls the function.
func (h ContextHandlerFunc) HandleMessage(m *Message) error { return h(m.Context(), m) }

var (
	// ErrMessageTimedOut says that nsqd no longer waits for the answer to a
	// message: it is the cause of the end of the message's context.
	ErrMessageTimedOut = errors.New("message timed out")
	// ErrConnectionLost says that the connection that delivered a message is
	// gone: it is the cause, naming nsqd, of the end of the message's context.
	ErrConnectionLost = errors.New("connection lost")
)

// contexts are the contexts that were asked for, of messages in hand. A message
// without one costs nothing.
type contexts struct {
	mu   sync.Mutex // guards what follows
	open map[*Message]*messageContext
}

func newContexts() contexts { return contexts{open: make(map[*Message]*messageContext)} }

// messageContext is a child of its connection's context with a deadline. What
// ends it is the run loop, when the lease is over, and not a timer.
type messageContext struct {
	context.Context
	deadline time.Time
	cancel   context.CancelCauseFunc
}

// Deadline is the end of the lease.
func (c *messageContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Err is that of a deadline, if that is why the context ended.
func (c *messageContext) Err() error {
	err := c.Context.Err()
	if err != nil && errors.Is(context.Cause(c.Context), ErrMessageTimedOut) {
		return context.DeadlineExceeded
	}
	return err
}

// of returns the context of a message, the same one each time until the message
// is answered.
func (s *contexts) of(m *Message) context.Context {
	s.mu.Lock()
	c := s.open[m]
	if c == nil {
		c = &messageContext{deadline: m.conn.c.start.Add(m.lastLeaseEnds())}
		c.Context, c.cancel = context.WithCancelCause(m.conn.ctx)
		s.open[m] = c
		m.set(observed)
	}
	s.mu.Unlock()
	// Whoever answered or timed the message out before it was marked as observed
	// did not end its context.
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

// any tells whether a message in hand has a context.
func (s *contexts) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open) > 0
}
