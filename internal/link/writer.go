package link

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// lingerTimeout bounds the wait for nsqd's last words: its EOF after our
	// half-close, its error frame after a write that failed.
	lingerTimeout = time.Second
	// stragglerWait is how long a link that would be done keeps listening
	// after CLOSE_WAIT: nsqd may still push the one message that it was about
	// to send when CLS came. It follows CLOSE_WAIT within microseconds, so this
	// covers nsqd's scheduling, not the network.
	stragglerWait = 50 * time.Millisecond
	// lineRoom is room for a command without a body, or the line of one with
	// it: two names and two numbers at most.
	lineRoom = 256
)

// writeLoop sends what gathered, until the link ends.
func (l *Link) writeLoop() {
	defer l.loopEnded()
	var out [][]byte
	for {
		var done bool
		if out, done = l.takePending(out[:0]); done {
			l.halfClose()
			return
		}
		if len(out) == 0 {
			return
		}
		for i, chunk := range out {
			n, err := l.out.Write(chunk)
			if err != nil {
				l.countWritten(n, out[i:])
				l.writeFailed(err)
				return
			}
			l.countWritten(n, nil)
			releaseChunk(chunk)
			out[i] = nil
		}
	}
}

// takePending waits for commands and takes all there are, giving an empty list in
// exchange. It returns none when the link has ended, and done when everything a
// drain waits for has happened.
//
// A writer that was woken lets others run first: whoever woke it is seldom alone
// in having something to send.
func (l *Link) takePending(empty [][]byte) (out [][]byte, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for woken := false; ; {
		switch {
		case l.closing:
			return nil, false
		case l.pending.len > 0 && woken:
			woken = false
			l.mu.Unlock()
			runtime.Gosched()
			l.mu.Lock()
		case l.pending.len > 0:
			out = l.pending.takeAll(empty)
			l.stats.Writes += uint64(len(out))
			return out, false
		case l.drained():
			l.drain.halfClosed, l.ended = true, true
			return nil, true
		default:
			l.writerWake.Wait()
			woken = true
		}
	}
}

// countWritten notes that the socket has n more bytes. If that is not all of what was
// taken the rest, from the command on of which it has only a part, will never be
// sent.
func (l *Link) countWritten(n int, rest [][]byte) {
	l.mu.Lock()
	l.sent += uint64(n) // #nosec G115 -- not negative
	if len(rest) > 0 {
		rest[0] = rest[0][bytes.LastIndexByte(rest[0][:n], '\n')+1:]
		l.unsent = rest
	}
	l.signalProgress()
	l.mu.Unlock()
}

// writeFailed ends the link. If nsqd refused a command while the rest of it
// was still on its way, the write fails and the reason stands unread in the
// socket: the reader gets a moment to find it. A peer that takes nothing will
// not say anything either.
func (l *Link) writeFailed(err error) {
	failure := &Error{Addr: l.cfg.Addr, Op: OpWrite, Err: err}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		l.fail(failure)
		return
	}
	l.failAfterLinger(failure)
}

// halfClose ends the stream of commands and leaves the reader to read to
// nsqd's EOF: closing a socket with unread input would make the kernel reset
// the connection, and a reset can overtake the last FINs.
func (l *Link) halfClose() {
	err := l.out.CloseWrite()
	switch {
	case err == nil:
		l.failAfterLinger(&Error{Addr: l.cfg.Addr, Op: OpClose, Err: errNoEOF})
	case errors.Is(err, errors.ErrUnsupported):
		l.fail(nil)
	default: // the connection is gone, and perhaps the last FINs with it
		l.fail(&Error{Addr: l.cfg.Addr, Op: OpClose, Err: err})
	}
}

// failAfterLinger refuses further commands now and ends the link after a moment,
// unless the reader comes to its own end before.
func (l *Link) failAfterLinger(err error) {
	l.mu.Lock()
	l.ended = true
	if !l.closing {
		l.timers[0] = time.AfterFunc(lingerTimeout, func() { l.fail(err) })
	}
	l.mu.Unlock()
}

// send appends a command that has no answer. It reports false when the link
// can send no more.
func (l *Link) send(appendTo func([]byte) []byte) bool {
	l.mu.Lock()
	ok := !l.ended
	if ok {
		l.appendCommand(appendTo(l.pending.reserve(lineRoom)), nil)
	}
	l.mu.Unlock()
	return ok
}

// appendCommand makes grown, which is the pending room with a line appended, pending, and
// the bodies that follow it. Whoever is the first to wakes the writer; the others
// need not.
func (l *Link) appendCommand(grown []byte, body []byte) {
	before := l.pending.len
	l.pending.commit(grown)
	l.pending.appendBytes(body)
	l.appended(before)
}

// appended is what follows from something having been appended.
func (l *Link) appended(before int) {
	l.queued += uint64(l.pending.len - before) // #nosec G115 -- it has grown
	if before == 0 {
		l.writerWake.Signal()
	}
}

// Rdy lets nsqd have up to n messages in flight on this link.
func (l *Link) Rdy(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.stats.RDY = n
	l.appendCommand(wire.AppendRdy(l.pending.reserve(lineRoom), n), nil)
	return true
}

