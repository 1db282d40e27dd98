package link

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// readLoop reads until the link ends. It never waits for anything but the
// socket.
func (l *Link) readLoop() {
	defer l.loopEnded()
	var batch []wire.Message
	for {
		err := l.handleFrames(&batch)
		if err == nil {
			err = l.in.fill()
		}
		if err != nil {
			l.readFailed(err)
			return
		}
	}
}

// handleFrames handles every whole frame in the buffer. Messages are gathered, and
// handed over before a frame of another kind is looked at, so that the
// receiver sees the order of the wire.
func (l *Link) handleFrames(batch *[]wire.Message) error {
	defer l.passOn(batch)
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
			*batch = append(*batch, m)
		case f.IsHeartbeat():
			l.send(wire.AppendNop)
			if frames == 0 { // quiet: let go of what a busy time needs
				l.in.shrink()
				*batch = nil
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

// handleOutsized handles a message that is not in the buffer. Any other error it returns.
func (l *Link) handleOutsized(err error, batch *[]wire.Message) error {
	if m, ok := errors.AsType[*large](err); ok {
		*batch = append(*batch, m.message)
		return nil
	}
	m, ok := errors.AsType[*oversize](err)
	if !ok {
		return err
	}
	l.passOn(batch)
	l.countReceived(1)
	l.receiver.TooBig(m.message, m.size)
	return nil
}

func (l *Link) passOn(batch *[]wire.Message) {
	if len(*batch) == 0 {
		return
	}
	l.countReceived(len(*batch))
	l.receiver.Messages(*batch)
	clear(*batch) // let go of the buffer the bodies are in
	*batch = (*batch)[:0]
}

func (l *Link) countReceived(messages int) {
	now := time.Now()
	l.mu.Lock()
	l.stats.Received += uint64(messages) // #nosec G115 -- positive
	l.stats.InFlight += messages
	l.stats.Peak = max(l.stats.Peak, l.stats.InFlight)
	l.stats.LastMessage = now
	l.mu.Unlock()
}

// handleReply handles a response or an error. Those that answer a command come in
// the order of the commands; a refused FIN, REQ or TOUCH, which has no answer
// otherwise, comes in between.
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
		// nsqd closes. Its oldest open question is what it refused.
		if w, ok := l.popReply(); ok {
			w.to.Reply(nil, e)
		}
		return e
	}
	w, ok := l.popReply()
	if !ok {
		return fmt.Errorf("%w: %q", ErrUnexpectedReply, f.Data)
	}
	w.to.Reply(f.Data, nil)
	return nil
}

// popReply takes the oldest open question.
func (l *Link) popReply() (w awaitedReply, ok bool) {
	l.mu.Lock()
	w, ok = l.replies.pop()
	wake := ok && l.drain.asked
	l.mu.Unlock()
	if wake {
		l.writerWake.Signal() // it may have been the last
	}
	return w, ok
}

// readFailed ends the link because nothing more can be read.
func (l *Link) readFailed(err error) {
	l.mu.Lock()
	drained := l.drain.halfClosed
	l.mu.Unlock()
	if drained && errors.Is(err, io.EOF) {
		l.fail(nil)
		return
	}
	l.fail(&Error{Addr: l.cfg.Addr, Op: OpRead, Err: err})
}
