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
			c.delivery.leave(w)
			c.mail.post(func(time.Time) {}) // the loop may be waiting for the last one
		} else {
			go c.work(w)
		}
	}()
	for {
		m, ok := c.delivery.take(w)
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
			m.conn.link.Expire()
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
	handler := w.call
	if c.cfg.MaxAttempts > 0 && m.Attempts > c.cfg.MaxAttempts {
		c.giveUp(handler, m)
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
		m.Requeue(autoDelay)
	}()
	err := handler.HandleMessage(m)
	if err != nil {
		c.failed(m, err) // its methods are the handler's code, too
	} else if !m.IsAutoResponseDisabled() {
		c.finish(w, m)
	}
	returned = true
}

// finish answers a message that was handled. If nothing but the FIN follows from
// that it leaves with those of the worker's other messages.
func (c *Consumer) finish(w *worker, m *Message) {
	if c.signals.reporting.Load() || m.Delegate != MessageDelegate(m.conn) {
		m.Finish()
		return
	}
	if !m.respond() {
		return
	}
	if m.is(timedOut) {
		m.conn.tooLate(m, "FIN")
		return
	}
	c.delivery.finish(w, m)
}

// failed answers a message whose handler returned an error, as the error says.
func (c *Consumer) failed(m *Message, err error) {
	o := outcomeOf(err)
	text := "handler returned an error"
	if o.discard {
		text = "message discarded by its handler"
	}
	c.log.Error(text, "err", err, "id", string(m.ID[:]), "attempts", m.Attempts, "nsqd", m.NSQDAddress)
	switch {
	case m.IsAutoResponseDisabled():
	case o.discard:
		m.set(givenUp)
		m.Finish()
	default:
		m.requeue(o.delay, !o.noBackoff)
	}
}

// giveUp finishes a message that was delivered too often. Like a discard that a
// handler asks for, it acknowledges a message that was not handled; that is what
// max_attempts asks for.
func (c *Consumer) giveUp(handler Handler, m *Message) {
	c.log.Error("message given up: delivered more than max_attempts times",
		"attempts", m.Attempts, "id", string(m.ID[:]), "bytes", len(m.Body), "nsqd", m.NSQDAddress)
	m.set(givenUp) // also if the handler answers it
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("LogFailedMessage panicked", "id", string(m.ID[:]), "panic", p)
		}
		m.Finish()
	}()
	if failed, ok := handler.(FailedMessageLogger); ok {
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
	c.staff(len(c.handlers)-1, max(concurrency, 0))
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
		c.staff(i, share)
	}
	return nil
}

// staff sets how many workers a handler has.
func (c *Consumer) staff(handler, n int) {
	for _, w := range c.delivery.staff(handler, n) {
		w.call = c.handlers[handler]
		go c.work(w)
	}
}
