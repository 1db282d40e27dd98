package link

import (
	"net"
	"sync"

	"github.com/rdyhq/nsq/internal/wire"
)

// A FrameReceiver is a Receiver whose owner sends commands of its own with Append
// and sees nsqd's replies itself. Its Failed is not called, and an error from nsqd
// does not end the link: nsqd closes the connection.
type FrameReceiver interface {
	Receiver
	// Frame hands over a frame that is not a message, in the order of the wire. For
	// a heartbeat the link has already sent the NOP. The data is valid during the
	// call only.
	Frame(f wire.Frame)
}

// Append appends any commands in one piece: no other command gets in between. It
// returns the position to pass to Sent. ok is false if the link accepts no more
// commands.
func (l *Link) Append(commands []byte) (end uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed {
		return l.queued, false
	}
	if len(commands) > 0 {
		before := l.pending.len
		l.pending.appendBytes(commands)
		l.appended(before)
	}
	return l.queued, true
}

// Sent waits until the socket has taken everything that was appended up to end. If it
// never will, the error says why.
func (l *Link) Sent(end uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.sent < end && !l.closing {
		l.waitProgress()
	}
	switch {
	case l.sent >= end:
		return nil
	case l.err == nil:
		return &Error{Addr: l.cfg.Addr, Op: OpWrite, Err: net.ErrClosed}
	}
	return l.err
}

// waitProgress waits for signalProgress. Callers hold the mutex.
func (l *Link) waitProgress() {
	if l.progress == nil {
		l.progress = sync.NewCond(&l.mu)
	}
	l.progress.Wait()
}

// signalProgress wakes the callers of waitProgress: the socket has taken more, or will
// take no more. Callers hold the mutex.
func (l *Link) signalProgress() {
	if l.progress != nil {
		l.progress.Broadcast()
	}
}
