package link

import (
	"net"
	"time"
)

// nsqd refuses a publish that exceeds one of its limits as soon as it has read the figure,
// and closes the connection with the rest unread. Then the kernel resets the connection,
// which destroys what nsqd has said before: the refusal itself, and its replies to earlier
// publishes.
//
// So the writer pauses behind a doubtful figure. If nsqd refuses, it has read all that it
// was sent, its close is an orderly one, and the refusal arrives. If nothing comes, the
// writer goes on. The owner sees to it that no other publish awaits a reply meanwhile.

const (
	// The pause is three times as long as nsqd took to reply to IDENTIFY, within these
	// bounds. The lower one is for an nsqd that its machine does not run at once.
	leastPause = 50 * time.Millisecond
	mostPause  = 500 * time.Millisecond
)

// Limits are figures of publishes that nsqd surely accepts. The link pauses in what
// exceeds the first three.
type Limits struct {
	Message int64         // bytes of a message's body
	Body    int64         // bytes of the body of an MPUB
	Delay   time.Duration // of a DPUB
	// Pack is the largest body of an MPUB that PUBs are packed into, which is never above
	// chunkSize. With 0 none are packed.
	Pack int64
}

// noLimits are the Limits of a link that pauses in nothing and packs nothing.
var noLimits = Limits{Message: 1<<63 - 1, Body: 1<<63 - 1, Delay: 1<<63 - 1}

// SetLimits sets the Limits of publishes that are queued from now on. Without a call there
// are none.
func (l *Link) SetLimits(limits Limits) {
	l.mu.Lock()
	l.limits = limits
	l.mu.Unlock()
}

// pauseIf has the writer pause at the end of what is pending, if doubtful. before is the
// length of pending that queued accounts for. Callers hold the mutex.
func (l *Link) pauseIf(doubtful bool, before int) {
	if doubtful {
		l.pauses = append(l.pauses, l.queued+uint64(l.pending.len-before)) // #nosec G115 -- it has grown
	}
}

// write writes a chunk, and pauses where it has to. Only the writer calls it. start is
// where the chunk begins, counted as Link.queued is.
func (l *Link) write(chunk []byte, start uint64) (written int, err error) {
	for len(l.ahead) > 0 {
		part := l.ahead[0] - start
		if part > uint64(len(chunk)) {
			break
		}
		n, err := l.out.Write(chunk[written:part])
		written += n
		if err != nil {
			return written, err
		}
		l.ahead = l.ahead[1:]
		if !l.pause() {
			return written, net.ErrClosed
		}
	}
	if written > 0 && written == len(chunk) {
		return written, nil
	}
	n, err := l.out.Write(chunk[written:])
	return written + n, err
}

// pause waits until nsqd has had time to refuse. It reports false if the link is closing.
func (l *Link) pause() bool {
	over := false
	timer := time.AfterFunc(min(max(3*l.roundTrip, leastPause), mostPause), func() {
		l.mu.Lock()
		over = true
		l.mu.Unlock()
		l.writerWake.Signal()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !over && !l.closing {
		l.writerWake.Wait()
	}
	return !l.closing
}
