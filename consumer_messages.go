package nsq

import (
	"context"
	"iter"
)

// Messages returns an iterator over the messages of the Consumer, for a range loop. The loop's
// body takes the place of a handler: answer each message with [Message.Answer] or one of its
// other methods. Connect with [Consumer.Connect] or [Consumer.Discover].
//
//	for m := range consumer.Messages(ctx) {
//		m.Answer(process(m.Context(), m.Body))
//	}
//
// The loop waits for messages. It ends when ctx ends or the Consumer stops, and gets no
// message after that.
//
// A message that the body does not answer stays in flight until its lease ends, as after
// [Message.DisableAutoResponse], and nsqd then delivers it again. Neither the next iteration
// nor break, return or a panic answers it.
//
// Any number of goroutines may range at once. Each works like a goroutine that calls a
// handler: max_in_flight bounds the messages in flight, leases and backoff are the same, and
// a stop waits for the loop's body, up to stop_timeout.
//
// While no loop runs, no messages come. Those that the last loop has left wait a second for
// another loop, and are then requeued. Each requeue costs an attempt, so do not begin a loop
// for each message: use [Consumer.Fetch].
//
// A message that was delivered more than max_attempts times is given up, as with a handler.
// With Config.DeadLetter the loop waits while the Consumer stores the dead letter.
//
// Ranging panics if the Consumer has handlers or middleware.
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

// removeLoop removes the worker of a loop that has ended. It puts back the messages that the
// loop has not begun.
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
