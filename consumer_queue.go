package nsq

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// deliveryQueue is what is in hand: messages that wait for a handler, those that
// handlers work on, and those that a handler has left to be answered later.
//
// Readers put messages and never wait; workers take them. The queue grows. What
// bounds it is the RDY that the nsqds were granted: a message whose lease ends is
// taken out when nsqd may send it again.
//
// Messages come in slabs. A worker takes as many of one at a time as it is done
// with in a moment: one, if its handler is slow. What it has taken and not begun
// still waits for anyone. It puts that back when the moment is over; a worker
// that would sleep or finds no progress takes half of it, and whoever looks for
// messages has it put back first. So no message waits behind a slow one while
// another handler could have it.
type deliveryQueue struct {
	clock func() time.Duration

	mu   sync.Mutex // guards what follows
	some sync.Cond  // signalled when a worker may have something to do

	queue  [][]Message
	head   int  // queue[head:] waits
	idle   int  // workers that wait
	waking bool // one of them was woken and has not looked yet; it wakes the next
	closed bool // nobody begins a message any more

	workers []*worker
	busy    []*worker // those with a message
	// prefetching are those of them that have taken more than that one, and may have some
	// of it, or FINs of it that were not sent, still. There may be thousands of
	// others, with slow handlers, that nobody needs to look at.
	prefetching []*worker
	// limit is how many of them there may be: max_in_flight. RDY alone does not
	// see to that. When a lease is over, which nsqd's clock may say before ours,
	// nsqd takes the slot for free and sends more, whatever its handler does.
	limit int

	detached map[*Message]struct{} // unanswered though their handlers have returned

	flushTimer     *time.Timer // see rescue
	flushScheduled atomic.Bool // it is set
}

const (
	// batchSlice is how long a worker keeps to itself what it has taken.
	batchSlice = time.Millisecond
	// mostPrefetched is how many messages it takes at most. A slab has no more.
	mostPrefetched = messageSlab
)

// newQueue returns a delivery for so many messages at a time, by a clock.
func newQueue(limit int, clock func() time.Duration) *deliveryQueue {
	d := &deliveryQueue{clock: clock, limit: max(limit, 1), detached: make(map[*Message]struct{})}
	d.some.L = &d.mu
	d.flushTimer = time.AfterFunc(time.Hour, d.flushStale)
	d.flushTimer.Stop()
	return d
}

// put adds messages. It reports false, and adds none, once the queue is closed.
func (d *deliveryQueue) put(messages []Message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	if d.head > len(d.queue)/2 && len(d.queue) == cap(d.queue) {
		n := copy(d.queue, d.queue[d.head:])
		clear(d.queue[n:])
		d.queue, d.head = d.queue[:n], 0
	}
	d.queue = append(d.queue, messages)
	d.wake()
	return true
}

// take ends a worker's work on its message, and waits for the next one. It
// reports false when the worker is to end. The time is in the worker's now.
func (d *deliveryQueue) take(w *worker) (*Message, bool) {
	if m := w.current(); m != nil && !m.is(responded|timedOut) {
		d.detach(m)
	}
	w.now = d.clock()
	if w.now-w.since < batchSlice {
		if m := w.claim(); m != nil {
			return m, true
		}
	}
	w.fins.flush()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.release(w)
	for !w.quit && !d.closed && !d.refill(w) {
		d.idle++
		d.some.Wait()
		d.idle--
		d.waking = false
		w.now = d.clock()
	}
	if w.quit || d.closed {
		d.wake() // it may have been woken for a message
		w.gone = true
		return nil, false
	}
	w.since = w.now
	m := w.claim()
	d.wake()
	return m, true
}

// addFin sends the FIN of a worker's message, with those of the rest of its
// batch. Should that take longer than a moment, because the handler of a later
// message does, it is sent then.
func (d *deliveryQueue) addFin(w *worker, m *Message) {
	if w.fins.add(m.conn.link, m.ID) && w.unclaimed() > 0 && !d.flushScheduled.Swap(true) {
		d.flushTimer.Reset(batchSlice)
	}
}

