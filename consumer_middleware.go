package nsq

import (
	"errors"
	"fmt"
)

// Middleware wraps a [Handler] in another one that acts before or after it. The outer
// handler may change the message or the error, pass on a message with another context made
// by [Message.WithContext], or not call the inner handler at all. [Consumer.Use] adds
// middleware to a Consumer, which calls it once for each handler that was added.
//
// Add middleware in this order: first what opens the body, such as [OpenEnvelopes], then
// tracing, logging, and last what limits or retries. The module middleware has timeouts,
// limits, retries, a circuit breaker and deduplication.
type Middleware func(Handler) Handler

// addedHandler is a handler that was added to a Consumer.
type addedHandler struct {
	// Handler is what workers call: added, wrapped in the middleware. wrapHandlers sets
	// it before the first message can come.
	Handler
	added Handler // as it was given, for its optional interfaces; nil for a batch handler

	batch  BatchHandler // nil for a handler of single messages
	limits BatchLimits  // of batch
}

// errMiddleware is why messages cannot be taken other than by handlers.
var errMiddleware = errors.New("middleware wraps handlers of single messages only")

// Use adds middleware to all handlers of the Consumer, including those that are added
// later. The first one is the outermost: with Use(a, b) a message passes through a, then b,
// and then reaches the handler. Later calls add middleware inside that of earlier ones.
//
// Call Use before the first connect call. It panics after that, after a call of Messages or
// Fetch, and if a Middleware is nil. The first connect call wraps the handlers. It panics if
// a Middleware returns nil, or if there are batch handlers: see [Consumer.AddBatchHandler].
//
// A panic in middleware counts as a panic of the handler. The handlers that middleware
// returns need not be a [FailedMessageLogger]: a message that is given up goes past all
// middleware, as it was delivered, to the LogFailedMessage of the handler that was added.
func (c *Consumer) Use(mw ...Middleware) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.taken:
		panic(errMiddleware.Error())
	case c.connecting:
		panic("already connected")
	}
	for _, m := range mw {
		if m == nil {
			panic("nil middleware")
		}
	}
	c.middleware = append(c.middleware, mw...)
}

// wrapHandlers wraps the handlers in the middleware. It runs once, in the first connect
// call, after which neither handlers nor middleware are added. It holds no lock, since it
// calls the user's code.
func (c *Consumer) wrapHandlers() {
	for _, h := range c.handlers {
		if h.batch != nil && len(c.middleware) > 0 {
			panic(errMiddleware.Error())
		}
		if h.batch != nil {
			continue
		}
		wrapped := h.added
		for i := len(c.middleware) - 1; i >= 0; i-- {
			if wrapped = c.middleware[i](wrapped); wrapped == nil {
				panic(fmt.Sprintf("middleware %d of %d returned a nil handler", i+1, len(c.middleware)))
			}
		}
		h.Handler = wrapped
	}
}
