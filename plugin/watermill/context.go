package nsqwatermill

import (
	"context"

	"github.com/rdyhq/nsq"
)

// FromContext returns the NSQ message behind the context of a Watermill message, and whether
// there is one. Read its Attempts, Timestamp or NSQDAddress, or Touch it to extend its lease.
// Do not ack or requeue it: Ack or Nack the Watermill message instead.
func FromContext(ctx context.Context) (*nsq.Message, bool) {
	m, ok := ctx.Value(contextKey{}).(*nsq.Message)
	return m, ok
}

type contextKey struct{}

// messageContext is the context of a Watermill message. It ends with the context of the NSQ
// message or with that of Subscribe, and has the values of both: those that middleware of the
// Consumer has added, such as a span, and those of the caller of Subscribe.
type messageContext struct {
	context.Context // a child of the NSQ message's context
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
