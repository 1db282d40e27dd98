package nsq

import (
	"errors"
	"fmt"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

var (
	// ErrNotConnected says that there is no connection to the nsqd: a publish
	// that could not be completed, or a disconnect from an unknown address.
	ErrNotConnected = errors.New("not connected")
	// ErrStopped says that the Consumer or Producer was stopped.
	ErrStopped = errors.New("stopped")
	// ErrClosing says that the connection is being closed.
	ErrClosing = errors.New("closing")
	// ErrAlreadyConnected says that the Consumer is connected to the address,
	// or that another call is connecting to it.
	ErrAlreadyConnected = errors.New("already connected")
	// ErrOverMaxInFlight says that an RDY count would exceed max_in_flight.
	// This package never tries to; the value is kept for those who compare.
	ErrOverMaxInFlight = errors.New("over configure max-inflight")

	// ErrNotSent says that a publish failed and that nsqd has not taken it: to
	// publish again cannot make a duplicate. Nothing of it was sent, or it was
	// behind a publish that nsqd refused, after which nsqd closes the connection
	// and looks at nothing more. It also matches ErrNotConnected.
	ErrNotSent = fmt.Errorf("%w: nothing was published", ErrNotConnected)
	// ErrUnknownOutcome says that a publish was sent, at least in part, and
	// that its answer was not seen: the message may or may not be stored. It
	// also matches ErrNotConnected.
	ErrUnknownOutcome = fmt.Errorf("%w: no answer, outcome unknown", ErrNotConnected)

	// ErrTLSRefused says that nsqd does not offer the TLS that Config.TlsV1
	// wants. Nothing but IDENTIFY was sent.
	ErrTLSRefused = link.ErrTLSRefused

	errStopTimeout = errors.New("stop_timeout exceeded")
)

// ErrIdentify says that the handshake with nsqd failed. Its cause, if it is
// more than text, can be reached with errors.Is and errors.As.
type ErrIdentify struct {
	Reason string

	cause error
}

// Error returns the reason.
func (e ErrIdentify) Error() string { return "failed to IDENTIFY - " + e.Reason }

// Unwrap returns the cause.
func (e ErrIdentify) Unwrap() error { return e.cause }

// ErrProtocol is nsqd's answer to a publish that it refused: the text of the
// error frame. errors.As finds a [*ProtocolError] in it.
type ErrProtocol struct {
	Reason string
}

// Error returns the reason.
func (e ErrProtocol) Error() string { return e.Reason }

// As makes errors.As find a [*ProtocolError].
func (e ErrProtocol) As(target any) bool {
	p, ok := target.(**ProtocolError)
	if ok {
		*p = protocolError(wire.ParseError([]byte(e.Reason)))
	}
	return ok
}

// ProtocolError is an error that nsqd reported: one of the E_ codes of NSQ's
// protocol and nsqd's description of it, which may be empty.
type ProtocolError struct {
	Code string // for example E_BAD_TOPIC
	Desc string
}

// Error returns the code and the description.
func (e *ProtocolError) Error() string {
	return (&wire.Error{Code: wire.Code(e.Code), Desc: e.Desc}).Error()
}

func protocolError(e *wire.Error) *ProtocolError {
	return &ProtocolError{Code: string(e.Code), Desc: e.Desc}
}

// reason strips a link's own wrapping off an error and gives what nsqd said
// its public type.
func reason(err error) error {
	if refused, ok := errors.AsType[*wire.Error](err); ok {
		return protocolError(refused)
	}
	if failed, ok := errors.AsType[*link.Error](err); ok {
		return failed.Err
	}
	return err
}

// connectError is the public form of a failed link.Dial. topic is empty for a
// producer.
func connectError(addr, topic, channel string, err error) error {
	cause := reason(err)
	var op string
	if failed, ok := errors.AsType[*link.Error](err); ok {
		op = failed.Op
	}
	switch op {
	case link.OpIdentify:
		return ErrIdentify{Reason: fmt.Sprintf("%v (nsqd %s)", cause, addr), cause: cause}
	case link.OpTLS, link.OpSnappy, link.OpDeflate:
		return ErrIdentify{Reason: fmt.Sprintf("%s: %v (nsqd %s)", op, cause, addr), cause: cause}
	case link.OpSub:
		return fmt.Errorf("[%s] failed to subscribe to %s:%s - %w", addr, topic, channel, cause)
	case link.OpAuth:
		return fmt.Errorf("[%s] failed to authenticate - %w", addr, cause)
	}
	return fmt.Errorf("[%s] failed to connect - %w", addr, cause)
}
