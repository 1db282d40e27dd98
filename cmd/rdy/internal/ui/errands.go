package ui

import (
	"context"
	"errors"
	"sync"
)

var errEnding = errors.New("rdy ui is stopping")

// errands are the requests of viewers that change something, or have connections to nsqds for as
// long as they run.
// Server.Run ends them, and waits for them, when it ends itself.
type errands struct {
	all context.Context
	end context.CancelFunc

	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
}

func newErrands() *errands {
	e := new(errands)
	e.all, e.end = context.WithCancel(context.Background())
	return e
}

// begin begins an errand. Its context ends with ctx, or with the Server. done is called when all
// its connections are closed. ok is false if the Server has ended.
func (e *errands) begin(ctx context.Context) (errand context.Context, done func(), ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return nil, nil, false
	}
	e.running.Add(1)
	errand, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.all, func() { cancel(errEnding) })
	return errand, func() {
		stop()
		cancel(nil)
		e.running.Done()
	}, true
}

// wait ends all errands and waits for them. No other begins.
func (e *errands) wait() {
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	e.end()
	e.running.Wait()
}
