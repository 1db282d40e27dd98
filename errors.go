package nsq

import (
	"errors"
	"fmt"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

var (
	// ErrNotConnected reports that there is no connection to the nsqd. A publish
	// that cannot be completed returns it, and so does a disconnect from an
	// address that the Consumer does not know.
	ErrNotConnected = errors.New("not connected")
	// ErrStopped reports that the Consumer or Producer was stopped.
	ErrStopped = errors.New("stopped")
	// ErrClosing reports that the connection is closing or closed.
	ErrClosing = errors.New("closing")
	// ErrAlreadyConnected reports that the Consumer is connected to the address, or
	// that another call is connecting to it.
	ErrAlreadyConnected = errors.New("already connected")
	// ErrOverMaxInFlight reports an RDY count over max_in_flight. This package
	// never returns it; it exists for programs that compare with it.
	ErrOverMaxInFlight = errors.New("over configure max-inflight")

	// ErrNotSent reports that a publish failed and that nsqd has not taken the
	// message: publishing it again cannot make a duplicate. Either no byte of it was
	// sent, or it followed a publish that nsqd refused, after which nsqd closes the
	// connection and reads no more. ErrNotSent also matches ErrNotConnected.
	ErrNotSent = fmt.Errorf("%w: nothing was published", ErrNotConnected)
	// ErrUnknownOutcome reports that a publish was sent, at least in part, and that
	// nsqd's reply was not received: nsqd may have stored the message or not.
	// ErrUnknownOutcome also matches ErrNotConnected.
	ErrUnknownOutcome = fmt.Errorf("%w: no reply, outcome unknown", ErrNotConnected)

	// ErrTLSRefused reports that nsqd does not offer TLS although Config.TlsV1 asks
	// for it. Only IDENTIFY was sent.
	ErrTLSRefused = link.ErrTLSRefused

	errStopTimeout = errors.New("stop_timeout exceeded")
)

// ErrIdentify reports that the handshake with nsqd failed. errors.Is and errors.As
// find its cause.
type ErrIdentify struct {
	Reason string

	cause error
}

// Error returns "failed to IDENTIFY - " and the reason.
func (e ErrIdentify) Error() string { return "failed to IDENTIFY - " + e.Reason }

// Unwrap returns the cause.
func (e ErrIdentify) Unwrap() error { return e.cause }

// ErrProtocol is the error of a publish that nsqd refused. Reason is the text of
// nsqd's error frame. errors.As finds a [*ProtocolError] in it.
type ErrProtocol struct {
	Reason string
}

// Error returns the reason.
func (e ErrProtocol) Error() string { return e.Reason }

// As lets errors.As find a [*ProtocolError].
func (e ErrProtocol) As(target any) bool {
	p, ok := target.(**ProtocolError)
	if ok {
		*p = protocolError(wire.ParseError([]byte(e.Reason)))
	}
	return ok
}

// ProtocolError is an error that nsqd reported.
type ProtocolError struct {
	Code string // an error code of NSQ's protocol, such as E_BAD_TOPIC
	Desc string // nsqd's description; may be empty
}

// Error returns the code and the description.
func (e *ProtocolError) Error() string {
	return (&wire.Error{Code: wire.Code(e.Code), Desc: e.Desc}).Error()
}

func protocolError(e *wire.Error) *ProtocolError {
	return &ProtocolError{Code: string(e.Code), Desc: e.Desc}
}

// reason returns the cause of an error of a link, without the link's wrapping. An
// error that nsqd reported becomes a *ProtocolError.
func reason(err error) error {
	if refused, ok := errors.AsType[*wire.Error](err); ok {
		return protocolError(refused)
	}
	if failed, ok := errors.AsType[*link.Error](err); ok {
		return failed.Err
	}
	return err
}

// connectError returns the public error for an error of link.Dial. It uses topic
// and channel only if SUB failed.
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
