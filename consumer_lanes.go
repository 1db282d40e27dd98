package nsq

import "slices"

// lanes holds the messages that no worker has taken, in one lane for each connection.
// Lanes take turns: after a worker has taken a batch from one, the next batch comes from
// another. So a connection with few messages does not wait for one with many, and an
// nsqd that sends more than its share does not get more than its share of the handlers.
//
// The queue's mutex guards it, and the lanes.
type lanes struct {
	turns fifo[*lane] // the lanes with messages, the next one first
}

// lane holds the messages of one connection that no worker has taken, in slabs. None of
// the slabs is empty.
type lane struct {
	slabs fifo[[]Message]
}

// empty reports whether no message waits.
func (l *lanes) empty() bool { return l.turns.len() == 0 }

// len returns how many messages wait.
func (l *lanes) len() (n int) {
	for i := range l.turns.len() {
		slabs := &(*l.turns.at(i)).slabs
		for k := range slabs.len() {
			n += len(*slabs.at(k))
		}
	}
	return n
}

// push adds a slab, all of whose messages came over one connection, to that one's lane.
func (l *lanes) push(slab []Message) {
	of := &slab[0].conn.lane
	if of.slabs.len() == 0 {
		l.turns.push(of)
	}
	of.slabs.push(slab)
}

// putBack puts messages of one connection at the front of its lane. If the lane was
// empty, it has the next turn.
func (l *lanes) putBack(messages []Message) {
	if len(messages) == 0 {
		return
	}
	of := &messages[0].conn.lane
	if of.slabs.len() == 0 {
		l.turns.pushFront(of)
	}
	of.slabs.pushFront(messages)
}

// take takes a batch of at most n messages from the lane whose turn it is. There must be
// one.
func (l *lanes) take(n int) []Message {
	of := l.turns.front()
	slab := *of.slabs.at(0)
	n = min(n, len(slab))
	if n < len(slab) {
		*of.slabs.at(0) = slab[n:]
	} else {
		of.slabs.pop()
	}
	switch {
	case of.slabs.len() == 0:
		l.turns.pop()
	case l.turns.len() > 1:
		l.turns.push(l.turns.pop())
	}
	return slab[:n:n]
}

// extract takes the matching messages out and returns them.
func (l *lanes) extract(match func(*Message) bool) (out []*Message) {
	var left fifo[*lane]
	for l.turns.len() > 0 {
		of := l.turns.pop()
		var kept fifo[[]Message]
		for of.slabs.len() > 0 {
			slab := of.slabs.pop()
			from := 0
			for i := range slab {
				if match(&slab[i]) {
					out = append(out, &slab[i])
					if i > from {
						kept.push(slab[from:i])
					}
					from = i + 1
				}
			}
			if from < len(slab) {
				kept.push(slab[from:])
			}
		}
		if of.slabs = kept; kept.len() > 0 {
			left.push(of)
		}
	}
	l.turns = left
	return out
}

// fifo is a queue that moves within its memory: it grows only with the number of its
// entries.
type fifo[T any] struct {
	entries []T
	head    int // entries[head:] is what is queued; the others are zero
}

func (f *fifo[T]) len() int { return len(f.entries) - f.head }

func (f *fifo[T]) at(i int) *T { return &f.entries[f.head+i] }

func (f *fifo[T]) front() T { return f.entries[f.head] }

func (f *fifo[T]) push(e T) {
	if f.head > len(f.entries)/2 && len(f.entries) == cap(f.entries) {
		n := copy(f.entries, f.entries[f.head:])
		clear(f.entries[n:])
		f.entries, f.head = f.entries[:n], 0
	}
	f.entries = append(f.entries, e)
}

func (f *fifo[T]) pushFront(e T) {
	if f.head == 0 {
		f.entries, f.head = slices.Insert(f.entries, 0, e), 1
	}
	f.head--
	f.entries[f.head] = e
}

func (f *fifo[T]) pop() T {
	e := f.entries[f.head]
	var none T
	f.entries[f.head] = none
	if f.head++; f.head == len(f.entries) {
		f.entries, f.head = f.entries[:0], 0
	}
	return e
}
