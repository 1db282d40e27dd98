package nsq

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
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
			c.reportTakers() // a stop may be waiting for the last one
		} else {
			go c.work(w)
		}
	}()
	c.handleAll(w)
	over = true
}

// handleAll takes messages and handles them until it may take no more.
func (c *Consumer) handleAll(w *worker) {
	for {
		m, ok := c.queue.take(w)
		if !ok {
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

// handle calls the handler for one message, and carries out its result.
func (c *Consumer) handle(w *worker, m *Message) {
	if c.givesUp(m) {
		c.giveUp(w, m, w.call.added, w.now)
		return
	}
	returned := false
	defer func() {
		if !returned {
			c.panicked(w, m, &PanicError{Value: recover(), Stack: debug.Stack()})
		}
	}()
	err := w.call.HandleMessage(m)
	if err != nil || len(c.hooks.handled) > 0 {
		c.handled(w, m, err, &returned)
		return
	}
	returned = true
	if !m.IsAutoResponseDisabled() {
		c.ack(w, m, outcome{fate: finished})
	}
}

// handled is the rest of handle, of which most messages are spared for the sake of speed. It
// sets returned when it can no longer panic because of the error's methods.
func (c *Consumer) handled(w *worker, m *Message, err error, returned *bool) {
	end := ending{as: OutcomeFinished}
	if err != nil {
		end = c.failed(m, err)
	}
	*returned = true
	end.begun = w.now
	c.conclude(w, m, &end)
}

// ending is how the handling of a message ends.
type ending struct {
	outcome          // for ack
	as       Outcome // for hooks
	err      error   // the handler's error
	insisted bool    // ack or requeue even if the handler has disabled the automatic response
	neutral  bool    // backoff ignores it
	bury     bool    // store it as a dead letter, and then ack it; otherwise outcome counts
	together bool    // a Fetch or a batch gives it up, perhaps with others: see buryBy

	asked handlerResult // what err asks for, if it is not nil

	begun time.Duration // when the handling began, on the Consumer's clock; for hooks and together
	batch int           // how many messages were handled together, for hooks; 0 is 1
}

// shownAs returns the outcome that hooks are told.
func (end *ending) shownAs(m *Message) Outcome {
	switch {
	case end.as == OutcomeGivenUp:
		return end.as
	case m.HasResponded():
		return OutcomeAnswered
	case m.IsAutoResponseDisabled() && !end.insisted:
		return OutcomePending
	}
	return end.as
}

// Outcome returns what happens to the message if its handler returns err now, and the delay
// of the requeue, 0 if it is not requeued. It is for a [Middleware] that reports what the
// Handled hook will be told. Pass a [*PanicError] for a handler that panicked.
//
// If no Consumer delivered the message, because [NewMessage] made it, the delay of a requeue
// is that of [RetryAfter], or 0.
func (m *Message) Outcome(err error) (Outcome, time.Duration) {
	end := ending{as: OutcomeFinished}
	if p, panicked := err.(*PanicError); panicked { //nolint:errorlint // a handler may return an error that wraps one
		end = endingOfPanic(p)
	} else if err != nil {
		end = endingOf(resultOf(err), err)
	}
	end.applyPolicy(m)
	as := end.shownAs(m)
	return as, end.requeueDelay(as, m)
}

// requeueDelay returns the delay of a requeue, 0 if the message is not requeued.
func (end *ending) requeueDelay(as Outcome, m *Message) time.Duration {
	switch {
	case as != OutcomeRequeued:
		return 0
	case end.delay != autoDelay:
		return end.delay
	case m.conn == nil:
		return 0
	}
	return m.conn.c.cfg.requeueDelay(m.Attempts)
}

// conclude ends the handling of a message. w is its worker, nil without one. conclude tells
// hooks how the handling has ended. Then it acks or requeues the message, unless the handler
// has done so or does it later. If the message becomes a dead letter, conclude publishes the
// dead letter first, which may take half of what is left of the lease.
func (c *Consumer) conclude(w *worker, m *Message, end *ending) {
	if len(c.hooks.handled) > 0 {
		defer c.respond(w, m, end) // deferred, because a hook may call runtime.Goexit
		c.tellHandled(m, end)
		return
	}
	c.respond(w, m, end)
}

func (c *Consumer) respond(w *worker, m *Message, end *ending) {
	if m.IsAutoResponseDisabled() && !end.insisted {
		return
	}
	if end.neutral {
		m.set(noResult)
	}
	if end.as == OutcomeDiscarded {
		m.conn.discarded.Add(1)
	}
	if end.bury {
		c.ack(w, m, c.bury(m, end))
		return
	}
	c.ack(w, m, end.outcome)
}

// ack acks or requeues a message for the worker whose handler has returned, unless the
// handler has done so. If the handler has replaced the Delegate, ack calls the new one.
// Otherwise it skips the Delegate, which does not know the worker, and calls conclude.
func (c *Consumer) ack(w *worker, m *Message, o outcome) {
	if m.Delegate == MessageDelegate(m.conn) {
		if m.respond() {
			m.conn.conclude(w, m, o)
		}
		return
	}
	c.ackByDelegate(m, o)
}

// ackByDelegate acks or requeues a message whose Delegate is the user's.
func (c *Consumer) ackByDelegate(m *Message, o outcome) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("a message's Delegate panicked", "panic", p, "id", string(m.ID[:]), "stack", string(debug.Stack()))
		}
	}()
	if o.fate.acked() {
		m.Finish()
	} else {
		m.requeue(o.delay, o.backoff)
	}
}

