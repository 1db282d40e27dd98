package nsq

import (
	"errors"
	"fmt"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/publishing"
	"github.com/rdyhq/nsq/internal/wire"
)

// This file maps errors to the verdicts of package publishing, and back.

// lostError says that a connection ended before nsqd executed a command. The
// verdict is Lost or LostBehind: the command may be sent over a new connection.
type lostError struct {
	error
	verdict publishing.Verdict
}

func (e lostError) Unwrap() error { return e.error }

// packFailure is the error of a publish that was packed with others into an MPUB that failed
// midway.
type packFailure struct {
	error
	single ErrProtocol // nsqd's reply, as if to a publish by itself
}

func (e packFailure) Unwrap() error { return e.error }

// isPacked reports whether err is nsqd's refusal of a pack.
func isPacked(err error) bool {
	_, packed := errors.AsType[*link.PackedError](err)
	return packed
}

// publishError returns the error of a publish for its caller. err is the error that
// replied returned.
func publishError(addr, topic string, err error) error {
	if err == nil {
		return nil
	}
	refusal, _ := errors.AsType[*wire.Error](err) // nil if there is none
	unanswered, lost := errors.AsType[*link.UnansweredError](err)
	verdict := publishing.Unknown // what nsqd sent is no reply to a publish
	switch {
	case lost:
		verdict = publishing.OfLoss(unanswered.Sent, refusal)
	case isPacked(err):
		verdict = publishing.OfPack(refusal)
		single := ErrProtocol{Reason: publishing.AsSingle(refusal).Text()}
		if verdict == publishing.Final {
			return single
		}
		if verdict.MayBeStored() {
			return packFailure{error: unknownOutcome(addr, topic, reason(err)), single: single}
		}
	case refusal != nil:
		return ErrProtocol{Reason: refusal.Text()}
	}
	if verdict.MayBeStored() {
		return unknownOutcome(addr, topic, reason(err))
	}
	notSent := fmt.Errorf("[%s] publish to %q: %w: %w", addr, topic, ErrNotSent, reason(err))
	return lostError{error: notSent, verdict: verdict}
}

// unknownOutcome returns the error of a publish that nsqd may have stored.
func unknownOutcome(addr, topic string, cause error) error {
	return fmt.Errorf("[%s] publish to %q: %w: %w", addr, topic, ErrUnknownOutcome, cause)
}

// asGoNSQ returns the error that go-nsq returns for a failed publish. err is the error of
// a publish, which names the reason.
//
// go-nsq has no error for a publish that finds no room: there it blocks. That error stays
// as it is.
func asGoNSQ(err error) error {
	if err == nil {
		return nil
	}
	if invalid, ok := errors.AsType[*invalidError](err); ok {
		return ErrProtocol{Reason: invalid.reply}
	}
	if failed, ok := errors.AsType[packFailure](err); ok {
		return failed.single
	}
	switch _, wasConnected := errors.AsType[lostError](err); {
	case errors.Is(err, ErrStopped):
		return ErrStopped
	case errors.Is(err, errNoRoom):
		return err
	case wasConnected, errors.Is(err, ErrUnknownOutcome):
		return ErrNotConnected
	}
	if failed, ok := errors.AsType[connectFailure](err); ok {
		return failed.bare
	}
	if errors.Is(err, ErrNotConnected) {
		return ErrNotConnected
	}
	if refused, ok := errors.AsType[ErrProtocol](err); ok { // a pool joins those of its nsqds
		return refused
	}
	return err
}

// verdictOf returns the verdict on a publish that failed with err. err comes from this
// package or from a user's own Publisher.
func verdictOf(err error) publishing.Verdict {
	switch {
	case errors.Is(err, ErrUnknownOutcome):
		return publishing.Unknown
	case errors.Is(err, ErrNotSent):
		return publishing.NotSent
	}
	if invalid, ok := errors.AsType[*invalidError](err); ok && invalid.content {
		return publishing.Content
	}
	refusal, ok := errors.AsType[*ProtocolError](err)
	if !ok || errors.Is(err, ErrNotConnected) { // nsqd refused something else, such as IDENTIFY
		return publishing.Final
	}
	return publishing.OfRefusal(&wire.Error{Code: wire.Code(refusal.Code), Desc: refusal.Desc})
}

// retryLost calls try again while it fails with a lostError, as often as
// publishing.Losses allows. If the last try sent nothing either, the error also says
// how the connection before it was lost.
func retryLost(try func() error) error {
	var losses publishing.Losses
	var before error
	for {
		err := try()
		if err == nil {
			return nil
		}
		if lost, ok := errors.AsType[lostError](err); ok && losses.Retry(lost.verdict) {
			before = err
			continue
		}
		if before != nil && (errors.Is(err, ErrNotSent) || errors.Is(err, ErrStopped)) {
			return fmt.Errorf("%w; then: %w", before, err)
		}
		return err
	}
}
