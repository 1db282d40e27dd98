package nsq

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// worker is the queue's view of one goroutine that calls a handler.
type worker struct {
	handler int           // index in Consumer.handlers; -1 for a loop over Messages
	call    *addedHandler // the handler itself; set before the goroutine starts
	most    int           // how many messages its handler gets at a time; 0 is 1
	loan    *loan         // if it is a reader; otherwise nil

	// Guarded by the queue's mutex:
	index int    // its index in the queue's workers
	quit  bool   // it must end
	gone  bool   // take has returned false to it
	place int    // its index in the queue's busy, while it is there
	seen  uint64 // the value of claims at the last call of stalled

	// batch is what the worker has taken: first the messages that it has claimed, then
	// those that it has not begun. It works on the last claimed one. Only the worker
	// sets batch, with the queue's mutex held.
	batch []Message
	// claims holds two counts: in the high 32 bits how many messages of batch are
	// claimed, in the low 32 bits how many belong to the worker. Only the worker raises
	// the first, without the mutex. Any holder of the queue's mutex may lower the
	// second. Both use compare-and-swap, so no message is both begun and taken back.
	claims atomic.Uint64

	since time.Duration // when it took the batch; the worker sets it, with the mutex held

	// Used by the worker only:
	now       time.Duration // when it last took a message
	batchSize int           // the length of its next batch, at least 1

	// See timeIsFresh. All but overdue are used by the worker only.
	fresh    int         // for how many more messages now will do
	freshFor int         // for how many it will do once it is read
	timed    bool        // fins has a FIN, and so a timer runs that will set overdue
	overdue  atomic.Bool // the timer has fired, and now was not read since

	// begun is when the worker began its current message. It is kept for auto_touch
	// only. A sweep or a call of Health that races with this store sees the previous time.
	// That is harmless: the next sweep sees the new one, and for Health the lease of a
	// message that was only just begun has not ended.
	begun atomic.Int64
	fins  finBatch
}

// finBatch holds the FINs that a worker has not yet given to the link. However slow the
// handler, they wait no longer than about batchSlice: see deliveryQueue.
type finBatch struct {
	mu    sync.Mutex // guards conn, ids and bytes
	conn  *consumerConn
	ids   []wire.ID
	bytes int64     // what the bodies of the messages weigh
	spare []wire.ID // the previous ids, for reuse; only the worker uses it
}

// add adds the FIN of a message, and reports whether it is the first. Only the worker
// calls it. All FINs of a batch go to one link, since all messages of a slab came over
// one connection.
func (b *finBatch) add(m *Message) (first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn = m.conn
	b.ids = append(b.ids, wire.ID(m.ID))
	b.bytes += m.weight.bytes()
	return len(b.ids) == 1
}

// flush gives the FINs to the link. Only the worker calls it.
func (b *finBatch) flush() {
	b.mu.Lock()
	conn, ids, bytes := b.conn, b.ids, b.bytes
	b.ids, b.bytes = b.spare[:0], 0
	b.mu.Unlock()
	if len(ids) > 0 {
		conn.link.Fins(ids)
		conn.releaseBodies(bytes)
	}
	b.spare = ids
}

// flushFor gives the FINs to the link on behalf of a worker whose handler is running.
func (b *finBatch) flushFor() {
	b.mu.Lock()
	conn, ids, bytes := b.conn, slices.Clone(b.ids), b.bytes
	b.ids, b.bytes = b.ids[:0], 0
	b.mu.Unlock()
	if len(ids) > 0 {
		conn.link.Fins(ids)
		conn.releaseBodies(bytes)
	}
}

// empty reports whether there is no FIN.
func (b *finBatch) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ids) == 0
}

// oneClaim added to claims raises the number of claimed messages by one.
const oneClaim = 1 << 32

// unpack splits claims into its two counts.
func unpack(claims uint64) (claimed, all int) { return int(claims >> 32), int(uint32(claims)) } // #nosec G115 -- halves