// Fin answers a message: it is done. False says that the link has ended and
// nsqd will not hear of it. The caller answers each message once.
func (l *Link) Fin(id *wire.ID) bool {
	return l.sendOutcome(&l.stats.Finished, func(b []byte) []byte { return wire.AppendFin(b, id) })
}

// Fins answers several messages as Fin does one.
func (l *Link) Fins(ids []wire.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.dead:
	case l.ended:
		l.stats.InFlight -= len(ids)
		l.stats.Lost += uint64(len(ids))
	default:
		l.stats.InFlight -= len(ids)
		l.stats.Finished += uint64(len(ids))
		before := l.pending.len
		for i := range ids {
			l.pending.commit(wire.AppendFin(l.pending.reserve(lineRoom), &ids[i]))
		}
		l.appended(before)
	}
}

// Req answers a message: it is to be delivered again after a delay. The result
// is that of Fin. The caller answers each message once.
func (l *Link) Req(id *wire.ID, delay time.Duration) bool {
	return l.sendOutcome(&l.stats.Requeued, func(b []byte) []byte { return wire.AppendReq(b, id, delay.Milliseconds()) })
}

// sendOutcome appends the sendOutcome to a message and counts it, as lost if it cannot be
// sent any more.
func (l *Link) sendOutcome(count *uint64, appendTo func([]byte) []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.dead: // it was counted as lost when the link ended
		return false
	case l.ended:
		l.countOutcome(&l.stats.Lost)
		return false
	}
	l.countOutcome(count)
	l.appendCommand(appendTo(l.pending.reserve(lineRoom)), nil)
	return true
}

// Expire gives up a message that nobody has begun to work on: nothing is sent.
func (l *Link) Expire() { l.giveUp(&l.stats.Expired) }

// Lose gives up a message that was begun and not answered in time.
func (l *Link) Lose() { l.giveUp(&l.stats.Lost) }

func (l *Link) giveUp(count *uint64) {
	l.mu.Lock()
	if !l.dead {
		l.countOutcome(count)
	}
	l.mu.Unlock()
	l.writerWake.Signal() // a drain may have waited for it
}

// countOutcome says what became of one of the messages in flight.
func (l *Link) countOutcome(count *uint64) {
	l.stats.InFlight--
	*count++
}

// closeAccounts closes the accounts of a link that ends: answers that were not sent
// are lost, and so are messages without one.
func (l *Link) closeAccounts() {
	for _, rest := range append(l.unsent, l.pending.takeAll(nil)...) {
		if l.cfg.Topic == "" {
			break // it has no answers, but bodies that may look like some
		}
		for line := range bytes.Lines(rest) {
			switch {
			case bytes.HasPrefix(line, []byte(wire.CmdFin+" ")):
				l.stats.Finished--
				l.stats.Lost++
			case bytes.HasPrefix(line, []byte(wire.CmdReq+" ")):
				l.stats.Requeued--
				l.stats.Lost++
			}
		}
	}
	l.stats.Lost += uint64(max(l.stats.InFlight, 0)) // #nosec G115 -- not negative
	l.stats.InFlight = 0
	l.unsent, l.dead = nil, true
}

// Touch asks nsqd for more time for a message.
func (l *Link) Touch(id *wire.ID) bool {
	return l.send(func(b []byte) []byte { return wire.AppendTouch(b, id) })
}

// Nop sends a command that does nothing.
func (l *Link) Nop() bool { return l.send(wire.AppendNop) }

// Pub publishes one message. False says that the link can send no more and
// that to will not be called.
func (l *Link) Pub(topic string, body []byte, to Replier) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.expectReply(to) {
		return false
	}
	l.appendCommand(wire.AppendPubHead(l.pending.reserve(lineRoom), topic, len(body)), body)
	return true
}

// Dpub publishes one message that nsqd keeps back for a delay, as Pub does one.
func (l *Link) Dpub(topic string, delay time.Duration, body []byte, to Replier) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.expectReply(to) {
		return false
	}
	l.appendCommand(wire.AppendDpubHead(l.pending.reserve(lineRoom), topic, delay.Milliseconds(), len(body)), body)
	return true
}

// Mpub publishes several messages of one topic, as Pub does one.
func (l *Link) Mpub(topic string, bodies [][]byte, to Replier) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.expectReply(to) {
		return false
	}
	before := l.pending.len
	l.pending.commit(wire.AppendMpubHead(l.pending.reserve(lineRoom), topic, bodies))
	for _, body := range bodies {
		l.pending.commit(wire.AppendBodyHead(l.pending.reserve(lineRoom), len(body)))
		l.pending.appendBytes(body)
	}
	l.appended(before)
	return true
}

// expectReply makes somebody wait for the answer to the command that comes next, if the
// link takes one. Callers hold the mutex.
func (l *Link) expectReply(to Replier) bool {
	if l.ended || l.drain.asked {
		return false
	}
	l.replies.push(awaitedReply{to: to, start: l.queued})
	return true
}
