package nsq

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// worker is a handler's goroutine, as the queue knows it.
type worker struct {
	handler int     // index of the handler, of the Consumer's
	call    Handler // the handler; set before the goroutine starts

	// Guarded by the queue's mutex:
	quit  bool   // it is to end
	gone  bool   // it was told so, and takes nothing any more
	place int    // index of it in the queue's busy, while it is there
	seen  uint64 // claims as of the last look for stalled workers

	// batch is what it has taken: claimed messages first, of which it works on the
	// last, and then those that it has not begun. Only the worker sets it, with
	// the queue's mutex held.
	batch []Message
	// claims is how many of batch are claimed, in the high 32 bits, and how many
	// belong to it, in the low ones. The worker raises the first without the mutex;
	// whoever holds the mutex may lower the second. Both by compare-and-swap, so no
	// message is begun and taken back.
	claims atomic.Uint64

	// The worker's own:
	now   time.Duration // when it took a message last
	since time.Duration // when it took the batch
	most  int           // length of its next batch, 1 or more

	// begun is when it began the message it works on, kept for auto_touch only.
	// A sweep that races with this store sees the previous time. That is harmless:
	// the next sweep sees the new one.
	begun atomic.Int64
	fins  finBatch
}

// finBatch is FINs that a worker's link was not given yet. They wait for no
// handler longer than about batchSlice: see deliveryQueue.
type finBatch struct {
	mu    sync.Mutex // guards link and ids; only the worker adds
	link  *link.Link
	ids   []wire.ID
	spare []wire.ID // what ids was before; the worker's own
}

// add adds a FIN. It reports whether it is the first. All of a batch are for one
// link: a slab came over one.
func (b *finBatch) add(l *link.Link, id MessageID) (first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.link = l
	b.ids = append(b.ids, wire.ID(id))
	return len(b.ids) == 1
}

// flush gives the link the FINs. Only the worker calls it.
func (b *finBatch) flush() {
	b.mu.Lock()
	l, ids := b.link, b.ids
	b.ids = b.spare[:0]
	b.mu.Unlock()
	if len(ids) > 0 {
		l.Fins(ids)
	}
	b.spare = ids
}

// flushFor gives the link the FINs on behalf of a worker whose handler is running.
func (b *finBatch) flushFor() {
	b.mu.Lock()
	l, ids := b.link, slices.Clone(b.ids)
	b.ids = b.ids[:0]
	b.mu.Unlock()
	if len(ids) > 0 {
		l.Fins(ids)
	}
}

// empty reports whether there are none.
func (b *finBatch) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ids) == 0
}

const oneClaim = 1 << 32

func unpack(claims uint64) (claimed, all int) { return int(claims >> 32), int(uint32(claims)) } // #nosec G115 -- halves

// setBatch replaces the batch. The worker calls it, with the queue's mutex held.
func (w *worker) setBatch(batch []Message) {
	w.batch = batch
	w.claims.Store(uint64(len(batch)))
}

// claim begins the next message of the batch, nil without one. Only the worker
// calls it.
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

// current returns the message that the worker works on or has just finished, nil
// without one. Callers other than the worker hold the queue's mutex.
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

// nothingToSteal reports whether w has neither unclaimed messages nor unsent FINs.
// It gets no others before its next batch: of the messages that it claims now the
// last is the last of its batch, and after that it sends the FINs itself.
func (w *worker) nothingToSteal() bool { return w.unclaimed() == 0 && w.fins.empty() }

// stalled reports whether w has unclaimed messages and has claimed none since the
// last call. Callers hold the queue's mutex.
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

// unclaimHalf takes back the last half of them, or the only one.
func (w *worker) unclaimHalf() []Message { return w.unclaim(func(n int) int { return (n + 1) / 2 }) }

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