// A worker needs the time before each message, because it must not begin one whose lease is
// over. Where handlers take less than a microsecond, reading the clock would be an eighth of
// what a message costs. So a worker may use the time that it has read for further messages
// of its batch: as many as it handles in freshTime, going by what handlers have taken so far,
// and mostFresh at most. A handler may turn out to be slow:
//
//  1. The worker reads the clock after the first message of a batch, and adds its FIN, which
//     starts the timer of flushStale.
//  2. A later handler takes long. The timer fires after batchSlice, and sets overdue.
//  3. The handler returns, the worker finds overdue and reads the clock.
//
// If the timer fires late the worker may use a time that is as old. So it reads the clock
// anyway if less than leaseMargin of a lease is left: see begin.
const (
	freshTime   = time.Microsecond
	mostFresh   = 15
	leaseMargin = time.Second
)

// timeIsFresh reports whether the worker may begin another message by the time it has read
// last.
func (w *worker) timeIsFresh() bool {
	if w.fresh == 0 || !w.timed || w.overdue.Load() {
		return false
	}
	w.fresh--
	return true
}

// timeRead notes that the worker has just read the clock.
func (w *worker) timeRead() {
	w.fresh = w.freshFor
	if w.overdue.Load() {
		w.overdue.Store(false)
		w.timed = false // its FINs are sent, and the next one starts the timer again
	}
}

// setBatch replaces the batch. The worker calls it, with the queue's mutex held.
func (w *worker) setBatch(batch []Message) {
	w.batch = batch
	w.claims.Store(uint64(len(batch)))
}

// claim claims and returns the next message of the batch, nil if there is none. Only the
// worker calls it.
func (w *worker) claim() *Message {
	for {
		claims := w.claims.Load()
		claimed, all := unpack(claims)
		if claimed == all {
			return nil
		}
		if w.claims.CompareAndSwap(claims, claims+oneClaim) {
			return &w.batch[claimed]
		}
	}
}

// current returns the message that the worker works on or has just finished, nil if there
// is none. Callers other than the worker hold the queue's mutex.
func (w *worker) current() *Message {
	if claimed, _ := unpack(w.claims.Load()); claimed > 0 {
		return &w.batch[claimed-1]
	}
	return nil
}

// unclaimed returns how many messages the worker has taken and not begun.
func (w *worker) unclaimed() int {
	claimed, all := unpack(w.claims.Load())
	return all - claimed
}

// nothingToSteal reports whether w has neither unclaimed messages nor unsent FINs. If so,
// that holds until its next batch: w gets no more messages before that, and after its
// current one, the last of the batch, it sends the FIN itself.
func (w *worker) nothingToSteal() bool { return w.unclaimed() == 0 && w.fins.empty() }

// stalled reports whether w has unclaimed messages and has claimed none since the last
// call. Callers hold the queue's mutex.
func (w *worker) stalled() bool {
	claims := w.claims.Load()
	same := claims == w.seen
	w.seen = claims
	claimed, all := unpack(claims)
	return same && claimed < all
}

// unclaimAll takes back the messages that the worker has not begun. Callers hold
// the queue's mutex.
func (w *worker) unclaimAll() []Message { return w.unclaim(func(n int) int { return n }) }

// unclaimHalf takes back the last half of the messages that the worker has not begun,
// rounded up. Callers hold the queue's mutex.
func (w *worker) unclaimHalf() []Message { return w.unclaim(func(n int) int { return (n + 1) / 2 }) }

// unclaim takes back as many messages as share returns, from the end of the batch.
func (w *worker) unclaim(share func(unclaimed int) int) []Message {
	for {
		claims := w.claims.Load()
		claimed, all := unpack(claims)
		n := share(all - claimed)
		if n == 0 {
			return nil
		}
		if w.claims.CompareAndSwap(claims, claims-uint64(n)) { // #nosec G115 -- not negative
			return w.batch[all-n : all]
		}
	}
}
