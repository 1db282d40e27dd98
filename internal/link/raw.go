package link

import (
	"net"
	"sync"

	"github.com/rdyhq/nsq/internal/wire"
)

// A FrameReceiver is a Receiver whose owner sends commands of its own with
// Append, and sees for itself what nsqd answers. Failed is not called then, and
// no error of nsqd's ends the link: nsqd does that.
type FrameReceiver interface {
	Receiver
	// Frame hands over a frame that is not a message, in the order of the wire.
	// A heartbeat has been answered already. The data is valid during the call
	// only.
	Frame(f wire.Frame)
}

// Append adds commands, whatever they are, to what is to be sent, with none of
// the link's own in between. It returns what to give Sent, and false if the link
// can send no more.
func (l *Link) Append(commands []byte) (end uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return l.queued, false
	}
	if len(commands) > 0 {
		before := l.pending.len
		l.pending.appendBytes(commands)
		l.appended(before)
	}
	return l.queued, true
}

// Sent waits until the socket has all that was appended up to end. The error
// says why it never will.
func (l *Link) Sent(end uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved == nil {
		l.moved = sync.NewCond(&l.mu)
	}
	for l.sent < end && !l.closing {
		l.moved.Wait()
	}
	switch {
	case l.sent >= end:
		return nil
	case l.err == nil:
		return &Error{Addr: l.cfg.Addr, Op: OpWrite, Err: net.ErrClosed}
	}
	return l.err
}

// signalProgress wakes those who wait in Sent. Callers hold the mutex.
func (l *Link) signalProgress() {
	if l.moved != nil {
		l.moved.Broadcast()
	}
}
