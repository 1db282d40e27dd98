package nsq

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// deliveryQueue holds what a Consumer has in hand: messages that wait for a
// handler, those that handlers work on, and those that a handler has left to be
// acked later.
//
// Readers put messages in and never wait; workers take them out. The queue grows.
// RDY bounds it, and a message whose lease ends is taken out of it, because nsqd
// may deliver it again then.
//
// # Batches
//
// Messages come in slabs. A worker takes a batch from the front of one: as many
// messages as its handler is done with within batchSlice, which is one if the
// handler is slow. Those that it has not begun still belong to everybody:
//
//  1. When batchSlice is over, the worker puts them back before it takes another
//     batch.
//  2. A worker that finds another stalled, or the queue empty, steals half of
//     them.
//  3. Whoever goes through all messages has them put back first.
//
// So no message waits behind a slow one while another handler could have it.
//
// # FINs of a batch
//
// A worker gathers the FINs of its batch and gives them to the link at its end: a
// FIN each would cost the link's mutex each time. If a later message of the batch
// is slow, a timer sends them instead. No FIN is left behind without a timer:
//
//  1. A worker adds the first FIN of a batch that has messages left. It sets
//     flushScheduled, and if it was not set, starts the timer.
//  2. The timer fires. It resets flushScheduled first, and then sends the FINs of
//     all prefetching workers.
//  3. A worker that adds its first FIN after the timer has looked at it finds
//     flushScheduled reset, and starts the timer again. One that adds it before
//     is looked at.
//
// If the timer reset flushScheduled last, a worker could add a FIN after it was
// looked at and before the reset, and trust a timer that does not come.
type deliveryQueue struct {
	clock    func() time.Duration
	touching time.Duration // how long auto_touch keeps a lease alive; 0: it is off

	mu   sync.Mutex // guards what follows, up to detached
	some sync.Cond  // signalled when a worker may have something to do

	queue  [][]Message
	head   int  // queue[head:] waits
	idle   int  // workers that wait in take
	waking bool // one of them was woken and has not looked yet; it wakes the next
	closed bool // no worker begins a message any more

	workers []*worker
	busy    []*worker // those with a message
	// prefetching are those of busy that have taken more than one message, and
	// may still have some to steal, or FINs to send. There may be thousands of
	// other busy workers, with slow handlers, that need not be looked at.
	prefetching []*worker
	// limit is how many workers may be busy: max_in_flight. RDY alone does not see
	// to that. When a lease is over, which nsqd's clock may say before ours, nsqd
	// frees the slot and sends another message, whatever the handler does.
	limit int

	detached map[*Message]struct{} // not acked, though their handlers have returned

	flushTimer     *time.Timer // runs flushStale
	flushScheduled atomic.Bool // it was started and has not fired
}

const (
	// batchSlice is how long a worker keeps a batch to itself.
	batchSlice = time.Millisecond
	// mostPrefetched is the length of the longest batch. A slab is no longer.
	mostPrefetched = messageSlab
)

// newQueue returns a queue of which that many messages may be worked on at a time.
func newQueue(limit int, touching time.Duration, clock func() time.Duration) *deliveryQueue {
	d := &deliveryQueue{
		clock: clock, touching: touching, limit: max(limit, 1), detached: make(map[*Message]struct{}),
	}
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
	d.wakeOne()
	return true
}

// take ends a worker's work on its message, and waits for the next one. It
// reports false when the worker is to end. w.now is the time at which it returns
// a message.
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
	d.endBatch(w)
	for !w.quit && !d.closed && !d.refill(w) {
		d.idle++
		d.some.Wait()
		d.idle--
		d.waking = false
		w.now = d.clock()
	}
	if w.quit || d.closed {
		d.wakeOne() // it may have been woken for a message
		w.gone = true
		return nil, false
	}
	w.since = w.now
	m := w.claim()
	d.wakeOne()
	return m, true
}

// addFin sends the FIN of a worker's message together with those of its batch.
func (d *deliveryQueue) addFin(w *worker, m *Message) {
	if w.fins.add(m.conn.link, m.ID) && w.unclaimed() > 0 && !d.flushScheduled.Swap(true) {
		d.flushTimer.Reset(batchSlice)
	}
}

// flushStale sends FINs that workers have not come to send.
func (d *deliveryQueue) flushStale() {
	d.flushScheduled.Store(false)
	d.flushOf(&d.prefetching)
}

// flushAll sends the FINs of all workers. Call it before Abandon, after which none
// can be sent. A worker with a single message sends its FIN at once, but may not
// have come to that yet.
func (d *deliveryQueue) flushAll() { d.flushOf(&d.busy) }

func (d *deliveryQueue) flushOf(some *[]*worker) {
	d.mu.Lock()
	workers := slices.Clone(*some)
	d.mu.Unlock()
	for _, w := range workers {
		w.fins.flushFor()
	}
}

// detach remembers a message that is to be acked later.
//
// The ack may come at the same moment. It sets responded and then looks whether
// the message was detached; here detached is set and then responded looked at. So
// at least one of the two sees the other, and none leaves an entry behind.
func (d *deliveryQueue) detach(m *Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !m.is(responded|timedOut) && m.set(detached)&responded == 0 {
		d.detached[m] = struct{}{}
	}
}

// endBatch takes a worker's batch out of its hands and puts back what is not
// begun. How long the batch took says how long the next one is.
func (d *deliveryQueue) endBatch(w *worker) {
	if w.batch == nil {
		return
	}
	d.putBack(w.unclaimAll())
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
	w.setBatch(nil)
}

