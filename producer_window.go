package nsq

import (
	"context"
	"slices"
	"sync"
	"time"
)

// window bounds the sum of what is outstanding. Those who wait for room get it
// in the order they came. What exceeds the limit by itself passes alone.
type window struct {
	limit int

	mu      sync.Mutex // guards what follows
	used    int
	waiting []*claim // oldest first
}

// claim is somebody who waits for room. granted is closed when he has it.
type claim struct {
	size    int
	granted chan struct{}
}

// try takes room if there is some and nobody waits for it.
func (w *window) try(size int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ok := len(w.waiting) == 0 && w.fits(size)
	if ok {
		w.used += size
	}
	return ok
}

func (w *window) fits(size int) bool { return w.used == 0 || w.used+size <= w.limit }

// acquire takes room, and waits for it until one of the contexts ends or, unless
// it is 0, patience. The error is why.
func (w *window) acquire(ctx, alive context.Context, size int, patience time.Duration) error {
	if w.try(size) {
		return nil
	}
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, patience, errNoRoom)
		defer cancel()
	}
	return w.wait(ctx, alive, size)
}

// wait takes room, and waits for it until one of the contexts ends, whose cause
// it returns.
func (w *window) wait(ctx, alive context.Context, size int) error {
	c := &claim{size: size, granted: make(chan struct{})}
	w.mu.Lock()
	w.waiting = append(w.waiting, c)
	w.serve()
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

// withdraw takes back a claim, which may have been granted meanwhile.
func (w *window) withdraw(c *claim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.waiting, c); i >= 0 {
		w.waiting = slices.Delete(w.waiting, i, i+1)
	} else {
		w.used -= c.size
	}
	w.serve() // those behind may be smaller
}

// release gives room back.
func (w *window) release(size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used -= size
	w.serve()
}

// serve grants what fits. Callers hold the mutex.
func (w *window) serve() {
	for len(w.waiting) > 0 && w.fits(w.waiting[0].size) {
		w.used += w.waiting[0].size
		close(w.waiting[0].granted)
		w.waiting = slices.Delete(w.waiting, 0, 1)
	}
}
