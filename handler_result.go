package nsq

import (
	"errors"
	"fmt"
	"time"
)

// RetryAfter is an error for a [Handler] to return: the message is requeued, to
// be delivered again after a delay of the handler's choosing rather than
// default_requeue_delay times its attempts. A negative delay is 0; nsqd reduces
// one over its max-req-timeout (an hour by default). It wraps err. A nil err
// makes it nil: all is well.
//
// RetryAfter, [NoBackoff] and [Discard] may be wrapped in other errors and in
// each other. Of several delays the outermost counts.
func RetryAfter(delay time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err: err, delay: max(delay, 0)}
}

// NoBackoff is an error for a [Handler] to return: the message is requeued, but
// the Consumer does not back off for it. It wraps err. A nil err makes it nil.
func NoBackoff(err error) error {
	if err == nil {
		return nil
	}
	return &noBackoffError{err}
}

// Discard is an error for a [Handler] to return: the message is not to be tried
// again. It is finished, the error is logged, and for backoff that is neither
// success nor failure. It wraps err and takes precedence over [RetryAfter]. A nil
// err makes it nil.
func Discard(err error) error {
	if err == nil {
		return nil
	}
	return &discardError{err}
}

type retryAfterError struct {
	err   error
	delay time.Duration
}

func (e *retryAfterError) Error() string { return fmt.Sprintf("%v (retry after %v)", e.err, e.delay) }
func (e *retryAfterError) Unwrap() error { return e.err }

type noBackoffError struct{ err error }

func (e *noBackoffError) Error() string { return e.err.Error() }
func (e *noBackoffError) Unwrap() error { return e.err }

type discardError struct{ err error }

func (e *discardError) Error() string { return e.err.Error() }
func (e *discardError) Unwrap() error { return e.err }

// handlerResult is what an error from a handler asks for.
type handlerResult struct {
	delay              time.Duration // autoDelay unless it says
	noBackoff, discard bool
}

func resultOf(err error) handlerResult {
	o := handlerResult{delay: autoDelay}
	if e, ok := errors.AsType[*retryAfterError](err); ok {
		o.delay = e.delay
	}
	_, o.noBackoff = errors.AsType[*noBackoffError](err)
	_, o.discard = errors.AsType[*discardError](err)
	return o
}

// PanicError is what a panic in a handler becomes: an error like one that the
// handler returned.
type PanicError struct {
	Value any    // what panic was called with; nil for runtime.Goexit
	Stack []byte // of the handler's goroutine
}

// Error names the panic's value. The stack is not part of the text.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "handler called runtime.Goexit"
	}
	return fmt.Sprintf("handler panicked: %v", e.Value)
}

// Unwrap returns the panic's value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
