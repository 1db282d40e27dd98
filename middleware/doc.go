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
// This is the order to use them in, the first being the outermost.
//
// While a middleware waits it holds a message, whose lease runs, and one of the Consumer's
// goroutines. So it waits for no more than half of what is left of the lease, and the handler
// has the rest. After that it has nsqd deliver the message again, by [nsq.RetryAfter], which
// does not back off. Each delivery counts as an attempt: see max_attempts of [nsq.Config].
//
// Any number of handlers and Consumers may share a middleware, except one of package breaker,
// which is made for one Consumer.
package middleware
