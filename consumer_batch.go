package nsq

import (
	"cmp"
	"context"
	"runtime/debug"
	"slices"
	"time"
)

// BatchHandler handles messages in batches. A Consumer calls it on as many goroutines as
// [Consumer.AddBatchHandler] was told to use.
//
// ctx ends when the first lease of the batch ends, or when the Consumer is stopping and waits
// for handlers half a second more. With auto_touch ctx ends when that lease can be extended no
// further. It does not end with the loss of a connection: see [Message.Context] for that.
//
// If HandleBatch returns nil, the Consumer acks all messages of the batch that were not
// answered. If it returns an error, the Consumer requeues these messages, or makes them dead
// letters, as the error says, and backs off as for a single failure: see [Handler]. A panic
// counts as an error. If only some of the messages fail, call [Message.Answer] with the error
// of each, and return nil. HandleBatch may keep the batch, but not the bodies if
// recycle_bodies is set.
//
// A BatchHandler may be a [FailedMessageLogger].
type BatchHandler interface {
	HandleBatch(ctx context.Context, batch []*Message) error
}

// BatchHandlerFunc makes a function a [BatchHandler].
type BatchHandlerFunc func(ctx context.Context, batch []*Message) error

// HandleBatch calls the function.
func (h BatchHandlerFunc) HandleBatch(ctx context.Context, batch []*Message) error {
	return h(ctx, batch)
}

// AddBatchHandler adds several goroutines that gather messages and call a batch handler,
// which must be safe for concurrent use if concurrency is more than 1. From the first connect
// call on, [Consumer.SetConcurrency] changes their number. A batch is handled at the first of
// these:
//
//   - It has limits.Messages messages, or limits.Bytes bytes.
//   - limits.Wait is over since its first message came.
//   - Half of the lease of one of its messages is over.
//   - No more messages can come, because max_in_flight or max_bytes_in_flight are in hand.
//
// A Consumer that stops requeues at once the messages of batches that are not handled yet.
// auto_touch touches the messages of a batch from the call of the handler on.
//
// Set max_in_flight to at least limits.Messages times concurrency, or batches cannot become
// full. The Consumer warns of this once, and names the figure.
//
// AddBatchHandler panics after the first connect call and after a call of Messages or Fetch.
// It also panics if the handler is nil, if the limits are invalid, and if the Consumer has a
// [Handler]. The first connect call panics if there is middleware.
func (c *Consumer) AddBatchHandler(h BatchHandler, limits BatchLimits, concurrency int) {
	if h == nil {
		panic("nil handler")
	}
	if err := limits.check(); err != nil {
		panic(err.Error())
	}
	c.addHandler(&addedHandler{batch: h, limits: limits}, concurrency)
}

// workBatches gathers messages and calls the batch handler, until the worker must quit or the
// queue is closed. It is the worker's goroutine.
func (c *Consumer) workBatches(w *worker) {
	over := false
	defer func() { // as in work
		if over {
			c.queue.removeWorker(w)
			c.reportTakers()
		} else {
			go c.workBatches(w)
		}
	}()
	col := c.queue.newCollector(w.call.limits)
	for {
		c.queue.beginCollecting(col)
		c.hurryTakers(false)
		c.queue.awaitComplete(col, w)
		if c.runEnded() {
			c.queue.seal()
		}
		batch, late, ok := c.queue.endCollecting(col, w)
		if !ok {
			over = true
			return
		}
		c.dropExpired(late)
		c.handleBatch(w, batch)
		if c.queue.quits(w) {
			over = true
			return
		}
	}
}

// quits reports whether a worker must end.
func (d *deliveryQueue) quits(w *worker) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.gone = w.gone || w.quit
	return w.quit
}

// handleBatch calls the batch handler for the messages of a worker, and carries out its
// result.
func (c *Consumer) handleBatch(w *worker, messages []*Message) {
	defer c.queue.endBatchOf(w, messages)
	w.now = c.elapsed()
	batch := c.beginAll(messages, w.call.batch)
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithDeadlineCause(c.handling, c.batchDeadline(w, batch), ErrMessageTimedOut)
	defer cancel()
	returned := false
	defer func() {
		if !returned {
			c.batchPanicked(w, batch, &PanicError{Value: recover(), Stack: debug.Stack()})
		}
	}()
	end := ending{as: OutcomeFinished}
	if err := w.call.batch.HandleBatch(ctx, slices.Clone(batch)); err != nil { // it may change its slice
		end = c.batchFailed(batch, err)
	}
	returned = true
	c.concludeBatch(w, batch, &end)
}

