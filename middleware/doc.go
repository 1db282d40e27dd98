// Package middleware has middleware for the handlers of package nsq: [Timeout], [Only],
// [Concurrency] and [ByKey]. Packages below it have the middleware that needs a library of
// its own: breaker, dedupe, failsafe, retry and throttle. For a logger in the handler's
// context see [nsq.ContextLogger].
//
//	consumer.Use(
//		nsq.ContextLogger(logger),
//		dedupe.New(store, orderNumber),
//		breaker.New(circuit, consumer),
//		throttle.New(limiter),
//		middleware.Timeout(10*time.Second),
//		retry.New(),
//	)
//
// Use them in this order. The first one is the outermost.
//
// A middleware that waits holds a message, whose lease runs, and one of the Consumer's
// goroutines. So it waits for no more than half of what is left of the lease: the rest is for
// the handler. If that is not enough, it returns an [nsq.RetryAfter]: nsqd delivers the
// message again, and the Consumer does not back off. Each delivery counts as an attempt: see
// max_attempts of [nsq.Config].
//
// Any number of handlers and Consumers may share a middleware, except one of package breaker,
// which is made for one Consumer.
package middleware