// flushStale sends FINs that workers have not come to send. A worker that adds one
// after its turn here finds pending reset, and sets the timer again.
func (d *deliveryQueue) flushStale() {
	d.flushScheduled.Store(false)
	d.flushOf(&d.prefetching)
}

// flushAll is rescue for one who sends nothing after it: a worker with a single
// message is about to send its FIN, but may be late.
func (d *deliveryQueue) flushAll() { d.flushOf(&d.busy) }

func (d *deliveryQueue) flushOf(some *[]*worker) {
	d.mu.Lock()
	workers := slices.Clone(*some)
	d.mu.Unlock()
	for _, w := range workers {
		w.fins.flushFor()
	}
}

// detach keeps an eye on a message that is to be answered later.
func (d *deliveryQueue) detach(m *Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !m.is(responded|timedOut) && m.set(detached)&responded == 0 {
		d.detached[m] = struct{}{}
	}
}

// release takes a worker's batch out of its hands. How long it took says how
// much it takes next.
func (d *deliveryQueue) release(w *worker) {
	if w.batch == nil {
		return
	}
	if rest := w.unclaim(func(left int) int { return left }); rest != nil {
		d.putBack(rest)
	}
	switch took := w.now - w.since; {
	case took >= batchSlice:
		w.most = 1
	case took < batchSlice/8:
		w.most = min(2*w.most, mostPrefetched)
	}
	last := len(d.busy) - 1
	d.busy[w.place], d.busy[last].place = d.busy[last], w.place
	d.busy[last] = nil
	d.busy = d.busy[:last]
	if len(w.batch) > 1 {
		d.prefetching = slices.DeleteFunc(d.prefetching, func(o *worker) bool { return o == w })
	}
	w.hold(nil)
}

// give hands messages to a worker without any.
func (d *deliveryQueue) give(w *worker, batch []Message) {
	w.hold(batch)
	w.place = len(d.busy)
	d.busy = append(d.busy, w)
	if len(batch) > 1 {
		d.prefetching = append(d.prefetching, w)
	}
}

// putBack puts messages before all others.
func (d *deliveryQueue) putBack(messages []Message) {
	if d.head == 0 {
		d.queue, d.head = append([][]Message{nil}, d.queue...), 1
	}
	d.head--
	d.queue[d.head] = messages
}

// refill gives a worker messages: those of a worker that has come no further
// since somebody looked last, the next of the queue, or half of those of any
// other.
func (d *deliveryQueue) refill(w *worker) bool {
	if len(d.busy) >= d.limit {
		return false
	}
	d.prefetching = slices.DeleteFunc(d.prefetching, (*worker).nothingToSteal)
	for _, other := range d.prefetching {
		if other.stalled() && d.stealHalf(other, w) {
			return true
		}
	}
	if d.head < len(d.queue) {
		slab := d.queue[d.head]
		n := min(len(slab), w.most)
		d.give(w, slab[:n:n])
		if n < len(slab) {
			d.queue[d.head] = slab[n:]
			return true
		}
		d.queue[d.head] = nil
		if d.head++; d.head == len(d.queue) {
			d.queue, d.head = d.queue[:0], 0
		}
		return true
	}
	return slices.ContainsFunc(d.prefetching, func(other *worker) bool { return d.stealHalf(other, w) })
}

// stealHalf gives a worker half of what another has not begun.
func (d *deliveryQueue) stealHalf(other, w *worker) bool {
	half := other.unclaim(func(left int) int { return (left + 1) / 2 })
	if half == nil {
		return false
	}
	d.give(w, half)
	return true
}

// wake wakes a worker, if there is one and something for it to do. It will see
// to the next one: with handlers that are done at once few are needed.
func (d *deliveryQueue) wake() {
	if d.idle > 0 && !d.waking && len(d.busy) < d.limit && d.waitingMessage() {
		d.waking = true
		d.some.Signal()
	}
}

