package nsq

import (
	"sync"
	"time"
)

// mailbox carries events to a Consumer's run loop, or to a goroutine of a Conn's.
// An event is a function that the loop runs; it alone may touch what the loop
// owns. Posting never waits.
type mailbox struct {
	wake chan struct{} // holds a token while there may be events

	mu     sync.Mutex // guards what follows
	events []func(now time.Time)
	closed bool
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// post hands over an event. It reports false, and the event will not run, once
// the loop has ended.
func (b *mailbox) post(event func(now time.Time)) bool {
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.events = append(b.events, event)
	}
	b.mu.Unlock()
	if closed {
		return false
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns the events posted since the last take.
func (b *mailbox) take() []func(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}

// serve is a loop that does nothing else: it runs events until end is closed.
func (b *mailbox) serve(end <-chan struct{}) {
	for {
		for _, event := range b.take() {
			event(time.Now())
		}
		select {
		case <-b.wake:
		case <-end:
			return
		}
	}
}

// close refuses further events and returns those that were not taken.
func (b *mailbox) close() []func(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.events
}
