package nsq

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// deliveryQueue holds the messages that a Consumer has in hand: those that wait for a
// handler, those that handlers work on, and those that a handler has left to be acked
// later.
//
// Readers put messages in and never wait; workers take them out. The queue has no limit
// of its own. RDY bounds it, and a message leaves it when its lease ends, because nsqd
// then delivers the message again.
//
// # Batches
//
// Messages come in slabs. A worker takes a batch from the front of a slab of the
// connection whose turn it is (see lanes): as many messages as its handler can deal with
// within batchSlice, or one if the handler is slow. Other workers may still get those
// that it has not begun:
//
//  1. When batchSlice is over, the worker puts them back before it takes another batch.
//  2. A worker that finds this one stalled, or the queue empty, steals half of them.
//  3. Methods that go through all messages, such as extract, put them back first.
//
// So no message waits behind a slow one while another handler could have it.
//
// # FINs of a batch
//
// A worker gathers the FINs of its batch and gives them to the link when the batch ends,
// to lock the link's mutex once instead of once per FIN. If a later message of the batch
// is slow, a timer has them sent earlier. Every FIN that may have to wait has a timer
// running:
//
//  1. A worker adds the first FIN of a batch that has messages left. It sets
//     flushScheduled and, if that was not set before, starts the timer.
//  2. The timer fires. flushStale first resets flushScheduled, then goes through the
//     prefetching workers and sends their FINs.
//  3. If a worker adds its first FIN before flushStale comes to it, flushStale sends the
//     FIN. If it adds the FIN after that, it finds flushScheduled reset and starts the
//     timer again.
//
// If flushStale reset flushScheduled last, a worker could add a FIN after its turn and
// before the reset. It would rely on a timer that has already fired.
type deliveryQueue struct {
	clock     func() time.Duration
	autoTouch time.Duration // how long auto_touch keeps a lease alive; 0: it is off
	exact     bool          // workers read the clock before each message

	mu   sync.Mutex // guards the fields below, down to fetches
	work sync.Cond  // signalled when a worker may have something to do

	lanes  lanes // what waits
	idle   int   // number of workers that wait in take
	waking bool  // one of them was woken and has not run yet; it will wake the next
	sealed bool  // workers begin no more messages
	closed bool  // nor are any put in

	workers []*worker
	places  int       // how many of the workers need not quit
	busy    []*worker // those with a message
	// prefetching has the busy workers that took more than one message and may still
	// have messages to steal or FINs to send. It spares a search through all busy
	// workers: there may be thousands, with slow handlers and one message each.
	prefetching []*worker
	// limit is how many workers may be busy: max_in_flight. RDY alone does not ensure
	// that. When a lease ends, which may be earlier by nsqd's clock than by ours, nsqd
	// frees the slot and sends another message, even if the handler still runs.
	limit int

	detached map[*Message]struct{} // not acked, though their handlers have returned

	collectors      []*collector      // those that wait for messages, in the order in which they get them
	batches         []*collectedBatch // those that batch handlers work on
	shortOfMessages bool              // see tookMessages
	fetches         int               // how many Fetches wait for messages

	loans loans // guarded by mu

	flushTimer     *time.Timer // runs flushStale
	flushScheduled atomic.Bool // flushTimer was started and has not fired
}

const (
	// batchSlice is how long a worker keeps a batch to itself.
	batchSlice = time.Millisecond
	// mostPrefetched is the length of the longest batch, and of the longest slab.
	mostPrefetched = messageSlab
)

// newQueue returns a queue. Handlers work on at most limit of its messages at a time.
func newQueue(limit int, autoTouch time.Duration, clock func() time.Duration) *deliveryQueue {
	d := &deliveryQueue{
		clock: clock, autoTouch: autoTouch, limit: max(limit, 1), detached: make(map[*Message]struct{}),
	}
	d.work.L = &d.mu
	d.loans.cost = loanBudget + 1 // until something is known
	d.loans.timer = time.AfterFunc(time.Hour, d.recallLoans)
	d.loans.timer.Stop()
	d.flushTimer = time.AfterFunc(time.Hour, d.flushStale)
	d.flushTimer.Stop()
	return d
}