// panicked ends the handling of a message whose handler panicked.
func (c *Consumer) panicked(w *worker, m *Message, p *PanicError) {
	c.log.Error("handler panicked", "err", p, "id", string(m.ID[:]), "nsqd", m.NSQDAddress,
		"stack", string(p.Stack))
	m.conn.panics.Add(1)
	end := endingOfPanic(p)
	end.applyPolicy(m)
	end.begun = w.now
	c.conclude(w, m, &end)
}

// endingOfPanic returns how a message ends whose handler panicked. It is requeued even if
// the handler disabled the automatic response: a handler that panicked will hardly ack it
// later.
func endingOfPanic(p *PanicError) ending {
	end := endingOf(handlerResult{delay: autoDelay}, p)
	end.insisted = true
	return end
}

// failed logs the error that a handler returned, and returns how its message ends.
func (c *Consumer) failed(m *Message, err error) ending {
	asked := resultOf(err)
	end := endingOf(asked, err)
	end.applyPolicy(m)
	level, text := asked.logged()
	if end.bury {
		text = "handler returned an error, the message becomes a dead letter"
	}
	c.log.Log(context.Background(), level, text,
		"err", err, "id", string(m.ID[:]), "attempts", m.Attempts, "nsqd", m.NSQDAddress)
	return end
}

// logged returns the level and the text with which a handler's error is logged.
func (r handlerResult) logged() (slog.Level, string) {
	switch {
	case r.discard:
		return slog.LevelError, "message discarded by its handler"
	case r.planned():
		return slog.LevelInfo, "handler asked for a retry"
	}
	return slog.LevelError, "handler returned an error"
}

// endingOf returns how a message ends if its handler returned err, which asks for this.
func endingOf(asked handlerResult, err error) ending {
	if asked.discard {
		return ending{as: OutcomeDiscarded, err: err, neutral: true, asked: asked}
	}
	planned := asked.planned()
	o := outcome{fate: requeued, delay: asked.delay, backoff: !asked.noBackoff && !planned}
	return ending{outcome: o, as: OutcomeRequeued, err: err, neutral: planned, asked: asked}
}

// applyPolicy makes a message whose handler has failed a dead letter if the DeadLetterPolicy
// says so.
func (end *ending) applyPolicy(m *Message) {
	if end.err != nil && m.conn != nil && m.conn.c.cfg.DeadLetter.takes(end.asked, m.Attempts) {
		end.as, end.bury, end.neutral = OutcomeBuried, true, end.asked.deadLetter
	}
}

// givesUp reports whether a message was delivered too often to be handled.
func (c *Consumer) givesUp(m *Message) bool {
	return c.cfg.MaxAttempts > 0 && m.Attempts > c.cfg.MaxAttempts
}

// giveUp ends the handling of a message that was delivered more than max_attempts times: it
// acks the message, with a DeadLetterPolicy only once a dead letter is stored. No message is
// acked unhandled but here, as a dead letter, or by Discard. w is the worker that has begun
// the message and handler its handler; both may be nil.
func (c *Consumer) giveUp(w *worker, m *Message, handler any, begun time.Duration) {
	c.log.Error("message given up: delivered more than max_attempts times",
		"attempts", m.Attempts, "id", string(m.ID[:]), "bytes", len(m.Body), "nsqd", m.NSQDAddress)
	m.set(noResult) // before LogFailedMessage, which may ack or requeue it
	m.conn.givenUp.Add(1)
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("LogFailedMessage panicked", "id", string(m.ID[:]), "panic", p)
		}
		end := ending{as: OutcomeGivenUp, insisted: true, begun: begun}
		if c.cfg.DeadLetter != nil {
			end.bury, end.together, end.outcome = true, w == nil, outcome{fate: requeued, delay: autoDelay}
		}
		c.conclude(w, m, &end)
	}()
	if failed, ok := handler.(FailedMessageLogger); ok {
		failed.LogFailedMessage(m)
	}
}

// AddHandler adds a goroutine that calls the handler. Call it any number of times
// before the first connect call; after that it panics. It also panics if the handler is
// nil, if the Consumer has a batch handler, and after a call of Messages or Fetch.
func (c *Consumer) AddHandler(handler Handler) { c.AddConcurrentHandlers(handler, 1) }

// AddConcurrentHandlers adds several goroutines that call the handler, which must
// be safe for concurrent use. It panics as [Consumer.AddHandler] does. From the first
// connect call on, [Consumer.SetConcurrency] changes their number.
//
// If it is the only handler and takes microseconds, the goroutine that reads from a
// connection may call it in the place of one of these.
//
// Goroutines beyond max_in_flight have nothing to do.
func (c *Consumer) AddConcurrentHandlers(handler Handler, concurrency int) {
	if handler == nil {
		panic("nil handler")
	}
	c.addHandler(&addedHandler{added: handler}, concurrency)
}

// addHandler adds a handler of either kind.
func (c *Consumer) addHandler(h *addedHandler, concurrency int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.taken:
		panic("messages are taken with Messages or Fetch")
	case c.connecting:
		panic("already connected")
	case len(c.handlers) > 0 && (c.handlers[0].batch == nil) != (h.batch == nil):
		panic("handlers and batch handlers on one consumer")
	}
	c.handlers = append(c.handlers, h)
	c.queue.allowLoans(len(c.handlers) == 1 && h.batch == nil)
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
	call := c.handlers[handler]
	for _, w := range c.queue.setWorkers(handler, n, call.limits.Messages) {
		w.call = call
		if call.batch != nil {
			go c.workBatches(w)
		} else {
			go c.work(w)
		}
	}
	c.reportTakers()
}
