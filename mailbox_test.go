package nsq

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The loop runs every event that is posted while it waits, in the order of posting.
func TestMailboxWakesTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, end := newMailbox(), make(chan struct{})
		defer close(end)
		var want, got []int
		go b.serve(end)
		for events := range 5 {
			for range events {
				n := len(want)
				want = append(want, n)
				if !b.post(func(time.Time) { got = append(got, n) }) {
					t.Error("an open mailbox refused an event")
				}
			}
			synctest.Wait()
			if !slices.Equal(got, want) {
				t.Fatalf("after %d events at once: %v ran, want %v", events, got, want)
			}
		}
	})
}

// Each event for which post reports true runs once, or is among those that close
// returns. Once closed, a mailbox refuses events.
func TestMailboxLosesNothing(t *testing.T) {
	b, end := newMailbox(), make(chan struct{})
	var posted, ran atomic.Int64
	var posts, loop sync.WaitGroup
	loop.Go(func() { b.serve(end) })
	for poster := range 4 {
		posts.Go(func() {
			for i := range 10_000 {
				if poster == 0 && i == 5000 {
					close(end)
				}
				if !b.post(func(time.Time) { ran.Add(1) }) {
					return
				}
				posted.Add(1)
			}
		})
	}
	loop.Wait()
	if b.post(func(time.Time) { ran.Add(1) }) { // the loop has ended, the mailbox is open
		posted.Add(1)
	}
	left := b.close()
	posts.Wait()
	for _, event := range left {
		event(time.Now())
	}
	if ran.Load() != posted.Load() || len(left) == 0 {
		t.Errorf("%d events posted, %d ran, %d of them after close", posted.Load(), ran.Load(), len(left))
	}
	if b.post(func(time.Time) {}) {
		t.Error("a closed mailbox accepted an event")
	}
}

// Events are returned in the order of posting, also by close.
func TestMailboxKeepsOrder(t *testing.T) {
	b := newMailbox()
	var got []int
	for i := range 3 {
		b.post(func(time.Time) { got = append(got, i) })
	}
	for _, event := range b.take() {
		event(time.Time{})
	}
	for i := range 3 {
		b.post(func(time.Time) { got = append(got, 3+i) })
	}
	for _, event := range b.close() {
		event(time.Time{})
	}
	if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("events ran in the order %v", got)
	}
}
