package link

import "github.com/rdyhq/nsq/internal/wire"

// nsqd writes each reply by itself. That is most of what a PUB costs it. So a PUB that finds
// a PUB to the same topic at the end of what is pending joins it, and the two become an MPUB.
// It gets one reply, which counts for each. Nothing waits for this: the writer takes what is
// pending as before, and a PUB that finds nothing pending is sent as it is.
//
// A pack lies in one chunk. Only messages join that are not larger than one that nsqd has
// accepted on this connection: nsqd would refuse the whole MPUB for one that is too large.
//
// Once the writer has taken a pack, or another command follows it, no more messages join it.
// So commands leave in the order in which they were appended.

// openPack is the last command that was appended, if it is a PUB or a pack.
type openPack struct {
	wire.Pack
	end uint64 // where it ends, counted as Link.queued is; others may join while that is the same
}

// beginPack notes a PUB that was just appended, unless no other may join it. start is where
// it begins in its chunk. Callers hold the mutex.
func (l *Link) beginPack(topic string, start, size int) {
	last := l.pending.chunks[len(l.pending.chunks)-1]
	if l.mayPack(size) && start+size < len(last) {
		l.packed = openPack{wire.NewPack(topic, start), l.queued}
	}
}

// mayPack reports whether a message of that size may be in a pack. Callers hold the mutex.
func (l *Link) mayPack(size int) bool {
	return l.limits.Pack > 0 && size <= int(l.accepted)
}

// joinPack adds a message to the open pack of its topic, and reports whether there is one
// that has room for it. Its Replier was queued before. Callers hold the mutex.
func (l *Link) joinPack(topic string, body []byte) bool {
	p := &l.packed
	if l.pending.len == 0 || p.end != l.queued || p.Topic != topic || !l.mayPack(len(body)) {
		return false
	}
	chunk := l.pending.chunks[len(l.pending.chunks)-1]
	if len(chunk)+p.Grows(len(body)) > cap(chunk) || int64(p.BodyLen(len(chunk), len(body))) > l.limits.Pack {
		return false
	}
	before := l.pending.len
	l.pending.commit(p.Append(chunk, body))
	l.appended(before)
	l.awaited.join()
	p.end = l.queued
	return true
}
