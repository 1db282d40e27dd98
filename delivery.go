package nsq

import "sync"

// delivery is the queue between the connections' readers and the handlers'
// goroutines. It grows: what bounds it is the RDY that the nsqds were granted,
// as long as handlers keep within nsqd's msg-timeout. Messages that time out
// are sent again, and queued again, for leases are not there yet. Putting never
// waits.
type delivery struct {
	mu     sync.Mutex // guards what follows
	some   sync.Cond  // signalled when there is a message or the end
	queue  []*Message
	head   int // queue[head:] waits
	idle   int // handlers that wait
	closed bool
}

func newDelivery() *delivery {
	d := &delivery{}
	d.some.L = &d.mu
	return d
}

// put adds messages. It reports false, and adds none, once the queue is closed.
func (d *delivery) put(messages []Message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	if d.head > len(d.queue)/2 && len(d.queue)+len(messages) > cap(d.queue) {
		n := copy(d.queue, d.queue[d.head:])
		clear(d.queue[n:])
		d.queue, d.head = d.queue[:n], 0
	}
	for i := range messages {
		d.queue = append(d.queue, &messages[i])
	}
	for range min(len(messages), d.idle) {
		d.some.Signal()
	}
	return true
}

// take waits for a message. It reports false once the queue is closed.
func (d *delivery) take() (*Message, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.head == len(d.queue) && !d.closed {
		d.idle++
		d.some.Wait()
		d.idle--
	}
	if d.closed {
		return nil, false
	}
	m := d.queue[d.head]
	d.queue[d.head] = nil
	if d.head++; d.head == len(d.queue) {
		d.queue, d.head = d.queue[:0], 0
	}
	return m, true
}

// remove takes out the messages of one connection.
func (d *delivery) remove(from MessageDelegate) []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	var removed []*Message
	kept := d.queue[:d.head]
	for _, m := range d.queue[d.head:] {
		if m.Delegate == from {
			removed = append(removed, m)
		} else {
			kept = append(kept, m)
		}
	}
	clear(d.queue[len(kept):])
	d.queue = kept
	return removed
}

// close ends every take and returns what no handler has begun.
func (d *delivery) close() []*Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := d.queue[d.head:]
	d.queue, d.head, d.closed = nil, 0, true
	d.some.Broadcast()
	return rest
}
