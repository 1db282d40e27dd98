package nsq

import (
	"slices"
	"sync"
	"sync/atomic"
)

// delivery is what is in hand: messages that wait for a handler, those that
// handlers work on, and those that a handler has left to be answered later.
//
// Readers put messages and never wait; workers take them. The queue grows. What
// bounds it is the RDY that the nsqds were granted: a message whose lease ends is
// taken out when nsqd may send it again.
type delivery struct {
	mu   sync.Mutex // guards what follows
	some sync.Cond  // signalled when a worker may have something to do

	queue  []*Message
	head   int  // queue[head:] waits
	idle   int  // workers that wait
	closed bool // nobody begins a message any more

	workers []*worker
	running int // workers with a message
	// limit is how many of them there may be: max_in_flight. RDY alone does not
	// see to that. When a lease is over, which nsqd's clock may say before ours,
	// nsqd takes the slot for free and sends more, whatever its handler does.
	limit int

	detached map[*Message]struct{} // unanswered though their handlers have returned
}

// worker is a handler's goroutine.
type worker struct {
	handler int      // which of the Consumer's
	call    Handler  // itself
	m       *Message // what it works on; nil while it waits
	quit    bool     // it is to end
	gone    bool     // it was told so, and does not come back

	// begun is since when it works on a message, kept only for auto_touch. It is
	// set without the mutex: a sweep that comes before it sees the one before,
	// and the next sweep knows better.
	begun atomic.Int64
}

func newDelivery(limit int) *delivery {
	d := &delivery{limit: max(limit, 1), detached: make(map[*Message]struct{})}
	d.some.L = &d.mu
	return d
}

// put adds messages. It reports false, and adds none, once the queue is closed.
func (d *delivery) put(messages []Message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	if d.head > len(d.queue)/2 && len(d.queue)+len(messages) > cap(d.queue) {
		n := copy(d.queue, d.queue[d.head:])
		clear(d.queue[n:])
		d.queue, d.head = d.queue[:n], 0
	}
	for i := range messages {
		d.queue = append(d.queue, &messages[i])
	}
	for range min(len(messages), d.idle) {
		d.some.Signal()
	}
	return true
}

// take ends a worker's work on its message, and waits for the next one. It
// reports false when the worker is to end.
func (d *delivery) take(w *worker) (*Message, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.finish(w)
	for !w.quit && !d.closed && (d.head == len(d.queue) || d.running >= d.limit) {
		d.idle++
		d.some.Wait()
		d.idle--
	}
	if w.quit || d.closed {
		d.some.Signal() // it may have been woken for a message
		w.gone = true
		return nil, false
	}
	m := d.queue[d.head]
	d.queue[d.head] = nil
	if d.head++; d.head == len(d.queue) {
		d.queue, d.head = d.queue[:0], 0
	}
	w.m = m
	d.running++
	return m, true
}

// finish takes a worker's message out of its hand. One that is to be answered
// later is kept an eye on.
func (d *delivery) finish(w *worker) {
	m := w.m
	if m == nil {
		return
	}
	w.m = nil
	d.running--
	if !m.is(responded|timedOut) && m.set(detached)&responded == 0 {
		d.detached[m] = struct{}{}
	}
}

// forget is told of the answer to a message that had been left for later.
func (d *delivery) forget(m *Message) {
	d.mu.Lock()
	delete(d.detached, m)
	d.mu.Unlock()
}

// remove takes out the messages of one connection that nobody has begun.
func (d *delivery) remove(from *consumerConn) []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.extract(func(m *Message) bool { return m.conn == from })
}

// extract takes messages out of the queue.
func (d *delivery) extract(which func(*Message) bool) (out []*Message) {
	kept := d.queue[:d.head]
	for _, m := range d.queue[d.head:] {
		if which(m) {
			out = append(out, m)
		} else {
			kept = append(kept, m)
		}
	}
	clear(d.queue[len(kept):])
	d.queue = kept
	return out
}

// close ends every take and returns what no handler has begun.
func (d *delivery) close() []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := d.queue[d.head:]
	d.queue, d.head, d.closed = nil, 0, true
	d.some.Broadcast()
	return rest
}

// setLimit follows a change of max_in_flight. 0 means that nothing new comes;
// what is there is worked on as before.
func (d *delivery) setLimit(n int) {
	if n == 0 {
		return
	}
	d.mu.Lock()
	d.limit = n
	d.some.Broadcast()
	d.mu.Unlock()
}

// hired is how many workers there are.
func (d *delivery) hired() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.workers)
}

// staff sets how many workers of a handler there are, and returns those that are
// new. Of too many those quit that wait, and then those that work.
func (d *delivery) staff(handler, n int) (hired []*worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, waiting := range []bool{false, true} {
		for _, w := range d.workers {
			if w.handler == handler && !w.gone && (w.m == nil) == waiting {
				w.quit = n <= 0
				n--
			}
		}
	}
	for ; n > 0; n-- {
		w := &worker{handler: handler}
		d.workers = append(d.workers, w)
		hired = append(hired, w)
	}
	d.some.Broadcast()
	return hired
}

// leave is a worker's end.
func (d *delivery) leave(w *worker) {
	d.mu.Lock()
	d.workers = slices.DeleteFunc(d.workers, func(o *worker) bool { return o == w })
	d.mu.Unlock()
}

// unfinished are the messages that workers work on, and those without an answer
// whose handlers have returned.
func (d *delivery) unfinished() (running, unanswered []Unfinished) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.workers {
		if w.m != nil {
			running = append(running, Unfinished{ID: w.m.ID, NSQDAddress: w.m.conn.addr})
		}
	}
	for m := range d.detached {
		unanswered = append(unanswered, Unfinished{ID: m.ID, NSQDAddress: m.conn.addr})
	}
	return running, unanswered
}

// waiting is how many workers have no message, or are about to end.
func (d *delivery) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, w := range d.workers {
		if w.m == nil {
			n++
		}
	}
	return n
}
