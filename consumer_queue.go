package nsq

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// delivery is what is in hand: messages that wait for a handler, those that
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
type delivery struct {
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
	// ahead are those of them that have taken more than that one, and may have some
	// of it, or FINs of it that were not sent, still. There may be thousands of
	// others, with slow handlers, that nobody needs to look at.
	ahead []*worker
	// limit is how many of them there may be: max_in_flight. RDY alone does not
	// see to that. When a lease is over, which nsqd's clock may say before ours,
	// nsqd takes the slot for free and sends more, whatever its handler does.
	limit int

	detached map[*Message]struct{} // unanswered though their handlers have returned

	late    *time.Timer // see rescue
	pending atomic.Bool // it is set
}

const (
	// moment is how long a worker keeps to itself what it has taken.
	moment = time.Millisecond
	// mostTaken is how many messages it takes at most. A slab has no more.
	mostTaken = messageSlab
)

// newDelivery returns a delivery for so many messages at a time, by a clock.
func newDelivery(limit int, clock func() time.Duration) *delivery {
	d := &delivery{clock: clock, limit: max(limit, 1), detached: make(map[*Message]struct{})}
	d.some.L = &d.mu
	d.late = time.AfterFunc(time.Hour, d.rescue)
	d.late.Stop()
	return d
}

// put adds messages. It reports false, and adds none, once the queue is closed.
func (d *delivery) put(messages []Message) bool {
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
func (d *delivery) take(w *worker) (*Message, bool) {
	if m := w.current(); m != nil && !m.is(responded|timedOut) {
		d.detach(m)
	}
	w.now = d.clock()
	if w.now-w.since < moment {
		if m := w.claim(); m != nil {
			return m, true
		}
	}
	w.answers.flush()
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

// finish sends the FIN of a worker's message, with those of the rest of its
// batch. Should that take longer than a moment, because the handler of a later
// message does, it is sent then.
func (d *delivery) finish(w *worker, m *Message) {
	if w.answers.add(m.conn.link, m.ID) && w.left() > 0 && !d.pending.Swap(true) {
		d.late.Reset(moment)
	}
}

// rescue sends FINs that workers have not come to send. A worker that adds one
// after its turn here finds pending reset, and sets the timer again.
func (d *delivery) rescue() {
	d.pending.Store(false)
	d.rescueOf(&d.ahead)
}

// rescueAll is rescue for one who sends nothing after it: a worker with a single
// message is about to send its FIN, but may be late.
func (d *delivery) rescueAll() { d.rescueOf(&d.busy) }

func (d *delivery) rescueOf(some *[]*worker) {
	d.mu.Lock()
	workers := slices.Clone(*some)
	d.mu.Unlock()
	for _, w := range workers {
		w.answers.rescue()
	}
}

// detach keeps an eye on a message that is to be answered later.
func (d *delivery) detach(m *Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !m.is(responded|timedOut) && m.set(detached)&responded == 0 {
		d.detached[m] = struct{}{}
	}
}

// release takes a worker's batch out of its hands. How long it took says how
// much it takes next.
func (d *delivery) release(w *worker) {
	if w.batch == nil {
		return
	}
	if rest := w.yield(func(left int) int { return left }); rest != nil {
		d.putBack(rest)
	}
	switch took := w.now - w.since; {
	case took >= moment:
		w.most = 1
	case took < moment/8:
		w.most = min(2*w.most, mostTaken)
	}
	last := len(d.busy) - 1
	d.busy[w.place], d.busy[last].place = d.busy[last], w.place
	d.busy[last] = nil
	d.busy = d.busy[:last]
	if len(w.batch) > 1 {
		d.ahead = slices.DeleteFunc(d.ahead, func(o *worker) bool { return o == w })
	}
	w.hold(nil)
}

// give hands messages to a worker without any.
func (d *delivery) give(w *worker, batch []Message) {
	w.hold(batch)
	w.place = len(d.busy)
	d.busy = append(d.busy, w)
	if len(batch) > 1 {
		d.ahead = append(d.ahead, w)
	}
}

// putBack puts messages before all others.
func (d *delivery) putBack(messages []Message) {
	if d.head == 0 {
		d.queue, d.head = append([][]Message{nil}, d.queue...), 1
	}
	d.head--
	d.queue[d.head] = messages
}

// refill gives a worker messages: those of a worker that has come no further
// since somebody looked last, the next of the queue, or half of those of any
// other.
func (d *delivery) refill(w *worker) bool {
	if len(d.busy) >= d.limit {
		return false
	}
	d.ahead = slices.DeleteFunc(d.ahead, (*worker).spent)
	for _, other := range d.ahead {
		if other.stuck() && d.takeFrom(other, w) {
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
	return slices.ContainsFunc(d.ahead, func(other *worker) bool { return d.takeFrom(other, w) })
}

// takeFrom gives a worker half of what another has not begun.
func (d *delivery) takeFrom(other, w *worker) bool {
	half := other.yield(func(left int) int { return (left + 1) / 2 })
	if half == nil {
		return false
	}
	d.give(w, half)
	return true
}

// wake wakes a worker, if there is one and something for it to do. It will see
// to the next one: with handlers that are done at once few are needed.
func (d *delivery) wake() {
	if d.idle > 0 && !d.waking && len(d.busy) < d.limit && d.unclaimed() {
		d.waking = true
		d.some.Signal()
	}
}

// unclaimed tells whether there is a message that nobody has begun.
func (d *delivery) unclaimed() bool {
	return d.head < len(d.queue) || slices.ContainsFunc(d.ahead, func(w *worker) bool { return w.left() > 0 })
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

// reclaim puts what workers have taken and not begun back into the queue.
func (d *delivery) reclaim() {
	for _, w := range d.ahead {
		if rest := w.yield(func(left int) int { return left }); rest != nil {
			d.putBack(rest)
		}
	}
}

// extract takes messages that nobody has begun out of the queue.
func (d *delivery) extract(which func(*Message) bool) (out []*Message) {
	d.reclaim()
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
func (d *delivery) close() []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.some.Broadcast()
	return d.extract(func(*Message) bool { return true })
}

// setLimit follows a change of max_in_flight. 0 means that nothing new comes;
// what is there is worked on as before.
func (d *delivery) setLimit(n int) {
	if n == 0 {
		return
	}
	d.mu.Lock()
	d.limit = n
	d.reclaim() // so that it is minded before anyone begins another
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
	d.reclaim() // so that those who are to quit do before they begin another
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

// waiting is how many workers have no message, or are about to end.
func (d *delivery) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.workers) - len(d.busy)
}
