package nsq

import (
	"errors"
	"fmt"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// Methods that go-nsq has return go-nsq's values and types, unwrapped, so that programs
// may compare with == and use type assertions. The reasons are in the errors of the
// methods with a context, and in ProducerTransaction.Cause.

var (
	// ErrNotConnected reports that there is no connection to the nsqd.
	// [Producer.Publish] returns it, unwrapped, if the connection was lost before nsqd
	// replied: nsqd may have the message or not. [Consumer.DisconnectFromNSQD] returns it
	// for an address that the Consumer does not know, and a [Conn] while it is not
	// connected.
	ErrNotConnected = errors.New("not connected")
	// ErrStopped reports that the Consumer or Producer was stopped.
	ErrStopped = errors.New("stopped")
	// ErrClosing reports that the connection is closing or closed. A [Conn] returns it
	// unwrapped.
	ErrClosing = errors.New("closing")
	// ErrAlreadyConnected reports that the Consumer is connected to the address, or
	// that another call is connecting to it.
	ErrAlreadyConnected = errors.New("already connected")
	// ErrOverMaxInFlight reports an RDY count over max_in_flight. This package
	// never returns it; it exists for programs that compare with it.
	ErrOverMaxInFlight = errors.New("over configure max-inflight")

	// ErrNotSent reports that a publish failed and that nsqd has not taken the
	// message. [Producer.PublishContext] and the other methods with a context wrap it:
	// publishing it again cannot make a duplicate. Either no byte of it was
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

	// ErrBeyondRDY reports that a Consumer has closed a connection because the nsqd had
	// far more messages in flight than RDY allowed within the last two leases: more than
	// twice as many, and more than 16 beyond. [ConnectionSnapshot] has it as LastError.
	ErrBeyondRDY = link.ErrBeyondRDY

	errStopTimeout = errors.New("stop_timeout exceeded")
	errNoCloseWait = errors.New("nsqd did not reply to CLS")
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
// nsqd's error frame, as nsqd sent it. errors.As finds a [*ProtocolError] in it.
type ErrProtocol struct {
	Reason string
}

// Error returns the reason. What is not printable is escaped, and a very long reason is
// cut.
func (e ErrProtocol) Error() string { return wire.Printable(e.Reason) }

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
	Desc string // nsqd's description, as nsqd sent it; may be empty
}

// Error returns the code and the description. What is not printable is escaped, and a
// very long text is cut.
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

// connectFailure is the error of an attempt to connect. Its text names the address.
type connectFailure struct {
	error
	bare error // what go-nsq returns for this failure
}

// Unwrap returns the error whose text names the address.
func (e connectFailure) Unwrap() error { return e.error }

// bareConnectError returns what go-nsq returns for the same failure to connect: the
// dial's error as the dial returned it, an ErrIdentify as such. An error that is no
// connectFailure is returned as it is.
func bareConnectError(err error) error {
	if failed, ok := errors.AsType[connectFailure](err); ok {
		return failed.bare
	}
	return err
}

// connectError returns a connectFailure for an error of link.Dial. It uses topic
// and channel only if SUB failed.
func connectError(addr, topic, channel string, err error) error {
	cause := reason(err)
	var op string
	if failed, ok := errors.AsType[*link.Error](err); ok {
		op = failed.Op
	}
	switch op {
	case link.OpIdentify:
		return identifyFailure(addr, ErrIdentify{Reason: cause.Error(), cause: cause})
	case link.OpTLS, link.OpSnappy, link.OpDeflate:
		return identifyFailure(addr, ErrIdentify{Reason: fmt.Sprintf("%s: %v", op, cause), cause: cause})
	case link.OpSub:
		subscribe := fmt.Errorf("[%s] failed to subscribe to %s:%s - %w", addr, topic, channel, cause)
		return connectFailure{error: subscribe, bare: subscribe}
	case link.OpAuth:
		return authFailure(addr, cause)
	}
	return connectFailure{error: fmt.Errorf("[%s] failed to connect - %w", addr, cause), bare: cause}
}

func identifyFailure(addr string, err ErrIdentify) connectFailure {
	return connectFailure{error: fmt.Errorf("[%s] %w", addr, err), bare: err}
}

// authFailure is a failed AUTH. go-nsq returns an error of the connection unwrapped. For
// a refusal, and for a missing secret, it has a text only.
func authFailure(addr string, cause error) connectFailure {
	failed := connectFailure{error: fmt.Errorf("[%s] failed to authenticate - %w", addr, cause), bare: cause}
	_, refused := errors.AsType[*ProtocolError](cause)
	if refused || errors.Is(cause, link.ErrAuthRequired) {
		failed.bare = failed.error
	}
	return failed
}

// errorText returns the text of an error for JSON, nil without an error. encoding/json
// would write the exported fields of the error's type, of which there are mostly none.
func errorText(err error) *string {
	if err == nil {
		return nil
	}
	text := err.Error()
	return &text
}
