package nsqpubsub

import (
	"errors"
	"net"

	"gocloud.dev/gcerrors"

	"github.com/rdyhq/nsq"
)

// codes maps the error codes of NSQ's protocol that say more than that something failed.
var codes = map[string]gcerrors.ErrorCode{
	"E_BAD_TOPIC":     gcerrors.InvalidArgument,
	"E_BAD_CHANNEL":   gcerrors.InvalidArgument,
	"E_BAD_BODY":      gcerrors.InvalidArgument,
	"E_BAD_MESSAGE":   gcerrors.InvalidArgument,
	"E_AUTH_FAILED":   gcerrors.PermissionDenied,
	"E_AUTH_FIRST":    gcerrors.PermissionDenied,
	"E_UNAUTHORIZED":  gcerrors.PermissionDenied,
	"E_AUTH_DISABLED": gcerrors.FailedPrecondition,
}

// errorCode returns the code that describes an error. nsqd creates topics and channels on
// first use. So all that cannot be found is the host of an nsqd or nsqlookupd.
func errorCode(err error) gcerrors.ErrorCode {
	if unknown, ok := errors.AsType[*net.DNSError](err); ok && unknown.IsNotFound {
		return gcerrors.NotFound
	}
	if refused, ok := errors.AsType[*nsq.ProtocolError](err); ok && codes[refused.Code] != 0 {
		return codes[refused.Code]
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok || errors.Is(err, errInvalidMetadata) {
		return gcerrors.InvalidArgument
	}
	if errors.Is(err, nsq.ErrStopped) || errors.Is(err, nsq.ErrTLSRefused) {
		return gcerrors.FailedPrecondition
	}
	return gcerrors.Code(err) // of the end of a context, otherwise Unknown
}

// permanent reports whether an error lasts until somebody does something about it.
func permanent(err error) bool {
	switch errorCode(err) {
	case gcerrors.NotFound, gcerrors.InvalidArgument, gcerrors.PermissionDenied, gcerrors.FailedPrecondition:
		return true
	default:
		return false
	}
}

// errorAs sets target to the first error of its type in err, and reports whether there is one.
func errorAs(err error, target any) bool {
	switch target.(type) {
	case **nsq.ProtocolError, *nsq.ErrIdentify, **nsq.StopError:
		return errors.As(err, target)
	}
	return false
}
