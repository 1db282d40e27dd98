package link

import (
	"errors"
	"net"
	"time"
)

// lingerTimeout is how long the link waits for nsqd's last words: its EOF after our
// half-close, or its error frame after a failed Write.
const lingerTimeout = time.Second

// A link ends in this order, whatever ends it:
//
//  1. A drain half-closes, or a Write fails, or fail is called. Each sets sealed:
//     no command is accepted any more.
//  2. fail sets closing and the reason, wakes the writer, and closes the socket. That
//     ends the Read and the Write that are under way. Only the first fail does so.
//  3. Each loop ends, and calls loopEnded.
//  4. The loop that ends last waits until the socket is closed, stops the timers, closes
//     the accounts, and tells the remaining Repliers and then the receiver.

// Close ends the link now. What was not sent stays unsent. Down is given the reason,
// unless the link has already ended for another. If the link was never started, Down is
// not called.
func (l *Link) Close(reason error) {
	if reason != nil {
		reason = &Error{Addr: l.cfg.Addr, Op: OpClose, Err: reason}
	}
	l.fail(reason)
}

// fail ends both loops. The first call decides the reason; nil means a clean end.
func (l *Link) fail(err error) {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return
	}
	l.closing, l.sealed, l.err = true, true, err
	l.signalProgress()
	l.mu.Unlock()
	l.writerWake.Signal()
	_ = l.conn.Close() // ends a Read and a Write
}

// failAfterLinger accepts no further command, and ends the link after lingerTimeout
// unless the reader ends it sooner. The writer calls it once, as its last step, so
// loopEnded finds the timer and stops it.
func (l *Link) failAfterLinger(err error) {
	l.mu.Lock()
	l.sealed = true
	l.signalProgress() // the reader may wait for the writer
	l.linger = time.AfterFunc(lingerTimeout, func() { l.fail(err) })
	l.mu.Unlock()
}

// halfClose ends the stream of commands; the reader reads on to nsqd's EOF. If the
// link closed the socket at once, with input unread, the kernel would reset the
// connection, and a reset can overtake the last FINs.
func (l *Link) halfClose() {
	err := l.out.CloseWrite()
	switch {
	case err == nil:
		l.failAfterLinger(&Error{Addr: l.cfg.Addr, Op: OpClose, Err: errNoEOF})
	case errors.Is(err, errors.ErrUnsupported):
		l.fail(nil)
	default: // the connection is lost, and perhaps the last FINs with it
		l.fail(&Error{Addr: l.cfg.Addr, Op: OpClose, Err: err})
	}
}

// loopEnded is the last call of each loop. The later one completes the end.
//
// The reader never ends before some goroutine has called fail. That goroutine may not
// have closed the socket yet. conn.Close closes it here, or waits until the other has.
// So the socket is closed before Down is called.
func (l *Link) loopEnded() {
	if l.running.Add(-1) > 0 {
		return
	}
	_ = l.conn.Close()
	l.mu.Lock()
	err, sent := l.err, l.sent
	unanswered := l.awaited.takeAll()
	l.closeAccounts()
	for _, t := range []*time.Timer{l.linger, l.straggler} {
		if t != nil {
			t.Stop()
		}
	}
	l.mu.Unlock()
	cause := err
	if cause == nil {
		cause = net.ErrClosed
	}
	l.tellEnd(unanswered, func(w awaitedReply) {
		w.to.Reply(nil, &UnansweredError{Addr: l.cfg.Addr, Sent: w.start < sent, Err: cause})
	}, err)
}

// tellEnd tells the remaining Repliers, and then the receiver, that the link has ended. If
// a Replier ends the goroutine by runtime.Goexit, a new goroutine tells the rest.
func (l *Link) tellEnd(unanswered []awaitedReply, tell func(awaitedReply), err error) {
	told := false
	defer func() {
		if !told {
			go l.tellEnd(unanswered, tell, err)
		}
	}()
	for len(unanswered) > 0 {
		w := unanswered[0]
		unanswered = unanswered[1:]
		tell(w)
	}
	told = true
	l.receiver.Down(err)
}
