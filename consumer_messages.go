package nsq

import (
	"context"
	"iter"
)

// Messages returns the messages that come, for a range loop. The loop ends when ctx ends or
// the Consumer stops, and waits for no message after that. The loop's body takes the place of a
// handler; answer each message with [Message.Answer] or one of its other methods.
//
//	for m := range consumer.Messages(ctx) {
//		m.Answer(process(m.Context(), m.Body))
//	}
//
// Going on to the next message does not answer the last one, and neither do break, return or
// a panic. A message that is not answered stays in flight until its lease ends, as after
// [Message.DisableAutoResponse], and nsqd delivers it again then.
//
// Any number of goroutines may range at once. Each is like a goroutine that calls a handler:
// messages in flight are bounded by max_in_flight, leases and backoff are the same, and a
// stop waits for the loop's body for stop_timeout. While none ranges, no messages come. Those
// that wait by then wait for another loop for a second, and are requeued if none begins.
// Since each requeue costs an attempt, do not begin a loop for each message: see
// [Consumer.Fetch] for that.
//
// A message that was delivered more than max_attempts times is given up, as with a handler;
// with Config.DeadLetter the loop waits until it is stored. Ranging panics if the Consumer has handlers or middleware. Connect with [Consumer.Connect]
// or [Consumer.Discover].
func (c *Consumer) Messages(ctx context.Context) iter.Seq[*Message] {
	return func(yield func(*Message) bool) {
		if err := c.mayTake(); err != nil {
			panic(err.Error())
		}
		if ctx.Err() != nil {
			return
		}
		w := c.queue.addLoop()
		c.reportTakers()
		defer func() {
			c.queue.removeLoop(w)
			c.reportTakers()
		}()
		defer context.AfterFunc(ctx, func() { c.queue.dismiss(w) })()
		for {
			m, ok := c.nextMessage(ctx, w)
			if !ok || !yield(m) {
				return
			}
		}
	}
}

// nextMessage waits for the next message of a loop. ok is false if the loop must end.
func (c *Consumer) nextMessage(ctx context.Context, w *worker) (m *Message, ok bool) {
	for {
		m, ok = c.queue.take(w)
		switch {
		case !ok:
			return nil, false
		case ctx.Err() != nil, c.runEnded():
			if c.runEnded() {
				c.queue.seal()
			}
			requeueUnbegun(c.queue.giveBack(w)...)
			return nil, false
		case !c.begin(w, m):
		case c.givesUp(m):
			c.giveUp(w, m, nil, w.now)
		default:
			if len(c.hooks.handled) > 0 {
				m.noteTaking(&taking{at: w.now, messages: 1})
			}
			return m, true
		}
	}
}

// addLoop adds a worker for a loop over Messages.
func (d *deliveryQueue) addLoop() *worker {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &worker{handler: -1, index: len(d.workers), batchSize: 1}
	d.workers = append(d.workers, w)
	return w
}

// dismiss makes take return false to a worker.
func (d *deliveryQueue) dismiss(w *worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.quit = true
	d.wakeAll()
}

// removeLoop removes the worker of a loop that has ended. It puts back what the loop has not
// begun.
func (d *deliveryQueue) removeLoop(w *worker) {
	if m := w.current(); m != nil {
		d.leave(m)
	}
	w.fins.flush()
	d.mu.Lock()
	w.now = d.clock()
	d.endBatch(w)
	w.gone = true
	d.wakeOne()
	d.mu.Unlock()
	d.removeWorker(w)
}
