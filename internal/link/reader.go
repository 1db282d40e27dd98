package link

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// readLoop reads until the link ends. It waits for the socket, and while too much of what
// it has read is left to do: see awaitBacklog and awaitRoom.
func (l *Link) readLoop() {
	// A Replier may call runtime.Goexit, which ends this goroutine. So may a Borrower. The
	// deferred function then starts another one, which goes on after the frame that the
	// Replier was told, or after the loan.
	over := false
	var loan Loan // the one that has begun and, as far as is known here, not ended
	defer func() {
		switch {
		case over:
			l.loopEnded()
		case loan != 0 && !l.endLoan(loan): // recalled: another goroutine reads
		default:
			go l.readLoop()
		}
	}()
	var batch []wire.Message
	for {
		err := l.handleFrames(&batch)
		if err == nil && l.borrower != nil && l.borrower.Borrows() {
			loan = l.beginLoan()
			l.borrower.Work(loan)
			if !l.endLoan(loan) {
				return
			}
			loan = 0
		}
		if err == nil {
			l.awaitBacklog()
			l.awaitRoom()
			err = l.in.fill()
			now := time.Now()
			l.noteRead(now, now.Sub(l.readAt))
			l.readAt = now
		}
		if err != nil {
			l.readFailed(err)
			over = true
			return
		}
	}
}

// handleFrames handles every whole frame in the buffer. It gathers messages, and passes
// them on before it handles a reply: the receiver is told everything in the order of
// the wire, and a drain relies on that (see drained).
func (l *Link) handleFrames(batch *[]wire.Message) error {
	defer l.passOn(batch)
	beat := false
	defer func() {
		if beat {
			l.Nop() // one for all heartbeats of a read
		}
	}()
	for frames := 0; ; frames++ {
		f, err := l.in.nextFrame()
		switch {
		case errors.Is(err, wire.ErrShort):
			return nil
		case err != nil:
			if err := l.handleOutsized(err, batch); err != nil {
				return err
			}
		case f.Type == wire.FrameMessage:
			m, err := wire.ParseMessage(f.Data)
			if err != nil {
				return err
			}
			if !m.ID.Printable() {
				return oddID(m.ID)
			}
			*batch = append(*batch, m)
		case f.IsHeartbeat():
			beat = true
			if frames == 0 { // the link is quiet: release the memory that a busy one needs
				l.in.shrink()
				*batch, l.replied = nil, nil
			}
			if l.frames != nil {
				l.passOn(batch)
				l.frames.Frame(f)
			}
		default:
			l.passOn(batch)
			if err := l.handleReply(f); err != nil {
				return err
			}
		}
	}
}

// handleOutsized handles a message that is not parsed in place: nextFrame returns such
// a message as its error. handleOutsized returns any other error.
func (l *Link) handleOutsized(err error, batch *[]wire.Message) error {
	if m, ok := errors.AsType[*largeMessage](err); ok {
		*batch = append(*batch, m.message)
		return nil
	}
	m, ok := errors.AsType[*oversizeMessage](err)
	if !ok {
		return err
	}
	l.passOn(batch)
	if l.countReceived(1, 0) {
		l.receiver.TooBig(m.message, m.size)
	}
	return nil
}

// passOn counts the messages of batch, gives them to the receiver, and empties
// batch. They are counted first: the receiver may finish them at once. If nsqd should not
// have sent them, the link ends, and they are dropped.
func (l *Link) passOn(batch *[]wire.Message) {
	if len(*batch) == 0 {
		return
	}
	bytes := 0
	for i := range *batch {
		bytes += len((*batch)[i].Body)
	}
	if l.countReceived(len(*batch), bytes) {
		l.receiver.Messages(*batch)
	}
	clear(*batch) // their bodies would keep the read buffer alive
	*batch = (*batch)[:0]
}

// countReceived counts messages that have arrived, and their bodies. It reports false,
// and ends the link, if nsqd has more in flight than it may.
func (l *Link) countReceived(messages, bytes int) bool {
	now := time.Now()
	l.mu.Lock()
	l.stats.Received += uint64(messages) // #nosec G115 -- positive
	l.stats.Bytes += uint64(bytes)       // #nosec G115 -- not negative
	l.stats.InFlight += messages
	l.stats.Peak = max(l.stats.Peak, l.stats.InFlight)
	l.stats.LastMessage = now
	err := l.checkRDY(now, messages)
	l.mu.Unlock()
	if err != nil {
		l.fail(err)
	}
	return err == nil
}

// handleReply handles a response or an error. Replies come in the order of the
// commands. FIN, REQ and TOUCH get no reply. If nsqd refuses one of them, its error
// comes somewhere between the replies to other commands.
func (l *Link) handleReply(f wire.Frame) error {
	if l.frames != nil {
		l.frames.Frame(f)
		return nil
	}
	if f.Type == wire.FrameError {
		e := wire.ParseError(f.Data)
		if !e.Code.Fatal() {
			l.receiver.Failed(e)
			return nil
		}
		// nsqd refuses the oldest command that has no reply yet, and closes.
		if commands := l.popAwaited(false); len(commands) > 1 {
			reply(commands, nil, &PackedError{Err: e})
		} else {
			reply(commands, nil, e)
		}
		return e
	}
	commands := l.popAwaited(true)
	if len(commands) == 0 {
		return fmt.Errorf("%w: %.200q", ErrUnexpectedReply, f.Data)
	}
	reply(commands, f.Data, nil)
	clear(commands)
	return nil
}

// popAwaited removes the oldest command that has no reply yet, with the PUBs that were packed
// into it. accepted says that nsqd accepts it. The result is valid until the next call. It is
// empty if there is no such command, or if the writer has not even taken it: a reply cannot
// be for a command that nsqd cannot have. If such replies counted, an nsqd that reads nothing
// could have publishers fill memory, since each reply makes room for another publish.
func (l *Link) popAwaited(accepted bool) []awaitedReply {
	l.mu.Lock()
	l.replied = l.awaited.popBefore(l.queued-uint64(l.pending.len), l.replied[:0]) // #nosec G115 -- not negative
	if accepted && len(l.replied) > 0 {
		l.accepted = max(l.accepted, l.replied[0].size) // those packed with it are within accepted
	}
	wake := len(l.replied) > 0 && l.drain.requested
	l.mu.Unlock()
	if wake {
		l.writerWake.Signal() // it may have been the last that the drain waited for
	}
	return l.replied
}

// reply passes one reply on to all Repliers. If one of them ends the goroutine by
// runtime.Goexit, the others are told before that.
func reply(commands []awaitedReply, data []byte, err error) {
	defer func() {
		if len(commands) > 0 {
			reply(commands, data, err)
		}
	}()
	for len(commands) > 0 {
		w := commands[0]
		commands = commands[1:]
		w.to.Reply(data, err)
	}
}

// readFailed ends the link when nothing more can be read.
//
// An EOF is a clean end only after our half-close. The writer sets halfClosed before it
// half-closes, so nsqd's EOF in response always finds it set. An EOF is none if a write of
// the reader has failed: the socket told that write of a reset, and does not tell it again.
func (l *Link) readFailed(err error) {
	if l.direct != nil && l.direct.failed != nil && errors.Is(err, io.EOF) {
		l.fail(&Error{Addr: l.cfg.Addr, Op: OpWrite, Err: l.direct.failed})
		return
	}
	l.mu.Lock()
	drained := l.drain.halfClosed
	l.mu.Unlock()
	if drained && errors.Is(err, io.EOF) {
		l.fail(nil)
		return
	}
	l.fail(&Error{Addr: l.cfg.Addr, Op: OpRead, Err: err})
}
