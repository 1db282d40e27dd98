package nsq

import (
	"fmt"
	"runtime/debug"
	"time"
)

// work is a handler's goroutine. It ends when its worker is to quit or nobody is
// to begin a message any more.
func (c *Consumer) work(w *worker) {
	// A handler that calls runtime.Goexit takes this goroutine with it; the
	// deferred function still runs and puts another in its place.
	over := false
	defer func() {
		if over {
			c.queue.removeWorker(w)
			c.post(func(time.Time) {}) // the loop may be waiting for the last one
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
		if c.begin(w, m) {
			c.handle(w, m)
		}
	}
}

// begin tells whether a message may be worked on still: its lease may have ended
// since the run loop looked. One that waited for long is touched now, if that is
// wanted, for the next look may be too late.
func (c *Consumer) begin(w *worker, m *Message) bool {
	left := m.leaseEnds() - w.now
	if left <= 0 {
		if m.expire() {
			c.conclude(nil, m, outcome{fate: expired})
		}
		return false
	}
	if c.cfg.AutoTouch > 0 {
		w.begun.Store(int64(w.now))
		if left < m.conn.msgTimeout*3/4 {
			m.Touch()
		}
	}
	return true
}

// handle works on one message and answers it.
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
		// What a handler that failed this way meant by disabling the automatic
		// answer is anybody's guess. If it answered, that stands.
		c.ack(w, m, outcome{fate: requeued, delay: autoDelay, backoff: true})
	}()
	err := w.call.HandleMessage(m)
	if err != nil {
		c.failed(w, m, err) // the error's methods are the handler's code, too
	} else if !m.IsAutoResponseDisabled() {
		c.ack(w, m, outcome{fate: finished})
	}
	returned = true
}

// ack acks or requeues a message on behalf of the worker whose handler has
// returned, unless that was done before. A Delegate that the handler has put in
// the place of ours hears of it; ours would only come back to conclude.
func (c *Consumer) ack(w *worker, m *Message, o outcome) {
	switch {
	case m.Delegate == MessageDelegate(m.conn):
		if m.respond() {
			c.conclude(w, m, o)
		}
	case o.fate == finished:
		m.Finish()
	default:
		m.requeue(o.delay, o.backoff)
	}
}

// failed answers a message whose handler returned an error, as the error says.
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

// giveUp finishes a message that was delivered too often. Like a discard that a
// handler asks for, it acknowledges a message that was not handled; that is what
// max_attempts asks for.
func (c *Consumer) giveUp(w *worker, m *Message) {
	c.log.Error("message given up: delivered more than max_attempts times",
		"attempts", m.Attempts, "id", string(m.ID[:]), "bytes", len(m.Body), "nsqd", m.NSQDAddress)
	m.set(givenUp) // also if the handler answers it
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

// AddHandler adds a goroutine that calls the handler. It may be called several
// times. It panics once the Consumer was told to connect.
func (c *Consumer) AddHandler(handler Handler) { c.AddConcurrentHandlers(handler, 1) }

// AddConcurrentHandlers adds several goroutines that call the handler, which
// must then be safe for concurrent use. It panics once the Consumer was told to
// connect; [Consumer.SetConcurrency] changes their number after that.
//
// More goroutines than max_in_flight have nothing to do.
func (c *Consumer) AddConcurrentHandlers(handler Handler, concurrency int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connecting {
		panic("already connected")
	}
	c.handlers = append(c.handlers, handler)
	c.setWorkers(len(c.handlers)-1, max(concurrency, 0))
}

// SetConcurrency sets how many goroutines call handlers, at any time: 1 or more.
// If several handlers were added each gets its share, the first ones one more if
// need be. A goroutine that is too many ends when its message is handled.
//
// It fails without a handler, and when the Consumer was stopped. It does not
// change max_in_flight, which should be no smaller.
func (c *Consumer) SetConcurrency(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case n < 1:
		return fmt.Errorf("concurrency %d: want 1 or more", n)
	case len(c.handlers) == 0:
		return errNoHandlers
	case c.dialling.Err() != nil:
		return errConsumerStopped
	}
	for i := range c.handlers {
		share := n / len(c.handlers)
		if i < n%len(c.handlers) {
			share++
		}
		c.setWorkers(i, share)
	}
	return nil
}

// setWorkers sets how many workers a handler has. Callers hold the mutex.
func (c *Consumer) setWorkers(handler, n int) {
	for _, w := range c.queue.setWorkers(handler, n) {
		w.call = c.handlers[handler]
		go c.work(w)
	}
	count := c.queue.workerCount()
	c.post(func(time.Time) { c.loop.machine.Handlers(count) })
}
