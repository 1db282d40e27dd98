package nsq

import (
	"errors"
	"io"
	"slices"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// dialFailure returns how a dial failed, given the error of link.Dial.
func dialFailure(err error) fleet.Failure {
	failed, _ := errors.AsType[*link.Error](err)
	_, said := errors.AsType[*wire.Error](err)
	switch {
	case failed == nil:
		return fleet.Unreachable
	case failed.Op == link.OpDial && isAny(err, connRefused):
		return fleet.NotListening
	case errors.Is(err, link.ErrHandshakeTimeout):
		return fleet.Hung
	case said || failed.Op == link.OpTLS || failed.Op == link.OpAuth:
		return fleet.Refused
	}
	return fleet.Unreachable
}

// connLoss returns how a connection ended, given the error with which the link calls
// Down. An nsqd that closes a connection resets it if it has not read all our commands,
// and layers above the socket report an EOF as unexpected. If nsqd has first said why,
// with an error frame, the reason is not that it removes the topic.
func connLoss(err error) fleet.Loss {
	if errors.Is(err, link.ErrBeyondRDY) {
		return fleet.Violated
	}
	if _, said := errors.AsType[*wire.Error](err); said {
		return fleet.Broken
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isAny(err, connReset) {
		return fleet.ClosedByNSQD
	}
	return fleet.Broken
}

// isAny reports whether err is one of several errors.
func isAny(err error, targets []error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