// put adds messages. It reports false, and adds none, once the queue is closed. If the reader
// is about to handle them, it wakes no worker.
func (d *deliveryQueue) put(messages []Message, lent bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	messages[0].conn.queued.Add(uint64(len(messages)))
	d.lanes.push(messages)
	d.feed()
	if !lent {
		d.wakeOne()
	}
	return true
}

// countQueued counts messages that a connection has brought and that are requeued instead of
// being put in.
func (d *deliveryQueue) countQueued(from *consumerConn, n int) {
	d.mu.Lock()
	from.queued.Add(uint64(n)) // #nosec G115 -- not negative
	d.mu.Unlock()
}

// take ends a worker's work on its message, and waits for the next one. It reports
// false if the worker must end. It sets w.now to the time at which it returns.
func (d *deliveryQueue) take(w *worker) (*Message, bool) {
	if m := w.current(); m != nil {
		d.leave(m)
	}
	if w.timeIsFresh() {
		if m := w.claim(); m != nil {
			return m, true
		}
	}
	w.now = d.clock()
	w.timeRead()
	if w.now-w.since < batchSlice {
		if m := w.claim(); m != nil {
			return m, true
		}
	}
	w.fins.flush()
	w.timed = false
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endBatch(w)
	for !w.quit && !d.sealed {
		if (w.loan == nil || !w.loan.over(w.now)) && d.refill(w) {
			break
		}
		if w.loan != nil {
			return nil, false
		}
		d.idle++
		d.work.Wait()
		d.idle--
		d.waking = false
		w.now = d.clock()
	}
	if w.quit || d.sealed {
		d.wakeOne() // in case this worker was woken for a message
		w.gone = true
		return nil, false
	}
	m := w.claim()
	if w.loan == nil && d.wakeOne() { // which takes longer than a fast handler
		w.now = d.clock()
	}
	w.since = w.now
	w.fresh, w.freshFor = 0, 0
	if !d.exact && w.unclaimed() > 1 {
		w.freshFor = min(int(freshTime/max(d.loans.cost, 1)), mostFresh)
	}
	return m, true
}

// leave ends a handler's work on a message. If it is not acked, it will be acked later.
func (d *deliveryQueue) leave(m *Message) {
	state := atomic.LoadUint32(&m.state)
	if state&(responded|timedOut) == 0 {
		d.detach(m)
		state = atomic.LoadUint32(&m.state)
	}
	if state&(timedOut|detached) == timedOut { // while the handler ran
		m.conn.releaseBodies(m.weight.bytes())
	}
}

// addFin adds the FIN of a worker's message to those of its batch.
func (d *deliveryQueue) addFin(w *worker, m *Message) {
	first := w.fins.add(m)
	if w.unclaimed() == 0 {
		return
	}
	w.timed = true
	if first && !d.flushScheduled.Swap(true) {
		d.flushTimer.Reset(batchSlice)
	}
}

// flushStale sends FINs that wait because their workers' handlers are slow.
func (d *deliveryQueue) flushStale() {
	d.flushScheduled.Store(false)
	d.flushFINs(&d.prefetching)
}

// flushAll sends the FINs of all workers, including those with a single message, which
// may be about to send theirs. Call it before Abandon: after that no FIN can be sent.
func (d *deliveryQueue) flushAll() { d.flushFINs(&d.busy) }

// flushFINs sends the FINs of the workers that list holds.
func (d *deliveryQueue) flushFINs(list *[]*worker) {
	d.mu.Lock()
	workers := slices.Clone(*list)
	d.mu.Unlock()
	for _, w := range workers {
		w.fins.flushFor()
		w.overdue.Store(true) // last: a FIN that is added after that starts the timer again
	}
}

// detach remembers a message that will be acked later.
//
// The ack may come at the same time. It sets responded and in the same step sees
// whether detached was set. detach sets detached and in the same step sees whether
// responded was. So one of the two sees the other, and no entry is left behind.
func (d *deliveryQueue) detach(m *Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !m.is(responded|timedOut) && m.set(detached)&responded == 0 {
		d.detached[m] = struct{}{}
	}
}

