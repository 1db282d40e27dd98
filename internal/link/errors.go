package link

import (
	"errors"
	"fmt"

	"github.com/rdyhq/nsq/internal/wire"
)

// What a link was doing when it failed: see [Error].
const (
	OpDial     = "dial"
	OpIdentify = "IDENTIFY"
	OpTLS      = "TLS"
	OpSnappy   = "snappy"
	OpDeflate  = "deflate"
	OpAuth     = "AUTH"
	OpSub      = "SUB"
	OpRead     = "read"
	OpWrite    = "write"
	OpClose    = "close"
)

var (
	// ErrHandshakeTimeout says that the handshake exceeded HandshakeTimeout.
	ErrHandshakeTimeout = errors.New("handshake timed out")
	// ErrUnexpectedReply says that nsqd sent a reply that no command awaits, or one
	// that does not fit the command.
	ErrUnexpectedReply = errors.New("unexpected reply")
	// ErrUnexpectedMessage says that nsqd sent a message to a link that does not
	// subscribe.
	ErrUnexpectedMessage = errors.New("message without a subscription")
	// ErrAuthRequired says that nsqd asks for AUTH and the Config has no secret.
	ErrAuthRequired = errors.New("auth required")

	// ErrBeyondRDY says that nsqd ignores RDY. See [Link.EnforceRDY].
	ErrBeyondRDY = errors.New("nsqd sends more messages than RDY allows")

	// ErrTLSRefused says that nsqd does not offer the TLS that the Config asks for.
	ErrTLSRefused = errors.New("nsqd does not offer TLS")

	errNoEOF = errors.New("nsqd did not close the connection")
)

// Error says what failed on which connection. If nsqd sent an error, Err is that
// *wire.Error.
type Error struct {
	Addr string
	Op   string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("[%s] %s: %v", e.Addr, e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// PackedError is what the [Replier] of a PUB gets if nsqd refused the MPUB into which the PUB
// was packed together with others.
type PackedError struct{ Err *wire.Error }

func (e *PackedError) Error() string { return e.Err.Error() }

// Unwrap returns nsqd's error.
func (e *PackedError) Unwrap() error { return e.Err }

// UnansweredError is what a [Replier] gets when the link ended before nsqd replied.
type UnansweredError struct {
	Addr string
	Sent bool  // nsqd may have seen the command, or a part of it
	Err  error // why the link ended; net.ErrClosed if it was closed without a reason
}

func (e *UnansweredError) Error() string {
	if e.Sent {
		return fmt.Sprintf("[%s] no reply: %v", e.Addr, e.Err)
	}
	return fmt.Sprintf("[%s] not sent: %v", e.Addr, e.Err)
}

// Unwrap returns the cause.
func (e *UnansweredError) Unwrap() error { return e.Err }
