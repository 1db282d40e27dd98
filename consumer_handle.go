package nsq

import (
	"fmt"
	"runtime/debug"
)

// work takes messages and calls the handler, until the worker must quit or the queue is
// closed. It is the worker's goroutine.
func (c *Consumer) work(w *worker) {
	// If the handler calls runtime.Goexit, this goroutine ends. The deferred function
	// then starts another one for the worker.
	over := false
	defer func() {
		if over {
			c.queue.removeWorker(w)
			c.reportWorkers() // a stop may be waiting for the last one
		} else {
			go c.work(w)
		}
	}()
	for {
		m, ok := c.queue.take(w)
		if !ok {
			over = true
			return
		}
		if c.runEnded() {
			c.queue.seal()
			requeueUnbegun(c.queue.giveBack(w)...)
			continue
		}
		if c.begin(w, m) {
			c.handle(w, m)
		}
	}
}

// handle calls the handler for one message, and acks or requeues it.
func (c *Consumer) handle(w *worker, m *Message) {
	if c.cfg.MaxAttempts > 0 && m.Attempts > c.cfg.MaxAttempts {
		c.giveUp(w, m)
		return
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		p := &PanicError{Value: recover(), Stack: debug.Stack()}
		c.log.Error("handler panicked", "err", p, "id", string(m.ID[:]), "nsqd", m.NSQDAddress,
			"stack", string(p.Stack))
		// The message is requeued even if the handler disabled the automatic
		// response: a handler that panicked will hardly respond later. If it has
		// already responded, this has no effect.
		c.ack(w, m, outcome{fate: requeued, delay: autoDelay, backoff: true})
	}()
	err := w.call.HandleMessage(m)
	if err != nil {
		c.failed(w, m, err) // may panic too: it calls the error's methods
	} else if !m.IsAutoResponseDisabled() {
		c.ack(w, m, outcome{fate: finished})
	}
	returned = true
}

// ack acks or requeues a message for the worker whose handler has returned, unless the
// handler has done so. If the handler has replaced the Delegate, ack calls the new one.
// Otherwise it skips the Delegate, which does not know the worker, and calls conclude.
func (c *Consumer) ack(w *worker, m *Message, o outcome) {
	switch {
	case m.Delegate == MessageDelegate(m.conn):
		if m.respond() {
			m.conn.conclude(w, m, o)
		}
	case o.fate == finished:
		m.Finish()
	default:
		m.requeue(o.delay, o.backoff)
	}
}

// failed requeues or discards a message, as the error of its handler asks for.
func (c *Consumer) failed(w *worker, m *Message, err error) {
	asked := resultOf(err)
	text := "handler returned an error"
	if asked.discard {
		text = "message discarded by its handler"
	}
	c.log.Error(text, "err", err, "id", string(m.ID[:]), "attempts", m.Attempts, "nsqd", m.NSQDAddress)
	switch {
	case m.IsAutoResponseDisabled():
	case asked.discard:
		m.set(givenUp)
		c.ack(w, m, outcome{fate: finished})
	default:
		c.ack(w, m, outcome{fate: requeued, delay: asked.delay, backoff: !asked.noBackoff})
	}
}

// giveUp acks a message that was delivered more than max_attempts times. Only this and
// Discard ack a message that was not handled.
func (c *Consumer) giveUp(w *worker, m *Message) {
	c.log.Error("message given up: delivered more than max_attempts times",
		"attempts", m.Attempts, "id", string(m.ID[:]), "bytes", len(m.Body), "nsqd", m.NSQDAddress)
	m.set(givenUp) // before LogFailedMessage, which may ack or requeue it
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("LogFailedMessage panicked", "id", string(m.ID[:]), "panic", p)
		}
		c.ack(w, m, outcome{fate: finished})
	}()
	if failed, ok := w.call.(FailedMessageLogger); ok {
		failed.LogFailedMessage(m)
	}
}

// AddHandler adds a goroutine that calls the handler. Call it any number of times
// before the first connect call; after that it panics. It also panics if the handler is
// nil.
func (c *Consumer) AddHandler(handler Handler) { c.AddConcurrentHandlers(handler, 1) }

// AddConcurrentHandlers adds several goroutines that call the handler, which must
// be safe for concurrent use. It panics after the first connect call, and if the handler
// is nil. From the first connect call on, [Consumer.SetConcurrency] changes their number.
//
// Goroutines beyond max_in_flight have nothing to do.
func (c *Consumer) AddConcurrentHandlers(handler Handler, concurrency int) {
	if handler == nil {
		panic("nil handler")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connecting {
		panic("already connected")
	}
	c.handlers = append(c.handlers, handler)
	c.adjustWorkers(len(c.handlers)-1, max(concurrency, 0))
}

// SetConcurrency sets how many goroutines call handlers, at least 1. It may be called at
// any time. If several handlers were added, they share the goroutines evenly, and the
// first ones get one more each if there is a remainder. A surplus goroutine ends when
// its message is handled.
//
// It fails if there is no handler or the Consumer was stopped. It does not change
// max_in_flight, which should be at least as large.
func (c *Consumer) SetConcurrency(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case n < 1:
		return fmt.Errorf("concurrency %d: want 1 or more", n)
	case len(c.handlers) == 0:
		return errNoHandlers
	case c.queue.isSealed():
		return errConsumerStopped
	}
	for i := range c.handlers {
		share := n / len(c.handlers)
		if i < n%len(c.handlers) {
			share++
		}
		c.adjustWorkers(i, share)
	}
	return nil
}

// adjustWorkers sets how many workers a handler has. Callers hold the mutex.
func (c *Consumer) adjustWorkers(handler, n int) {
	for _, w := range c.queue.setWorkers(handler, n) {
		w.call = c.handlers[handler]
		go c.work(w)
	}
	c.reportWorkers()
}