// waitingMessage tells whether there is a message that nobody has begun.
func (d *deliveryQueue) waitingMessage() bool {
	return d.head < len(d.queue) || slices.ContainsFunc(d.prefetching, func(w *worker) bool { return w.unclaimed() > 0 })
}

// acked is told of the answer to a message that had been left for later.
func (d *deliveryQueue) acked(m *Message) {
	d.mu.Lock()
	delete(d.detached, m)
	d.mu.Unlock()
}

// remove takes out the messages of one connection that nobody has begun.
func (d *deliveryQueue) remove(from *consumerConn) []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.extract(func(m *Message) bool { return m.conn == from })
}

// unclaimAll puts what workers have taken and not begun back into the queue.
func (d *deliveryQueue) unclaimAll() {
	for _, w := range d.prefetching {
		if rest := w.unclaim(func(left int) int { return left }); rest != nil {
			d.putBack(rest)
		}
	}
}

// extract takes messages that nobody has begun out of the queue.
func (d *deliveryQueue) extract(which func(*Message) bool) (out []*Message) {
	d.unclaimAll()
	var kept [][]Message
	for _, slab := range d.queue[d.head:] {
		from := 0
		for i := range slab {
			if which(&slab[i]) {
				out = append(out, &slab[i])
				if i > from {
					kept = append(kept, slab[from:i])
				}
				from = i + 1
			}
		}
		if from < len(slab) {
			kept = append(kept, slab[from:])
		}
	}
	d.queue, d.head = kept, 0
	return out
}

// close ends every take and returns what no handler has begun.
func (d *deliveryQueue) close() []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.some.Broadcast()
	return d.extract(func(*Message) bool { return true })
}

// stopTimer ends the timer for good. Workers that have more than one message,
// which alone set it, are gone when it is called.
func (d *deliveryQueue) stopTimer() { d.flushTimer.Stop() }

// setLimit follows a change of max_in_flight. 0 means that nothing new comes;
// what is there is worked on as before.
func (d *deliveryQueue) setLimit(n int) {
	if n == 0 {
		return
	}
	d.mu.Lock()
	d.limit = n
	d.unclaimAll() // so that it is minded before anyone begins another
	d.some.Broadcast()
	d.mu.Unlock()
}

// workerCount is how many workers there are.
func (d *deliveryQueue) workerCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.workers)
}

// setWorkers sets how many workers of a handler there are, and returns those that are
// new. Of too many those quit that wait, and then those that work.
func (d *deliveryQueue) setWorkers(handler, n int) (hired []*worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unclaimAll() // so that those who are to quit do before they begin another
	for _, waiting := range []bool{false, true} {
		for _, w := range d.workers {
			if w.handler == handler && !w.gone && (w.current() == nil) == waiting {
				w.quit = n <= 0
				n--
			}
		}
	}
	for ; n > 0; n-- {
		w := &worker{handler: handler, most: 1}
		d.workers = append(d.workers, w)
		hired = append(hired, w)
	}
	d.some.Broadcast()
	return hired
}

// removeWorker is a worker's end.
func (d *deliveryQueue) removeWorker(w *worker) {
	d.mu.Lock()
	d.workers = slices.DeleteFunc(d.workers, func(o *worker) bool { return o == w })
	d.mu.Unlock()
}

// unfinished are the messages that workers work on, and those without an answer
// whose handlers have returned.
func (d *deliveryQueue) unfinished() (running, unanswered []Unfinished) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.busy {
		if m := w.current(); !m.is(detached) {
			running = append(running, Unfinished{ID: m.ID, NSQDAddress: m.conn.addr})
		}
	}
	for m := range d.detached {
		unanswered = append(unanswered, Unfinished{ID: m.ID, NSQDAddress: m.conn.addr})
	}
	return running, unanswered
}

// idleWorkers is how many workers have no message, or are about to end.
func (d *deliveryQueue) idleWorkers() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.workers) - len(d.busy)
}
