package link

import (
	"fmt"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// stragglerWait is how long a drain listens after CLOSE_WAIT for the one message
// that nsqd may still push: see drained. The message follows CLOSE_WAIT within
// microseconds, so this covers nsqd's scheduling, not the network.
const stragglerWait = 50 * time.Millisecond

// drainState is how far a drain has come. The link's mutex guards it. No flag is ever
// cleared.
type drainState struct {
	requested  bool // Drain was called: no publish is accepted any more
	abandoned  bool // Abandon was called
	listened   bool // stragglerWait is over; set at once if there is no topic
	halfClosed bool // the writer is done; the reader reads to EOF
}

// Drain begins a clean end of the link, and returns at once. It tells nsqd to send no
// more messages (CLS). The link closes, and Down gets a nil error, when nsqd has
// confirmed, every message is finished, requeued or given up, and every command has its
// reply.
//
// A drain has no time limit: it waits for the owner as long as messages are in
// flight, and for nsqd as long as replies are missing and nsqd sends heartbeats.
// An owner that cannot wait calls Close.
func (l *Link) Drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drain.requested || l.sealed {
		return
	}
	l.drain.requested = true
	if l.cfg.Topic == "" {
		l.drain.listened = true
		l.writerWake.Signal()
		return
	}
	l.awaited.push(awaitedReply{to: (*closeWait)(l), start: l.queued})
	l.appendCommand(wire.AppendCls(l.pending.reserve(lineSize)), nil)
}

// Abandon ends the link as Drain does, but waits only until all commands are sent: not
// for messages in flight, nor for nsqd's replies. An nsqd that takes nothing holds it
// up; an owner that cannot wait calls Close.
func (l *Link) Abandon() {
	l.mu.Lock()
	l.drain.abandoned = true
	l.mu.Unlock()
	l.writerWake.Signal()
}

// Flushed reports whether all commands have been sent.
func (l *Link) Flushed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent == l.queued
}

// Progress changes whenever nsqd takes bytes or says something, and when the owner sends
// something.
type Progress struct {
	queued, sent uint64
	awaited      int
}

// Progress returns the link's Progress so far. An owner that waits for a drain compares it
// with an earlier one to find out whether nsqd is alive.
func (l *Link) Progress() Progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Progress{queued: l.queued, sent: l.sent, awaited: l.awaited.len()}
}

// AwaitsCloseWait reports whether a drain waits for nothing but CLOSE_WAIT: no message is
// in flight, and all commands are sent. It also returns how many messages have arrived:
// as long as there are more, nsqd is alive.
func (l *Link) AwaitsCloseWait() (received uint64, waits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats.Received, l.drain.requested && l.straggler == nil && l.stats.InFlight <= 0 && l.sent == l.queued
}

// drained reports whether a drain has nothing left to wait for. The writer asks when
// pending is empty, and half-closes then. Callers hold the mutex.
//
// The race is with the reader, which may hold messages that are not in InFlight yet:
//
//  1. nsqd handles CLS and sends CLOSE_WAIT. Another of its goroutines may already have
//     chosen one more message. This straggler comes after CLOSE_WAIT.
//  2. The reader counts all messages before CLOSE_WAIT, and only then handles
//     CLOSE_WAIT (see handleFrames), which starts the timer that sets listened.
//  3. While the timer runs, the reader counts the straggler, and the drain waits for it.
//     Without the timer, the writer would half-close before the straggler came, and
//     what a handler does with the message would be lost.
//  4. If the straggler comes later still, reader and writer race for the mutex. If the
//     reader counts the straggler first, the drain waits. Otherwise the link refuses its
//     FIN and counts it as lost; nsqd delivers it again after the close.
func (l *Link) drained() bool {
	return l.drain.abandoned ||
		l.drain.requested && l.drain.listened && l.stats.InFlight <= 0 && l.awaited.len() == 0
}

// closeWait is the link as the Replier of CLS.
type closeWait Link

func (c *closeWait) Reply(data []byte, err error) {
	if err != nil {
		return // the link already ends for another reason
	}
	l := (*Link)(c)
	if string(data) != wire.CloseWait {
		l.fail(&Error{Addr: l.cfg.Addr, Op: OpClose, Err: fmt.Errorf("%w to CLS: %.200q", ErrUnexpectedReply, data)})
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.straggler = time.AfterFunc(stragglerWait, func() {
		l.mu.Lock()
		l.drain.listened = true
		l.mu.Unlock()
		l.writerWake.Signal()
	})
}
