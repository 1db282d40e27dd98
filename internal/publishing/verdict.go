// Package publishing decides what a failed publish means: whether nsqd may have
// stored the message, and whether it may be published again, over a new
// connection or to another nsqd. It also decides which nsqd of a pool is tried
// next.
//
// It is pure: facts go in, verdicts come out. It does no I/O, reads no clock,
// starts nothing and takes no lock. Errors pass through it unseen; package nsq
// maps its own errors to verdicts and back.
package publishing

import "github.com/rdyhq/nsq/internal/wire"

// Verdict is what a failed publish means.
type Verdict uint8

// The verdicts. Each says first what nsqd has stored.
const (
	// Final: nothing is stored, and another nsqd would store nothing either.
	Final Verdict = iota
	// Content: nothing is stored, because one of the messages or the size of the
	// whole is not accepted. The other messages may be stored if published one by
	// one.
	Content
	// StoreFailed: nothing is stored, because nsqd could not. Another nsqd may.
	StoreFailed
	// NotSent: nothing is stored, because nsqd was sent nothing.
	NotSent
	// Lost: nothing is stored, because the connection ended before nsqd executed
	// the command.
	Lost
	// LostBehind: like Lost; nsqd ended the connection because it refused a
	// command of another publish, which came before this one.
	LostBehind
	// StoredInPart: the first messages of an MPUB are stored, perhaps none.
	StoredInPart
	// Unknown: the message may be stored.
	Unknown
)

// exiting is how nsqd 1.3.0 describes that it refuses an MPUB because the topic,
// or nsqd itself, is exiting: protocol_v2.go sends "MPUB failed " and the error of
// Topic.PutMessages, which is "exiting" if that returns before the first message.
// Any other description is an error of the storage, between two messages.
const exiting = "MPUB failed exiting"

// OfRefusal returns what it means that nsqd replied with an error.
func OfRefusal(e *wire.Error) Verdict {
	switch e.Code {
	case wire.BadMessage, wire.BadBody:
		return Content
	case wire.PubFailed, wire.DpubFailed:
		return StoreFailed
	case wire.MpubFailed:
		if e.Desc == exiting {
			return StoreFailed
		}
		return StoredInPart
	}
	return Final
}

// OfLoss returns what it means that the connection ended before nsqd replied. sent
// reports whether nsqd may have seen any of the command. last is the error frame
// after which the connection ended, nil if there was none.
func OfLoss(sent bool, last *wire.Error) Verdict {
	switch {
	case sent && (last == nil || !endsExecution(last.Code)):
		return Unknown
	case last == nil || storeFailed(last.Code):
		return Lost
	}
	return LostBehind
}

// endsExecution reports whether nsqd is known to execute nothing after an error of
// this code. It executes the commands of a connection one after the other, and
// after these errors it closes the connection, whatever else it was sent. Of codes
// that are not known here nothing is known.
func endsExecution(code wire.Code) bool {
	switch code {
	case wire.Invalid, wire.BadTopic, wire.BadBody, wire.BadMessage,
		wire.AuthFirst, wire.AuthFailed, wire.Unauthorized:
		return true
	}
	return storeFailed(code)
}

// storeFailed reports whether nsqd refused a publish for a reason of its own.
func storeFailed(code wire.Code) bool {
	return code == wire.PubFailed || code == wire.MpubFailed || code == wire.DpubFailed
}

// MayBeStored reports whether nsqd may have stored any of it.
func (v Verdict) MayBeStored() bool { return v >= StoredInPart }

// RetryOnOther reports whether another nsqd may be tried without storing anything
// twice, and with hope.
func (v Verdict) RetryOnOther() bool { return v >= StoreFailed && v <= LostBehind }

// maxBehind is how many lost connections a publish survives that ended because
// nsqd refused another publish. Each loss gives one of those other publishes its
// result, so the losses end; but if every publish is refused this one must not
// wait for the last.
const maxBehind = 10

// Losses counts the connections that one publish has lost.
type Losses struct{ lost, behind int }

// Retry counts a failure and reports whether the publish is tried again over a new
// connection: after the first connection that was lost, and after up to ten that
// nsqd ended because of another publish. An nsqd that closes every connection must
// not keep the client dialling.
func (l *Losses) Retry(v Verdict) bool {
	switch v {
	case Lost:
		l.lost++
	case LostBehind:
		l.behind++
	default:
		return false
	}
	return l.lost < 2 && l.behind <= maxBehind
}
