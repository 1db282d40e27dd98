package nsq

import "fmt"

// Middleware wraps a [Handler] in another one, which does something before or after it:
// it may change the message or the error, give the handler a context of its own by
// [Message.WithContext], or not call it. [Consumer.Use] adds one to a Consumer. It is
// called once for each handler that was added.
type Middleware func(Handler) Handler

// addedHandler is a handler that was added to a Consumer.
type addedHandler struct {
	// Handler is what workers call: added, wrapped in the middleware. wrapHandlers sets
	// it before the first message can come.
	Handler
	added Handler // as it was given, for its optional interfaces
}

// Use adds middleware to all handlers of the Consumer, whether they are added before or
// after it. The first one is the outermost: with Use(a, b) a message comes to a, b and then
// the handler. Further calls add middleware within.
//
// Call Use before the first connect call; after that it panics, and it panics if a
// Middleware is nil. The first connect call wraps the handlers. It panics if a Middleware
// returns nil.
//
// A panic in middleware counts as one of the handler. What middleware returns need not be
// a [FailedMessageLogger]: a message that is given up goes to the LogFailedMessage of the
// handler that was added, as it was delivered, and past all middleware.
func (c *Consumer) Use(mw ...Middleware) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connecting {
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
		wrapped := h.added
		for i := len(c.middleware) - 1; i >= 0; i-- {
			if wrapped = c.middleware[i](wrapped); wrapped == nil {
				panic(fmt.Sprintf("middleware %d of %d returned a nil handler", i+1, len(c.middleware)))
			}
		}
		h.Handler = wrapped
	}
}
