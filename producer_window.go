package nsq

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// maxOutstanding is how many bytes may wait to be sent or for nsqd's reply, at a
// Producer or a Batcher.
const maxOutstanding = 16 << 20

// errNoRoom is the cause when a claim's patience is over.
var errNoRoom = errors.New("too much is outstanding")

// window bounds a sum of sizes. Claims are granted in the order in which they
// were made. A size that exceeds the limit by itself is granted while nothing
// else is.
type window struct {
	limit int64

	mu      sync.Mutex // guards what follows
	used    int64
	granted int           // number of claims that are granted and not released
	waiting []*claim      // oldest first
	settled chan struct{} // of nextRelease; nil if no caller waits
}

// claim is a caller that waits for room. The window closes granted when the claim
// has its room.
type claim struct {
	size    int64
	granted chan struct{}
}

// tryAcquire claims room if that can be granted at once, and reports whether it was.
// While other claims wait it is not.
func (w *window) tryAcquire(size int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ok := len(w.waiting) == 0 && w.fits(size)
	if ok {
		w.use(size)
	}
	return ok
}

// use grants room. Callers hold the mutex.
func (w *window) use(size int64) {
	w.used += size
	w.granted++
}

// giveBack undoes use. Callers hold the mutex.
func (w *window) giveBack(size int64) {
	w.used -= size
	w.granted--
}

// state returns how many claims are granted and not released, and how much they take.
func (w *window) state() (claims int, size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.granted, w.used
}

func (w *window) fits(size int64) bool { return w.used == 0 || w.used+size <= w.limit }

// acquire waits for room until one of the contexts ends or, unless patience is 0, until
// patience is over. It returns the cause.
func (w *window) acquire(ctx, alive context.Context, size int64, patience time.Duration) error {
	if w.tryAcquire(size) {
		return nil
	}
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, patience, errNoRoom)
		defer cancel()
	}
	return w.wait(ctx, alive, size)
}

// wait waits for room until one of the contexts ends, and returns its cause.
func (w *window) wait(ctx, alive context.Context, size int64) error {
	c := &claim{size: size, granted: make(chan struct{})}
	w.mu.Lock()
	w.waiting = append(w.waiting, c)
	w.grant()
	w.mu.Unlock()
	select {
	case <-c.granted:
		return nil
	case <-ctx.Done():
		w.withdraw(c)
		return context.Cause(ctx)
	case <-alive.Done():
		w.withdraw(c)
		return context.Cause(alive)
	}
}

// withdraw undoes a claim. It may have been granted in the meantime; then its room
// is released.
func (w *window) withdraw(c *claim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.waiting, c); i >= 0 {
		w.waiting = slices.Delete(w.waiting, i, i+1)
	} else {
		w.giveBack(c.size)
		if w.used == 0 { // nothing is left to be released
			w.settle()
		}
	}
	w.grant() // the claims behind it may fit
}

// release gives room back.
func (w *window) release(size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.giveBack(size)
	w.settle()
	w.grant()
}

// settle wakes the callers of nextRelease. Callers hold the mutex.
func (w *window) settle() {
	if w.settled != nil {
		close(w.settled)
		w.settled = nil
	}
}

// nextRelease returns a channel that is closed when room is released next, or when none
// is claimed any longer. It returns nil if none is claimed.
func (w *window) nextRelease() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.used == 0 {
		return nil
	}
	if w.settled == nil {
		w.settled = make(chan struct{})
	}
	return w.settled
}

// grant grants the oldest claims as long as they fit. Callers hold the mutex.
func (w *window) grant() {
	for len(w.waiting) > 0 && w.fits(w.waiting[0].size) {
		w.use(w.waiting[0].size)
		close(w.waiting[0].granted)
		w.waiting = slices.Delete(w.waiting, 0, 1)
	}
}
