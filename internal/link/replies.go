package link

// A Replier is told how a command was answered: with data, with a *wire.Error
// from nsqd, or, if the link ended first, with an [*UnansweredError]. It is
// called once, on a goroutine of the link's, and must not block.
type Replier interface {
	Reply(data []byte, err error)
}

// awaitedReply is a command that was appended and not yet answered.
type awaitedReply struct {
	to    Replier
	start uint64 // its first byte in the stream of commands
}

// replyQueue are the open questions of a link, oldest first: nsqd answers in the
// order of the commands and names none of them.
type replyQueue struct {
	list []awaitedReply
	head int
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

func (q *replyQueue) pop() (awaitedReply, bool) {
	if q.len() == 0 {
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
