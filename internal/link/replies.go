package link

// A Replier is told the reply to a command: either nsqd's data, or nsqd's *wire.Error,
// or an [*UnansweredError] if the link ended first. The link calls Reply once, on one of
// its goroutines. Reply must not block. It may run user code that calls runtime.Goexit: the
// link then replaces the goroutine.
type Replier interface {
	Reply(data []byte, err error)
}

// awaitedReply is a command that was appended and has no reply yet.
type awaitedReply struct {
	to    Replier
	start uint64 // where the command begins, counted as Link.queued is
}

// replyQueue holds the commands that await a reply, oldest first. nsqd replies in
// the order of the commands, and a reply does not name its command.
type replyQueue struct {
	list []awaitedReply
	head int // list[head:] is the queue
}

func (q *replyQueue) len() int { return len(q.list) - q.head }

func (q *replyQueue) push(w awaitedReply) {
	if len(q.list) == cap(q.list) && q.head > len(q.list)/2 {
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	q.list = append(q.list, w)
}

// popBefore removes the oldest command, if it begins before that position.
func (q *replyQueue) popBefore(position uint64) (awaitedReply, bool) {
	if q.len() == 0 || q.list[q.head].start >= position {
		return awaitedReply{}, false
	}
	w := q.list[q.head]
	q.list[q.head] = awaitedReply{}
	if q.head++; q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
	return w, true
}

func (q *replyQueue) takeAll() []awaitedReply {
	all := q.list[q.head:]
	*q = replyQueue{}
	return all
}