// assign hands a batch to a worker without one.
func (d *deliveryQueue) assign(w *worker, batch []Message) {
	w.setBatch(batch)
	w.place = len(d.busy)
	d.busy = append(d.busy, w)
	if len(batch) > 1 {
		d.prefetching = append(d.prefetching, w)
	}
}

// putBack puts messages, if there are any, before all others.
func (d *deliveryQueue) putBack(messages []Message) {
	if len(messages) == 0 {
		return
	}
	if d.head == 0 {
		d.queue, d.head = append([][]Message{nil}, d.queue...), 1
	}
	d.head--
	d.queue[d.head] = messages
}

// refill gives a worker a batch, of the first of these that has messages:
//
//  1. a worker that has begun none since the last look: half of its batch;
//  2. the queue;
//  3. any other worker: half of its batch.
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
		d.assign(w, slab[:n:n])
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

// stealHalf gives a worker half of the messages that another has not begun. It
// reports whether there were any.
func (d *deliveryQueue) stealHalf(other, w *worker) bool {
	half := other.unclaimHalf()
	if half == nil {
		return false
	}
	d.assign(w, half)
	return true
}

// wakeOne wakes an idle worker if there is something for it to do. The worker
// wakes the next one: while handlers are done at once, few are needed.
func (d *deliveryQueue) wakeOne() {
	if d.idle > 0 && !d.waking && len(d.busy) < d.limit && d.hasUnbegun() {
		d.waking = true
		d.some.Signal()
	}
}

// hasUnbegun reports whether there is a message that no worker has begun.
func (d *deliveryQueue) hasUnbegun() bool {
	return d.head < len(d.queue) || slices.ContainsFunc(d.prefetching, func(w *worker) bool { return w.unclaimed() > 0 })
}

// forgetDetached forgets a message that was to be acked later, and was.
func (d *deliveryQueue) forgetDetached(m *Message) {
	d.mu.Lock()
	delete(d.detached, m)
	d.mu.Unlock()
}

// remove takes the messages of one connection that no worker has begun out of the
// queue, and returns them.
func (d *deliveryQueue) remove(from *consumerConn) []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.extract(func(m *Message) bool { return m.conn == from })
}

// unclaimAll puts what workers have taken and not begun back into the queue.
func (d *deliveryQueue) unclaimAll() {
	for _, w := range d.prefetching {
		d.putBack(w.unclaimAll())
	}
}

// extract takes messages that no worker has begun out of the queue, and returns
// them.
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

// expireBegun marks messages that were begun and not acked as timed out, and returns them.
func (d *deliveryQueue) expireBegun(which func(*Message) bool) (marked []*Message) {
	for _, w := range d.busy {
		if m := w.current(); !m.is(responded|timedOut|detached) && which(m) && m.expire() {
			marked = append(marked, m)
		}
	}
	for m := range d.detached {
		if which(m) && m.expire() {
			delete(d.detached, m)
			marked = append(marked, m)
		}
	}
	return marked
}

// orphan gives up a connection's messages when it has ended, since nsqd delivers them
// again. It takes those that no worker has begun out of the queue, marks all that are
// not acked as timed out, and returns these.
func (d *deliveryQueue) orphan(from *consumerConn) []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	its := func(m *Message) bool { return m.conn == from }
	unbegun := slices.DeleteFunc(d.extract(its), func(m *Message) bool { return !m.expire() })
	return append(unbegun, d.expireBegun(its)...)
}

// close ends every take and returns what no worker has begun.
func (d *deliveryQueue) close() []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.some.Broadcast()
	return d.extract(func(*Message) bool { return true })
}

// stopTimer stops the timer for good. Only workers with more than one message start
// it, and no worker has more when the Consumer has stopped.
func (d *deliveryQueue) stopTimer() { d.flushTimer.Stop() }

// setLimit follows a change of max_in_flight. 0 changes nothing: no message comes
// then, and those in hand are worked on as before.
func (d *deliveryQueue) setLimit(n int) {
	if n == 0 {
		return
	}
	d.mu.Lock()
	d.limit = n
	d.unclaimAll() // the limit holds from the next message on
	d.some.Broadcast()
	d.mu.Unlock()
}

// workerCount returns how many workers there are.
func (d *deliveryQueue) workerCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.workers)
}

// setWorkers sets how many workers a handler has, and returns the new ones. Of too
// many, those that wait quit first, and then those that work.
func (d *deliveryQueue) setWorkers(handler, n int) (added []*worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unclaimAll()                                // those that quit begin no other message
	for _, waiting := range []bool{false, true} { // those that work stay first
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
		added = append(added, w)
	}
	d.some.Broadcast()
	return added
}

// removeWorker forgets a worker whose goroutine ends.
func (d *deliveryQueue) removeWorker(w *worker) {
	d.mu.Lock()
	d.workers = slices.DeleteFunc(d.workers, func(o *worker) bool { return o == w })
	d.mu.Unlock()
}

// Unfinished is a message that a handler had begun.
type Unfinished struct {
	ID          MessageID
	NSQDAddress string
}

// unfinished returns the messages that workers work on, and those whose handlers
// have returned without an ack.
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

// idleWorkers returns how many workers have no message, or are about to end.
func (d *deliveryQueue) idleWorkers() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.workers) - len(d.busy)
}