// endBatch ends a worker's batch and puts back the messages that it has not begun. The
// time that the batch took decides the length of the next one.
func (d *deliveryQueue) endBatch(w *worker) {
	if w.batch == nil {
		return
	}
	d.lanes.putBack(w.unclaimAll())
	d.feed()
	claimed, _ := unpack(w.claims.Load())
	took := w.now - w.since
	d.loans.note(took, claimed)
	switch {
	case took >= batchSlice:
		w.batchSize = 1
	case took < batchSlice/8:
		w.batchSize = min(2*w.batchSize, mostPrefetched)
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

// assign gives a batch to a worker that has none.
func (d *deliveryQueue) assign(w *worker, batch []Message) {
	w.setBatch(batch)
	w.place = len(d.busy)
	d.busy = append(d.busy, w)
	if len(batch) > 1 {
		d.prefetching = append(d.prefetching, w)
	}
}

// refill gives a worker a batch and reports whether it found one. It takes from the
// first of these that has messages:
//
//  1. a stalled worker: half of those that it has not begun;
//  2. the lane whose turn it is;
//  3. any other worker: half of those that it has not begun.
func (d *deliveryQueue) refill(w *worker) bool {
	if d.full() {
		return false
	}
	d.prefetching = slices.DeleteFunc(d.prefetching, (*worker).nothingToSteal)
	for _, other := range d.prefetching {
		if other.stalled() && d.stealHalf(other, w) {
			return true
		}
	}
	if !d.lanes.empty() {
		d.assign(w, d.lanes.take(w.batchSize))
		return true
	}
	return slices.ContainsFunc(d.prefetching, func(other *worker) bool { return d.stealHalf(other, w) })
}

// stealHalf gives w half of the messages that other has not begun. It reports whether
// there were any.
func (d *deliveryQueue) stealHalf(other, w *worker) bool {
	half := other.unclaimHalf()
	if half == nil {
		return false
	}
	d.assign(w, half)
	return true
}

// wakeOne wakes an idle worker if there is a message for it. That worker wakes the next
// one once it has a batch, so fast handlers keep only few workers awake. It reports whether
// it has woken one.
func (d *deliveryQueue) wakeOne() bool {
	if d.idle == 0 || d.waking || d.full() || !d.hasUnbegun() {
		return false
	}
	d.waking = true
	d.work.Signal()
	return true
}

// full reports whether no more messages may be begun. Readers that handle messages take the
// places of workers, which may be about to quit.
func (d *deliveryQueue) full() bool {
	busy := len(d.busy)
	return busy >= d.limit || d.loans.running > 0 && busy >= d.places
}

// hasUnbegun reports whether there is a message that no worker has begun.
func (d *deliveryQueue) hasUnbegun() bool {
	return !d.lanes.empty() || slices.ContainsFunc(d.prefetching, func(w *worker) bool { return w.unclaimed() > 0 })
}

// forgetDetached forgets a detached message that was acked.
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

// unclaimAll puts the messages that workers have taken and not begun back into the
// queue. Callers hold the mutex.
func (d *deliveryQueue) unclaimAll() {
	for _, w := range d.prefetching {
		d.lanes.putBack(w.unclaimAll())
	}
}

// removeWaiting takes all messages out of the queue that no worker or collector has taken, and
// returns them.
func (d *deliveryQueue) removeWaiting() []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lanes.extract(func(*Message) bool { return true })
}

// extract takes the matching messages that no worker has begun out of the queue, and
// returns them. Callers hold the mutex.
func (d *deliveryQueue) extract(match func(*Message) bool) []*Message {
	d.unclaimAll()
	out := d.extractCollected(match, d.lanes.extract(match))
	d.feed()
	return out
}

// expireBegun marks the matching messages that were begun and not acked as timed out,
// and returns them. Callers hold the mutex.
func (d *deliveryQueue) expireBegun(match func(*Message) bool) (marked []*Message) {
	for _, w := range d.busy {
		if m := w.current(); !m.is(responded|timedOut|detached) && match(m) && m.expire() {
			marked = append(marked, m)
		}
	}
	for _, b := range d.batches {
		for _, m := range b.messages {
			if !m.is(responded|timedOut|detached) && match(m) && m.expire() {
				marked = append(marked, m)
			}
		}
	}
	for m := range d.detached {
		if match(m) && m.expire() {
			delete(d.detached, m)
			marked = append(marked, m)
		}
	}
	return marked
}

// orphan gives up the messages of a connection that has ended. It takes those that no
// worker has begun out of the queue, marks all unacked messages as timed out, and
// returns these.
func (d *deliveryQueue) orphan(from *consumerConn) (unbegun, begun []*Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	its := func(m *Message) bool { return m.conn == from }
	unbegun = slices.DeleteFunc(d.extract(its), func(m *Message) bool { return !m.expire() })
	return unbegun, d.expireBegun(its)
}

// close seals the queue, makes put refuse messages, and returns those that no worker has
// begun.
func (d *deliveryQueue) close() []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sealed, d.closed = true, true
	d.wakeAll()
	return d.extract(func(*Message) bool { return true })
}

