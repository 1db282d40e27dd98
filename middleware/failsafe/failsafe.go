// Package failsafe calls handlers through policies of github.com/failsafe-go/failsafe-go:
// bulkheads, adaptive limiters, hedges, fallbacks, or several of them combined. For retries,
// circuit breakers and rates use packages retry, breaker and throttle, which know more about
// NSQ.
package failsafe

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	failsafego "github.com/failsafe-go/failsafe-go"

	"github.com/rdyhq/nsq"
)

// New returns a middleware that calls handlers through these policies. The first one is the
// outermost, as with failsafe-go's With. Policies see a handler's error, and no result value.
//
// If a call of the handler returns nil, the message is acked, whatever the policies return. If
// the handler decides about its message ([nsq.Message.Decided]), policies see a success, and
// the handler's decision stands. Otherwise the policies decide. If a policy turns a message
// away, the Consumer requeues the message and backs off, as after a failure of the handler, and
// the delivery costs an attempt. If a fallback returns no error, the message is acked.
//
// Each call has a context that ends with the policy's timeout or hedge, and a copy of the
// message. The middleware returns when all calls have returned, those that lost against a hedge
// included: once the message is acked, nothing should work on it any more. So a handler must
// watch its context. Policies see a panic as an [*nsq.PanicError]. If they return that error,
// the middleware panics with it.
//
// New panics if a policy is nil.
func New(policies ...failsafego.Policy[any]) nsq.Middleware {
	for _, p := range policies {
		if p == nil {
			panic("nil policy")
		}
	}
	executor := failsafego.With(policies...)
	return func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			c := &calls{next: next, m: m}
			return c.result(c.run(executor))
		})
	}
}

// calls are the calls of a handler for one delivery.
type calls struct {
	next    nsq.Handler
	m       *nsq.Message
	running sync.WaitGroup

	mu      sync.Mutex // guards the fields below, which are final when all calls have returned
	handled bool       // a call returned nil
	decided error      // the first error with which a call decided about the message
}

// run calls the handler as policies ask for, and returns their error when all calls have
// returned.
func (c *calls) run(executor failsafego.Executor[any]) error {
	ctx, cancel := context.WithCancel(c.m.Context())
	defer c.running.Wait()
	defer cancel()
	return executor.WithContext(ctx).RunWithExecution(func(e failsafego.Execution[any]) error {
		return c.call(e.Context())
	})
}

// call calls the handler once, and returns what policies hear of it. The handler has a
// goroutine of its own. A hedge calls it on one of failsafe-go's, where a panic would end the
// program and runtime.Goexit would leave the hedge waiting for ever.
func (c *calls) call(ctx context.Context) error {
	heard := make(chan error, 1)
	c.running.Go(func() {
		var err error
		returned := false
		defer func() {
			if !returned {
				err = &thrown{&nsq.PanicError{Value: recover(), Stack: debug.Stack()}}
			}
			heard <- c.hear(err)
		}()
		err = c.next.HandleMessage(c.m.WithContext(ctx))
		returned = true
	})
	return <-heard
}

// hear notes what a call returned, and returns what policies hear of it.
func (c *calls) hear(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.handled = true
	case c.m.Decided(err):
		if c.decided == nil {
			c.decided = err
		}
		return nil
	}
	return err
}

// result returns the result for the Consumer, given the error of the policies.
func (c *calls) result(err error) error {
	switch {
	case c.handled:
		return nil
	case c.decided != nil:
		err = c.decided
	}
	if t, ok := errors.AsType[*thrown](err); ok {
		t.rethrow()
	}
	return err
}

// thrown is the error of a call that panicked or called runtime.Goexit.
type thrown struct{ *nsq.PanicError }

// rethrow panics on this goroutine, which is the Consumer's, in place of the call. The Consumer
// logs the stack of this goroutine, so the panic's value has that of the call.
func (t *thrown) rethrow() { panic(fmt.Errorf("%w\n%s", t.PanicError, t.Stack)) }
