package main

import (
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
)

// hand holds the messages of a topic that are not finished. Their number is bounded by
// max_in_flight: nsqd sends no more until some are finished or their leases end, and then
// they are dropped.
type hand struct {
	// full receives when the messages should be written now.
	full chan struct{}

	mu      sync.Mutex // guards the fields below
	waiting []held     // in the order in which they came
	writing []held     // taken by the writer
	urgent  bool       // each message that comes should be written at once

	lease   time.Duration   // the shortest of those in hand
	asked   map[string]bool // nsqds whose lease was looked at since renewed
	renewed time.Time       // when the leases of all in hand were renewed, or the first message came
}

// held is a message, and when it came.
type held struct {
	*nsq.Message
	at time.Time
}

func newHand() *hand {
	return &hand{full: make(chan struct{}, 1), asked: make(map[string]bool)}
}

// add adds a message and returns how many are in hand.
func (h *hand) add(m *nsq.Message, now time.Time) int {
	h.mu.Lock()
	n := len(h.waiting) + len(h.writing) + 1
	if n == 1 {
		h.renewed, h.lease = now, 0
		clear(h.asked)
	}
	if !h.asked[m.NSQDAddress] {
		h.asked[m.NSQDAddress] = true
		if ends, ok := m.Context().Deadline(); ok && (h.lease == 0 || ends.Sub(now) < h.lease) {
			h.lease = ends.Sub(now)
		}
	}
	h.waiting = append(h.waiting, held{m, now})
	urgent := h.urgent
	h.mu.Unlock()
	if urgent {
		h.wake()
	}
	return n
}

// wake tells the writer to write now.
func (h *hand) wake() {
	select {
	case h.full <- struct{}{}:
	default: // it has been told
	}
}

// hurry makes each message that comes from now on wake the writer.
func (h *hand) hurry() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.urgent = true
}

// take returns all waiting messages for the writer, which must call putBack with those that
// it did not finish, if any.
func (h *hand) take() []held {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting, h.writing = nil, h.waiting
	return h.writing
}

// putBack ends the writing of messages: the rest waits again.
func (h *hand) putBack(rest []held) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting, h.writing = slices.Concat(rest, h.waiting), nil
}

// keepLeases touches all messages when a third of the shortest lease is over, and drops
// those that it cannot keep. While the disk is full this holds messages back better than a
// requeue, which costs an attempt each time: another consumer of the channel, with
// max_attempts set, could give the messages up.
//
// A lease can also end while the disk does not respond. It is not the writer's goroutine
// that calls keepLeases, so the messages that it is writing are touched as well.
func (h *hand) keepLeases(now time.Time) {
	h.mu.Lock()
	due := now.Sub(h.renewed) >= h.lease/3
	h.mu.Unlock()
	if !due {
		return
	}
	h.drop()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed = now
	clear(h.asked)
	for _, m := range h.waiting {
		m.Touch()
	}
	for _, m := range h.writing {
		m.Touch()
	}
}

// drop drops the waiting messages that nsqd delivers again, because their leases are over
// in spite of all touches or because their connections are lost.
func (h *hand) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = slices.DeleteFunc(h.waiting, func(m held) bool { return m.Context().Err() != nil })
}
