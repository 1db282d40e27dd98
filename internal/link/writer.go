package link

import (
	"errors"
	"os"
	"runtime"
)

// maxYields bounds how often a writer lets other goroutines run before a Write. On a busy
// machine each time may take milliseconds.
const maxYields = 4

// writeLoop writes what is pending, until the link ends.
func (l *Link) writeLoop() {
	defer l.loopEnded()
	var out [][]byte
	for {
		var written int
		var done bool
		if out, written, done = l.takePending(out[:0]); done {
			l.halfClose()
			return
		}
		if len(out) == 0 {
			return
		}
		for i, chunk := range out {
			n, err := l.write(chunk[written:], l.sent)
			written = 0
			l.countWritten(n)
			if err != nil {
				l.writeFailed(err)
				return
			}
			releaseChunk(chunk)
			out[i] = nil
		}
		l.conn.clearWriteDeadline()
	}
}

// takePending waits for commands and takes all that are pending, leaving empty in their
// place. It returns none when the link is closing. done reports that a drain has nothing
// left to wait for.
//
// An append wakes the writer only if pending was empty. No wake-up is lost:
//
//  1. The writer takes what is pending and is busy with a Write. It does not wait.
//  2. A command is appended. pending was empty, but the signal wakes no one.
//  3. The writer comes back and checks pending, under the mutex, before it waits.
//     Without that check the command would stay until the next one comes.
//
// The same check covers closing and everything that drained depends on: each is changed
// under the mutex before it is signalled.
//
// A writer that was woken lets other goroutines run before it takes the commands: the
// goroutine that woke it is seldom the only one with something to send. See mayGrow.
//
// written is how much of the first chunk is written. The reader may have done that, after a
// loan. It has the socket while it writes, and wakes the writer if there is more to do.
//
// The writer counts as writing from Start on, so that it ends no write but its own:
//
//  1. Start starts both loops. The reader runs first, comes back from a loan, sets writing
//     and writes what is pending.
//  2. The writer runs for the first time, and clears writing. It takes what is pending and
//     writes it again.
func (l *Link) takePending(empty [][]byte) (out [][]byte, written int, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = false
	for yields, seen := 0, 0; ; {
		switch {
		case l.closing:
			return nil, 0, false
		case l.writing:
			l.writerWake.Wait()
		case yields > 0 && l.mayGrow(seen):
			yields--
			seen = l.pending.len
			l.mu.Unlock()
			runtime.Gosched()
			l.mu.Lock()
		case l.pending.len > 0:
			l.writing = true
			out, written = l.pending.takeAll(empty)
			l.ahead, l.pauses = append(l.ahead, l.pauses...), nil
			l.stats.Writes += uint64(len(out))
			return out, written, false
		case l.drained():
			l.drain.halfClosed, l.sealed = true, true
			return nil, 0, true
		default:
			l.writerWake.Wait()
			yields = maxYields
		}
	}
}

// mayGrow reports whether to let other goroutines append to pending before it is taken. seen
// is how long it was before they last could, 0 if they could not. One chance is enough to
// send what they have in one Write. Where publishes are packed they get another one as long
// as they use it: nsqd replies once to all that they append.
func (l *Link) mayGrow(seen int) bool {
	return l.pending.len > seen && (seen == 0 || l.limits.Pack > 0 && l.pending.len < chunkSize)
}

// countWritten counts n bytes that the socket took.
func (l *Link) countWritten(n int) {
	l.mu.Lock()
	l.sent += uint64(n) // #nosec G115 -- not negative
	l.acks.forgetSent(l.sent)
	l.signalProgress()
	l.mu.Unlock()
}

// writeFailed ends the link after a failed Write. The real reason may not have been
// read yet:
//
//  1. nsqd refuses a command, sends the error and closes.
//  2. The writer is still sending what follows, and its Write fails.
//  3. The reader has yet to read nsqd's error. If the link ended here, the owner would
//     see a broken pipe in place of the refusal, so the reader gets lingerTimeout.
//
// If the Write timed out, the link ends at once: a peer that takes nothing is not
// expected to say anything either.
func (l *Link) writeFailed(err error) {
	failure := &Error{Addr: l.cfg.Addr, Op: OpWrite, Err: err}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		l.fail(failure)
		return
	}
	l.failAfterLinger(failure)
}
