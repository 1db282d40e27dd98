package link

import (
	"fmt"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// drainState is how far a graceful end has come.
type drainState struct {
	asked      bool // Drain was called
	abandoned  bool // Abandon was called
	listened   bool // CLOSE_WAIT came, and the straggler had its time
	halfClosed bool // we send no more; the reader reads to EOF
}

// Drain ends the link in good order, and returns at once. nsqd is told to send
// no more messages (CLS); when it has confirmed, every message is answered and
// every command has its reply, the link closes and Down gets a nil error.
//
// A drain takes as long as messages stay unanswered, by the owner, or commands
// by an nsqd that still sends heartbeats. An owner that cannot wait calls Close.
func (l *Link) Drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drain.asked || l.ended {
		return
	}
	l.drain.asked = true
	if l.cfg.Topic == "" {
		l.drain.listened = true
		l.writerWake.Signal()
		return
	}
	l.replies.push(awaitedReply{to: (*closeWait)(l), start: l.queued})
	l.appendCommand(wire.AppendCls(l.pending.reserve(lineRoom)), nil)
}

// Abandon ends the link as Drain does, but waits for nothing except that what
// was appended is sent: neither for answers nor for nsqd's. An nsqd that takes
// nothing holds it up, so that its owner has to call Close some time later.
func (l *Link) Abandon() {
	l.mu.Lock()
	l.drain.abandoned = true
	l.mu.Unlock()
	l.writerWake.Signal()
}

// Flushed tells whether everything that was appended has been sent.
func (l *Link) Flushed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent == l.queued
}

// drained tells whether a drain has nothing left to wait for but the writer.
func (l *Link) drained() bool {
	return l.drain.abandoned ||
		l.drain.asked && l.drain.listened && l.stats.InFlight <= 0 && l.replies.len() == 0
}

// closeWait is the link as the receiver of CLOSE_WAIT.
type closeWait Link

func (c *closeWait) Reply(data []byte, err error) {
	if err != nil {
		return // the link is ending another way
	}
	l := (*Link)(c)
	if string(data) != wire.CloseWait {
		l.fail(&Error{Addr: l.cfg.Addr, Op: OpClose, Err: fmt.Errorf("%w to CLS: %q", ErrUnexpectedReply, data)})
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timers[1] = time.AfterFunc(stragglerWait, func() {
		l.mu.Lock()
		l.drain.listened = true
		l.mu.Unlock()
		l.writerWake.Signal()
	})
}
