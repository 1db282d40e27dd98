package nsqwatermill

import (
	"context"

	"github.com/rdyhq/nsq"
)

// FromContext returns the message of NSQ from whose delivery the context of a Watermill
// message comes, and whether there is one. Read its Attempts, Timestamp or NSQDAddress, or
// Touch it to extend its lease. Do not ack or requeue it: Ack or Nack Watermill's message.
func FromContext(ctx context.Context) (*nsq.Message, bool) {
	m, ok := ctx.Value(contextKey{}).(*nsq.Message)
	return m, ok
}

type contextKey struct{}

// messageContext is the context of a Watermill message. It ends with the context of NSQ's
// message or with that of Subscribe, and has the values of both: what a middleware of the
// Consumer has added, such as a span, and what the caller of Subscribe has.
type messageContext struct {
	context.Context // a child of NSQ's message's
	subscribed      context.Context
	message         *nsq.Message
}

// newMessageContext returns the context for a delivery of m. The caller must call release.
func newMessageContext(m *nsq.Message, subscribed context.Context) (ctx context.Context, release func()) {
	child, cancel := context.WithCancelCause(m.Context())
	unhook := context.AfterFunc(subscribed, func() { cancel(context.Cause(subscribed)) })
	return &messageContext{Context: child, subscribed: subscribed, message: m}, func() {
		unhook()
		cancel(nil)
	}
}

// Value returns the value of the message's context or, failing that, of Subscribe's.
func (c *messageContext) Value(key any) any {
	if key == (contextKey{}) {
		return c.message
	}
	if value := c.Context.Value(key); value != nil {
		return value
	}
	return c.subscribed.Value(key)
}
