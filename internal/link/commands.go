package link

import (
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// lineSize is how much to reserve for a command's line and the sizes in front of a
// body. The longest, with two names and two numbers, is shorter.
const lineSize = 256

// finSize is the length of a FIN.
const finSize = len(wire.CmdFin+" \n") + wire.IDLen

// appendCommand commits chunk, to which the caller has appended a command's line, and
// appends the body. Callers hold the mutex.
func (l *Link) appendCommand(chunk []byte, body []byte) {
	before := l.pending.len
	l.pending.commit(chunk)
	l.pauseIf(int64(len(body)) > l.limits.Message, before)
	l.pending.appendBytes(body)
	l.appended(before)
}

// appended counts what was appended to pending since its length was before, and wakes
// the writer if pending was empty then. Callers hold the mutex.
func (l *Link) appended(before int) {
	l.queued += uint64(l.pending.len - before) // #nosec G115 -- it has grown
	if before == 0 && !l.lent {
		l.writerWake.Signal()
	}
}

// expectReply queues the Replier of the command that is appended next, and the size of its
// message, 0 if it has several. It returns false if the link accepts no such command.
// Callers hold the mutex, and append the command before they release it.
func (l *Link) expectReply(to Replier, size int) bool {
	if l.sealed || l.drain.requested {
		return false
	}
	l.awaited.push(awaitedReply{to: to, start: l.queued, size: uint32(size)}) // #nosec G115 -- bodies are below 2 GiB
	return true
}

// Fin finishes a message. It returns false if the link accepts no more commands, so
// that nsqd will not learn of it. The caller finishes or requeues each message once.
func (l *Link) Fin(id *wire.ID) bool {
	return l.sendOutcome(&l.stats.Finished, func(b []byte) []byte { return wire.AppendFin(b, id) })
}

// Fins finishes several messages, each as Fin does.
func (l *Link) Fins(ids []wire.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.settled:
	case l.sealed:
		l.stats.InFlight -= len(ids)
		l.stats.Lost += uint64(len(ids))
	default:
		l.stats.InFlight -= len(ids)
		l.stats.Finished += uint64(len(ids))
		before, start := l.pending.len, l.queued
		for i := range ids {
			l.pending.commit(wire.AppendFin(l.pending.reserve(lineSize), &ids[i]))
		}
		l.appended(before)
		l.acks.add(start, finSize, len(ids))
	}
}

// Req requeues a message: nsqd delivers it again after a delay. It returns false in the
// same case as Fin. The caller finishes or requeues each message once.
func (l *Link) Req(id *wire.ID, delay time.Duration) bool {
	return l.sendOutcome(&l.stats.Requeued, func(b []byte) []byte { return wire.AppendReq(b, id, delay.Milliseconds()) })
}

// Touch asks nsqd for more time for a message. It returns false if the link accepts no
// more commands, or if maxUnsent bytes wait before it: unlike acks, TOUCHes are not
// bounded by the messages in flight.
func (l *Link) Touch(id *wire.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed || l.queued-l.sent > maxUnsent {
		return false
	}
	l.appendCommand(wire.AppendTouch(l.pending.reserve(lineSize), id), nil)
	return true
}

// Nop sends a command that does nothing. While one waits for the socket, another is not
// needed, and none is appended: however many heartbeats nsqd sends, one NOP is owed at
// most. Nop returns false if the link accepts no more commands.
func (l *Link) Nop() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.sealed:
		return false
	case l.nopEnd <= l.sent:
		l.appendCommand(wire.AppendNop(l.pending.reserve(lineSize)), nil)
		l.nopEnd = l.queued
	}
	return true
}

// Pub publishes one message. It returns false if the link can send no more; to is
// not called then. The PUB may become an MPUB together with others: see pack.go.
func (l *Link) Pub(topic string, body []byte, to Replier) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.expectReply(to, len(body)) {
		return false
	}
	if !l.joinPack(topic, body) {
		chunk := l.pending.reserve(lineSize)
		l.appendCommand(wire.AppendPubHead(chunk, topic, len(body)), body)
		l.beginPack(topic, len(chunk), len(body))
	}
	return true
}

// Dpub publishes one message that nsqd holds back for a delay. Otherwise it is like
// Pub.
func (l *Link) Dpub(topic string, delay time.Duration, body []byte, to Replier) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.expectReply(to, len(body)) {
		return false
	}
	head := wire.AppendDpubHead(l.pending.reserve(lineSize), topic, delay.Milliseconds(), len(body))
	if delay > l.limits.Delay {
		before := l.pending.len
		l.pending.commit(head)
		l.pauseIf(true, before)
		l.pending.appendBytes(body)
		l.appended(before)
	} else {
		l.appendCommand(head, body)
	}
	return true
}

// Mpub publishes several messages to one topic. Otherwise it is like Pub.
func (l *Link) Mpub(topic string, bodies [][]byte, to Replier) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.expectReply(to, 0) {
		return false
	}
	before := l.pending.len
	l.pending.commit(wire.AppendMpubHead(l.pending.reserve(lineSize), topic, bodies))
	l.pauseIf(wire.MpubLen(bodies) > l.limits.Body, before)
	largest := l.limits.Message
	for _, body := range bodies {
		l.pending.commit(wire.AppendBodyHead(l.pending.reserve(lineSize), len(body)))
		if size := int64(len(body)); size > largest { // a smaller one would have been refused before
			largest = size
			l.pauseIf(true, before)
		}
		l.pending.appendBytes(body)
	}
	l.appended(before)
	return true
}
