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
	size  uint32 // of the one message of a publish; 0 for other commands
	// joined says that this is a PUB that was packed into the command before it, whose
	// reply is its own. Then start is where its message begins, or a few bytes before that.
	joined bool
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

// popBefore removes the oldest command, if it begins before that position, with the PUBs
// that were packed into it. It appends them to dst.
func (q *replyQueue) popBefore(position uint64, dst []awaitedReply) []awaitedReply {
	if q.len() == 0 || q.list[q.head].start >= position {
		return dst
	}
	end := q.head + 1
	for end < len(q.list) && q.list[end].joined {
		end++
	}
	dst = append(dst, q.list[q.head:end]...)
	clear(q.list[q.head:end])
	if q.head = end; q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
	return dst
}

// join notes that the last command was packed into the one before it.
func (q *replyQueue) join() { q.list[len(q.list)-1].joined = true }

func (q *replyQueue) takeAll() []awaitedReply {
	all := q.list[q.head:]
	*q = replyQueue{}
	return all
}
