package nsq

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// worker is a handler's goroutine, as the delivery knows it.
type worker struct {
	handler int     // which of the Consumer's
	call    Handler // itself
	quit    bool    // it is to end
	gone    bool    // it was told so, and does not come back
	place   int     // in the delivery's busy, while it is there

	// batch is what it has taken: the first of it is done, the last of what is
	// claimed it works on, the rest it has not begun. It claims without the
	// delivery's mutex. Whoever holds that may take some back from the end.
	batch  []Message     // set with the mutex held, and by the worker only
	claims atomic.Uint64 // how many are claimed, and how many there are: 32 bits each
	seen   uint64        // the claims when somebody looked last; guarded by the mutex

	// The worker's own:

	now   time.Duration // when it took a message last
	since time.Duration // when it took the batch
	most  int           // how many it takes next, 1 or more

	// begun is since when it works on a message, kept only for auto_touch. It is
	// set without the mutex: a sweep that comes before it sees the one before,
	// and the next sweep knows better.
	begun atomic.Int64

	fins finBatch
}

// finBatch are FINs of a worker that its link has not been given: those of a batch
// go together, since what costs is the link's mutex. They never wait for a
// handler longer than a moment: see delivery.rescue.
type finBatch struct {
	mu    sync.Mutex // guards what follows; only its worker adds
	link  *link.Link
	ids   []wire.ID
	spare []wire.ID // what ids was before; the worker's own
}

// add adds a FIN. It tells whether it is the first. All of a batch are for the
// same link, since it came over that.
func (a *finBatch) add(l *link.Link, id MessageID) (first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.link = l
	a.ids = append(a.ids, wire.ID(id))
	return len(a.ids) == 1
}

// flush gives the link what there is. The worker calls it.
func (a *finBatch) flush() {
	a.mu.Lock()
	l, ids := a.link, a.ids
	a.ids = a.spare[:0]
	a.mu.Unlock()
	if len(ids) > 0 {
		l.Fins(ids)
	}
	a.spare = ids
}

// flushFor gives the link what there is, on behalf of a worker that is at work.
func (a *finBatch) flushFor() {
	a.mu.Lock()
	l, ids := a.link, slices.Clone(a.ids)
	a.ids = a.ids[:0]
	a.mu.Unlock()
	if len(ids) > 0 {
		l.Fins(ids)
	}
}

// empty tells whether there are none.
func (a *finBatch) empty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ids) == 0
}

const oneClaim = 1 << 32

func unpack(claims uint64) (claimed, all int) { return int(claims >> 32), int(uint32(claims)) } // #nosec G115 -- halves

// hold has it hold a batch. The worker itself calls this, with the mutex held.
func (w *worker) hold(batch []Message) {
	w.batch = batch
	w.claims.Store(uint64(len(batch)))
}

// claim begins the next message of the batch; nil says that there is none. Only
// the worker itself does.
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

// current is the message that it works on, or has just done with. Others than
// the worker itself hold the mutex.
func (w *worker) current() *Message {
	if claimed, _ := unpack(w.claims.Load()); claimed > 0 {
		return &w.batch[claimed-1]
	}
	return nil
}

// unclaimed is how many messages it has taken and not begun.
func (w *worker) unclaimed() int {
	claimed, all := unpack(w.claims.Load())
	return all - claimed
}

// nothingToSteal tells whether nothing of what it has taken is left to others, and no FIN
// either: those of messages that it claims from now on, which are the last of its
// batch, it sends itself.
func (w *worker) nothingToSteal() bool { return w.unclaimed() == 0 && w.fins.empty() }

// stalled tells whether it has begun none since the last call, and there are some.
// Callers hold the mutex.
func (w *worker) stalled() bool {
	claims := w.claims.Load()
	same := claims == w.seen
	w.seen = claims
	claimed, all := unpack(claims)
	return same && claimed < all
}

// unclaim takes back messages that it has not begun: as many of those left as is
// said. Callers hold the mutex.
func (w *worker) unclaim(share func(left int) int) []Message {
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
