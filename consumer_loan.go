package nsq

import (
	"slices"
	"time"

	"github.com/rdyhq/nsq/internal/link"
)

// The reader of a connection may handle what it has read itself. That spares two wake-ups
// for each read, of a worker and of the writer, and these are what a message costs while
// few are in flight. It does so only if
//
//   - the Consumer has one handler, added by AddHandler or AddConcurrentHandlers;
//   - no message waits and no worker has one, and at least one is idle, whose place the
//     reader takes: it counts as busy meanwhile, so no more handlers run at a time than
//     were added;
//   - by what handlers have taken so far, all messages of the read together take no longer
//     than loanBudget.
//
// The messages go into the queue first. The reader takes them out as workers do, and workers
// may steal those that it has not begun.
//
// A handler that turns out to be slow must not keep the reader: while it reads nothing, nsqd
// gets no NOP for its heartbeats, and messages and commands wait. A timer runs while there
// are loans. It recalls a loan that it finds twice, so after one to two milliseconds: then
// another goroutine reads, and the handler's goes on as a worker would. A stop recalls all
// loans at once.

const (
	// loanBudget is how long the messages of a read may take for the reader to handle them.
	// A longer time is better spent reading on while a worker handles them.
	loanBudget = 10 * time.Microsecond
	// loanTime is how long the reader begins further messages if they take longer than
	// expected.
	loanTime = 5 * loanBudget
)

// loan is the queue's view of a reader that handles messages.
type loan struct {
	from   *consumerConn
	number link.Loan
	began  time.Duration // on the Consumer's clock

	// Guarded by the queue's mutex:
	found    bool // the timer has found it once
	recalled bool
}

// loans is the queue's view of all of them. The queue's mutex guards it.
type loans struct {
	possible bool          // there is one handler
	cost     time.Duration // what a message took lately
	running  int           // how many have not ended
	current  []*worker     // those that were not recalled
	last     time.Duration // when the last one began

	timer   *time.Timer // runs recallLoans
	ticking bool        // it was started, and has neither fired nor been stopped
	dense   bool        // the last loan began soon after the one before: the timer runs on, since starting costs more
}

// note takes into account how long a batch of so many messages took. One batch that takes
// much longer than others says little: the goroutine may not have run all the time.
func (l *loans) note(took time.Duration, messages int) {
	each := min(took/time.Duration(max(messages, 1)), 4*l.cost+100)
	l.cost += (each - l.cost) / 8
}

// mayLend reports whether the reader may handle the messages of a read, which it is about to
// put into the queue.
func (d *deliveryQueue) mayLend(messages int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.loans.possible && !d.sealed && len(d.busy) == 0 && d.idle > 0 && !d.waking && d.lanes.empty() &&
		d.loans.cost <= loanBudget && time.Duration(messages)*d.loans.cost <= loanBudget
}

// Borrows reports whether the reader is to handle what it has read last: see Messages.
func (cc *consumerConn) Borrows() bool {
	borrows := cc.borrows
	cc.borrows = false
	return borrows
}

// readOn has a worker handle the messages that the reader was to handle, because the reader
// has something else to do first, such as to log.
func (cc *consumerConn) readOn() {
	if cc.Borrows() {
		cc.c.queue.wake()
	}
}

// wake wakes a worker if there is a message for it.
func (d *deliveryQueue) wake() {
	d.mu.Lock()
	d.wakeOne()
	d.mu.Unlock()
}

// Work handles messages on the reader's goroutine.
func (cc *consumerConn) Work(number link.Loan) {
	w := cc.spare
	cc.spare = nil
	if w == nil {
		w = &worker{call: cc.c.handlers[0], batchSize: mostPrefetched}
		w.loan = &loan{from: cc}
	}
	d := cc.c.queue
	d.beginLoan(w, number)
	defer func() { // also if a handler calls runtime.Goexit
		if d.endLoan(w) {
			cc.c.reportTakers() // a stop may be waiting for the last one
		}
		if !w.loan.recalled { // this is still the reader, to which spare belongs
			cc.spare = w
		}
	}()
	cc.c.handleAll(w)
}

// beginLoan begins a loan. w has none.
func (d *deliveryQueue) beginLoan(w *worker, number link.Loan) {
	d.mu.Lock()
	now := d.clock()
	w.loan.number, w.loan.began, w.loan.found = number, now, false
	d.loans.running++
	d.loans.current = append(d.loans.current, w)
	d.loans.dense = now-d.loans.last < batchSlice/4
	d.loans.last = now
	if !d.loans.ticking {
		d.loans.ticking = true
		d.loans.timer.Reset(batchSlice)
	}
	d.mu.Unlock()
}

// endLoan ends a loan, and reports whether a stop may wait for that.
func (d *deliveryQueue) endLoan(w *worker) bool {
	if m := w.current(); m != nil { // the handler has ended the goroutine
		d.leave(m)
		w.now = d.clock()
	}
	w.fins.flush()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endBatch(w)
	d.loans.running--
	if !w.loan.recalled {
		d.loans.forget(w)
		if len(d.loans.current) == 0 && !d.loans.dense && d.loans.timer.Stop() {
			d.loans.ticking = false
		}
	}
	d.wakeOne()
	return d.sealed
}

func (l *loans) forget(w *worker) {
	i, last := slices.Index(l.current, w), len(l.current)-1
	l.current[i] = l.current[last]
	l.current[last] = nil
	l.current = l.current[:last]
}

// over reports whether a reader that handles messages must begin no more. Callers hold the
// queue's mutex.
func (l *loan) over(now time.Duration) bool { return l.recalled || now-l.began >= loanTime }

// recallLoans recalls the loans that it finds a second time. Already the first time it has
// workers take over what readers have not begun.
func (d *deliveryQueue) recallLoans() {
	d.mu.Lock()
	stale := d.loans.recall(func(l *loan) (again bool) {
		again, l.found = l.found, true
		return again
	})
	if len(stale) > 0 {
		d.loans.cost = max(d.loans.cost, batchSlice)
	}
	if d.loans.ticking = len(d.loans.current) > 0; d.loans.ticking {
		d.loans.timer.Reset(batchSlice)
	}
	d.wakeOne()
	d.mu.Unlock()
	readOnFor(stale)
}

// recall marks the matching loans as recalled and returns them. Callers hold the queue's mutex,
// and call readOnFor without it.
func (l *loans) recall(match func(*loan) bool) (recalled []*loan) {
	for _, w := range slices.Clone(l.current) {
		if match(w.loan) {
			w.loan.recalled = true
			l.forget(w)
			recalled = append(recalled, w.loan)
		}
	}
	return recalled
}

// readOnFor has other goroutines read in place of those whose loans were recalled.
func readOnFor(recalled []*loan) {
	for _, l := range recalled {
		l.from.link.Recall(l.number)
	}
}

// allowLoans says whether readers may handle messages at all.
func (d *deliveryQueue) allowLoans(possible bool) {
	d.mu.Lock()
	d.loans.possible = possible
	d.mu.Unlock()
}
