package middleware

import "github.com/rdyhq/nsq"

// Only returns a middleware that passes on the messages for which keep returns true, and acks
// all others without calling the handler. keep is called by several goroutines at a time. Only
// panics if keep is nil.
//
// All messages of the channel still travel to the Consumer. If most are of no interest,
// publish the others to a topic of their own.
func Only(keep func(*nsq.Message) bool) nsq.Middleware {
	if keep == nil {
		panic("nil filter")
	}
	return func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			if !keep(m) {
				return nil
			}
			return next.HandleMessage(m)
		})
	}
}
