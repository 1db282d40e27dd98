package top

import (
	"context"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
)

// work runs the commands of a Model that take time. The library does not wait for commands when
// the program ends; work does, so that no request and no timer outlives the screen.
type work struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards closed, and that no command begins after it
	closed  bool
	running sync.WaitGroup
}

func newWork(ctx context.Context) *work {
	w := new(work)
	w.ctx, w.cancel = context.WithCancel(ctx)
	return w
}

// do returns the command that calls f. It has no result once the work is closed.
func (w *work) do(f func(ctx context.Context) tea.Msg) tea.Cmd {
	return func() tea.Msg {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return nil
		}
		w.running.Add(1)
		w.mu.Unlock()
		defer w.running.Done()
		return f(w.ctx)
	}
}

// after returns the command whose result is msg, d later.
func (w *work) after(d time.Duration, msg tea.Msg) tea.Cmd {
	return w.do(func(ctx context.Context) tea.Msg {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return msg
		case <-ctx.Done():
			return nil
		}
	})
}

// close cancels what runs and waits for it.
func (w *work) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.running.Wait()
}