// stopTimers stops the timers for good. Call it when the queue is closed and all links have
// ended: then no worker has unclaimed messages, and no reader is on loan, so none starts a
// timer again.
func (d *deliveryQueue) stopTimers() {
	d.flushTimer.Stop()
	d.loans.timer.Stop()
}

// setLimit sets the limit to a new max_in_flight. 0 is ignored: RDY 0 keeps messages
// from coming, and those in hand are still handled.
func (d *deliveryQueue) setLimit(n int) {
	if n == 0 {
		return
	}
	d.mu.Lock()
	d.limit = n
	d.unclaimAll() // so that the limit applies to them
	d.wakeAll()
	d.mu.Unlock()
}

// workerCount returns how many workers there are, and readers that handle messages.
func (d *deliveryQueue) workerCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.workers) + d.loans.running
}

// setWorkers sets how many workers a handler has, each with at most that many messages at a
// time, and returns the new ones. If there are too many, idle workers quit before busy ones.
func (d *deliveryQueue) setWorkers(handler, n, most int) (added []*worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unclaimAll()                                // workers that quit must not keep messages
	for _, waiting := range []bool{false, true} { // busy workers are the first to stay
		for _, w := range d.workers {
			if w.handler == handler && !w.gone && (w.current() == nil && !d.hasBatch(w)) == waiting {
				w.quit = n <= 0
				n--
			}
		}
	}
	for ; n > 0; n-- {
		w := &worker{handler: handler, index: len(d.workers), batchSize: 1, most: most}
		d.workers = append(d.workers, w)
		added = append(added, w)
	}
	d.places = 0
	for _, w := range d.workers {
		if !w.quit {
			d.places++
		}
	}
	d.wakeAll()
	return added
}

// removeWorker removes a worker whose goroutine is about to end.
func (d *deliveryQueue) removeWorker(w *worker) {
	d.mu.Lock()
	last := len(d.workers) - 1
	d.workers[w.index], d.workers[last].index = d.workers[last], w.index
	d.workers[last] = nil
	d.workers = d.workers[:last]
	d.mu.Unlock()
}

// unfinished returns the messages whose handlers are running, and those whose handlers
// have returned without an ack.
func (d *deliveryQueue) unfinished() (running, unanswered []Unfinished) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.busy {
		if m := w.current(); !m.is(detached) {
			running = append(running, Unfinished{ID: m.ID, NSQDAddress: m.conn.addr})
		}
	}
	for _, b := range d.batches {
		for _, m := range b.messages {
			if !m.is(responded | detached) {
				running = append(running, Unfinished{ID: m.ID, NSQDAddress: m.conn.addr})
			}
		}
	}
	for m := range d.detached {
		unanswered = append(unanswered, Unfinished{ID: m.ID, NSQDAddress: m.conn.addr})
	}
	return running, unanswered
}

// load returns how many workers there are, how many have a message, how many messages no
// worker has begun, and how long the slowest worker has been at its message. That time
// counts from when the worker took its batch: it begins no message of a batch later than
// batchSlice after that.
func (d *deliveryQueue) load() (workers, busy, queued int, oldest time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	queued = d.lanes.len()
	for _, w := range d.busy {
		queued += w.unclaimed()
		oldest = max(oldest, d.clock()-w.since)
	}
	for _, b := range d.batches {
		oldest = max(oldest, d.clock()-b.begun)
	}
	for _, c := range d.collectors {
		queued += len(c.messages)
	}
	return len(d.workers), len(d.busy) + len(d.batches), queued, oldest
}

// idleWorkers returns how many workers have no message, or are about to end.
func (d *deliveryQueue) idleWorkers() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.workers) + d.loans.running - len(d.busy) - len(d.batches)
}
