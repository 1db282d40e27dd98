// Package publishing decides what a failed publish means: whether nsqd may have
// stored the message, and whether it may be published again, over a new
// connection or to another nsqd. It also decides which nsqd of a pool is tried
// next.
//
// It is pure: facts go in, verdicts come out. It does no I/O, reads no clock, starts
// no goroutine and takes no lock. It never looks inside the errors of package nsq,
// which maps them to verdicts and back.
package publishing

import (
	"strings"

	"github.com/rdyhq/nsq/internal/wire"
)

// Verdict is what a failed publish means.
type Verdict uint8

// The verdicts. Each says first what nsqd has stored.
const (
	// Final: nothing is stored, and another nsqd would store nothing either.
	Final Verdict = iota
	// Content: nothing is stored, because nsqd does not accept one of the messages or
	// the total size. The other messages may be stored if they are published one by
	// one.
	Content
	// StoreFailed: nothing is stored, because nsqd could not. Another nsqd may.
	StoreFailed
	// NotSent: nothing is stored, because nsqd was sent nothing.
	NotSent
	// Lost: nothing is stored, because the connection ended before nsqd executed
	// the command.
	Lost
	// LostBehind: like Lost, but nsqd ended the connection because it refused an
	// earlier command, that of another publish, or the pack that the publish was in.
	LostBehind
	// StoredInPart: some of the first messages of an MPUB may be stored.
	StoredInPart
	// Unknown: the message may be stored.
	Unknown
)

// OfRefusal returns the verdict on a publish to which nsqd replied with an error.
func OfRefusal(e *wire.Error) Verdict {
	switch e.Code {
	case wire.BadMessage, wire.BadBody:
		return Content
	case wire.PubFailed, wire.DpubFailed:
		return StoreFailed
	case wire.MpubFailed:
		// Even "exiting" may come midway: nsqd's Topic.PutMessages stores one message after
		// the other, and a disk queue that closes meanwhile says the same as the topic.
		return StoredInPart
	}
	return Final
}

// OfPack returns the verdict on a publish that was packed into an MPUB with others, to which
// nsqd replied with an error. If the error may be about one of the others, or about MPUB
// itself, the verdict is LostBehind: each is published again, singly.
func OfPack(e *wire.Error) Verdict {
	switch e.Code {
	case wire.Invalid, wire.BadTopic, wire.BadBody, wire.BadMessage:
		return LostBehind
	}
	return OfRefusal(e)
}

// AsSingle returns what nsqd would have replied to a PUB where it replied to an MPUB that
// PUBs were packed into.
func AsSingle(e *wire.Error) *wire.Error {
	single := wire.Error{Code: e.Code, Desc: strings.Replace(e.Desc, wire.CmdMpub, wire.CmdPub, 1)}
	if e.Code == wire.MpubFailed {
		single.Code = wire.PubFailed
	}
	return &single
}

// OfLoss returns the verdict on a publish whose connection ended before nsqd replied.
// sent reports whether nsqd may have seen any of the command. last is the error frame
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

// endsExecution reports whether nsqd is known to execute no command after an error with
// this code. It executes the commands of a connection one after another, and after
// these errors it closes the connection without executing the rest. Of other codes
// nothing is known.
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

// MayBeStored reports whether nsqd may have stored any of the messages.
func (v Verdict) MayBeStored() bool { return v >= StoredInPart }

// RetryOnOther reports whether to try another nsqd: it may store the message, and nothing
// is stored twice.
func (v Verdict) RetryOnOther() bool { return v >= StoreFailed && v <= LostBehind }

// maxBehind is how many times a publish is tried again after nsqd ended the connection
// because of another publish. Each such loss gives one of the others its result, so the
// losses come to an end. But if every other publish is refused, this one must not wait
// for the last of them.
const maxBehind = 10

// Losses counts the connections that one publish has lost.
type Losses struct{ lost, behind int }

// Retry counts a failure and reports whether to try again over a new connection: once
// after Lost, and up to ten times after LostBehind. There is a limit so that an nsqd that
// closes every connection does not keep the client dialling.
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