// batchDeadline returns the earliest time at which the lease of a message of the batch ends.
func (c *Consumer) batchDeadline(w *worker, batch []*Message) time.Time {
	first := batch[0].lastLeaseEnds(w.now)
	for _, m := range batch[1:] {
		first = min(first, m.lastLeaseEnds(w.now))
	}
	return c.start.Add(first)
}

// batchFailed logs the error of a batch handler, and returns how those messages end that the
// handler has not answered.
func (c *Consumer) batchFailed(batch []*Message, err error) ending {
	asked := resultOf(err)
	level, text := asked.logged()
	c.log.Log(context.Background(), level, text, "err", err, "messages", len(batch))
	return endingOf(asked, err)
}

// batchPanicked ends the handling of a batch whose handler panicked.
func (c *Consumer) batchPanicked(w *worker, batch []*Message, p *PanicError) {
	c.log.Error("handler panicked", "err", p, "messages", len(batch), "stack", string(p.Stack))
	for _, m := range batch {
		m.conn.panics.Add(1)
	}
	end := endingOfPanic(p)
	c.concludeBatch(w, batch, &end)
}

// concludeBatch ends the handling of a batch as conclude does that of a message.
func (c *Consumer) concludeBatch(w *worker, batch []*Message, end *ending) {
	defer c.respondToBatch(w, batch, end) // deferred, because a hook may call runtime.Goexit
	if len(c.hooks.handled) == 0 {
		return
	}
	end.begun, end.batch = w.now, len(batch)
	for _, m := range batch {
		if m.set(told)&told == 0 {
			of := *end
			of.applyPolicy(m)
			c.tellHandled(m, &of)
		}
	}
}

// respondToBatch acks or requeues the messages of a batch that are neither answered nor left
// for later. Those that become dead letters come last, one after the other, because
// publishing them takes time.
func (c *Consumer) respondToBatch(w *worker, batch []*Message, end *ending) {
	open := make([]*Message, 0, len(batch))
	var dead []*Message
	for _, m := range batch {
		of := *end
		of.applyPolicy(m)
		if m.Delegate != MessageDelegate(m.conn) { // the handler's own must not hold up the run loop
			c.respond(w, m, &of)
		}
		switch {
		case m.HasResponded() || m.IsAutoResponseDisabled() && !end.insisted:
		case of.bury:
			dead = append(dead, m)
		default:
			open = append(open, m)
		}
	}
	c.respondToOpen(w, open, end)
	for i, m := range dead {
		if i > 0 || len(open) > 0 { // to backoff the batch is one message
			m.set(noResult)
		}
		of := *end
		of.applyPolicy(m)
		c.respond(nil, m, &of)
	}
}

// respondToOpen acks or requeues messages of a batch. For backoff they are one message. If
// backoff wants the result, the run loop reports it and then sends all acks, because the RDYs
// that follow from the result must be sent first.
func (c *Consumer) respondToOpen(w *worker, open []*Message, end *ending) {
	slices.SortStableFunc(open, func(a, b *Message) int { return cmp.Compare(a.conn.id, b.conn.id) })
	if i := slices.IndexFunc(open, func(m *Message) bool { return !m.is(timedOut) }); i >= 0 && !end.neutral {
		m := open[i]
		if result, heard := c.backoffResult(m, end.outcome, false); heard {
			silence(open)
			m.conn.report(m, result, true, func() { c.respondToEach(nil, open, end) })
			return
		}
	}
	silence(open)
	c.respondToEach(w, open, end)
}

// silence makes backoff ignore what becomes of messages.
func silence(messages []*Message) {
	for _, m := range messages {
		m.set(noResult)
	}
}

// respondToEach acks or requeues messages that are sorted by their connections. If there is a
// worker, the FINs of each connection leave together.
func (c *Consumer) respondToEach(w *worker, messages []*Message, end *ending) {
	for i, m := range messages {
		if w != nil && i > 0 && m.conn != messages[i-1].conn {
			w.fins.flush()
		}
		c.respond(w, m, end)
	}
	if w != nil {
		w.fins.flush()
	}
}

// gathers reports whether the Consumer has batch handlers.
func (c *Consumer) gathers() bool { return len(c.handlers) > 0 && c.handlers[0].batch != nil }
