package nsq

import (
	"sync"
	"time"
)

// mailbox carries events to the loop that owns some state: a Consumer's run loop,
// or a goroutine of a Conn. An event is a function. Only the loop runs events, so
// they may use what the loop owns without a lock.
type mailbox struct {
	// wake holds one token while there may be events. post sends it after it has
	// released mu, and never waits for room.
	wake chan struct{}

	mu     sync.Mutex // guards the fields below
	events []func(now time.Time)
	closed bool // the loop has ended
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// post queues an event for the loop and wakes the loop. It never blocks. It
// reports false if the mailbox is closed: the event does not run then. An event
// for which it reports true runs, or is among those that close returns.
//
// A token that is already in wake serves this event as well:
//
//  1. post appends the event.
//  2. It finds the token of an earlier post, and adds none.
//  3. The loop takes that token only after step 2, and take comes after that, so it
//     returns this event.
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

// take returns the events posted since the last take, in order.
func (b *mailbox) take() []func(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}

// serve runs events until end is closed. It may leave events behind: see close.
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

// close makes post report false from now on, and returns the events not yet taken.
func (b *mailbox) close() []func(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.events
}
