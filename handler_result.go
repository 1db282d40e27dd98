package nsq

import (
	"errors"
	"fmt"
	"time"
)

// RetryAfter returns an error for a [Handler] to return: the Consumer requeues the
// message with this delay instead of default_requeue_delay times its attempts. A
// negative delay counts as 0: nsqd delivers the message again at once. nsqd reduces a
// delay over its max-req-timeout, an hour by default. The error wraps err; if err is nil,
// RetryAfter returns nil.
//
// A planned retry says nothing about whether things go well. So for backoff it counts
// neither as a success nor as a failure, and it is logged at level Info. If a dependency is
// down, return a plain error.
//
// Errors of RetryAfter, [NoBackoff], [DeadLetter] and [Discard] may be wrapped in other
// errors and in each other. Of several delays the outermost counts.
func RetryAfter(delay time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err: err, delay: max(delay, 0)}
}

// NoBackoff returns an error for a [Handler] to return: the Consumer requeues the
// message, with the delay of a plain error, but does not back off. A Consumer that is
// already backing off stays at its level and pauses again. The error wraps err; if err is
// nil, NoBackoff returns nil.
func NoBackoff(err error) error {
	if err == nil {
		return nil
	}
	return &noBackoffError{err}
}

// Discard returns an error for a [Handler] to return: the message must not be
// delivered again. The Consumer logs the error and finishes the message, which
// counts neither as a success nor as a failure for backoff. Discard takes
// precedence over [DeadLetter] and [RetryAfter]. The error wraps err; if err is nil,
// Discard returns nil.
func Discard(err error) error {
	if err == nil {
		return nil
	}
	return &discardError{err}
}

// DeadLetter returns an error for a [Handler] to return: no retry helps, but the message
// must be kept. If Config.DeadLetter is set, the Consumer publishes the message as a dead
// letter now, however few attempts it has had, and acks it once that is stored: see
// [DeadLetterPolicy]. Such a message says nothing about whether things go well, so it counts
// neither as a success nor as a failure for backoff.
//
// Without Config.DeadLetter the error counts as if DeadLetter did not wrap it: a plain error
// requeues the message.
//
// [Discard] takes precedence over DeadLetter, and DeadLetter over [RetryAfter] if
// Config.DeadLetter is set. The error wraps err; if err is nil, DeadLetter returns nil.
func DeadLetter(err error) error {
	if err == nil {
		return nil
	}
	return &deadLetterError{err}
}

// Decided reports whether a handler that returns err now has decided what becomes of the message:
// err is one of [RetryAfter], [Discard] or [DeadLetter], or the handler has acked or requeued the
// message, or has called [Message.DisableAutoResponse]. Otherwise the Consumer acks the message if
// err is nil, and requeues it if not. Decided is for a [Middleware] that calls the handler again
// after a failure, or counts failures: a message that is decided is not its business.
func (m *Message) Decided(err error) bool {
	asked := resultOf(err)
	return asked.discard || asked.deadLetter || asked.planned() || m.is(responded|manualResponse)
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

type deadLetterError struct{ err error }

func (e *deadLetterError) Error() string { return e.err.Error() }
func (e *deadLetterError) Unwrap() error { return e.err }

// handlerResult says what an error that a handler returned asks for.
type handlerResult struct {
	delay                          time.Duration // autoDelay without a RetryAfter
	noBackoff, deadLetter, discard bool
}

// planned reports whether the handler asks for a retry after a delay of its own.
func (r handlerResult) planned() bool { return r.delay != autoDelay && !r.discard }

func resultOf(err error) handlerResult {
	r := handlerResult{delay: autoDelay}
	if e, ok := errors.AsType[*retryAfterError](err); ok {
		r.delay = e.delay
	}
	_, r.noBackoff = errors.AsType[*noBackoffError](err)
	_, r.deadLetter = errors.AsType[*deadLetterError](err)
	_, r.discard = errors.AsType[*discardError](err)
	return r
}

// PanicError is the error of a handler that panicked or called runtime.Goexit.
type PanicError struct {
	Value any    // the argument of panic; nil for runtime.Goexit
	Stack []byte // the stack of the handler's goroutine
}

// Error returns a text with the panic's value and without the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "handler called runtime.Goexit"
	}
	return fmt.Sprintf("handler panicked: %v", e.Value)
}

// Unwrap returns the panic's value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
