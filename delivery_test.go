package nsq

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func numbered(from *consumerConn, numbers ...int64) []Message {
	messages := make([]Message, len(numbers))
	for i, n := range numbers {
		messages[i] = Message{Timestamp: n, conn: from, state: responded}
	}
	return messages
}

func numbers(messages []*Message) []int64 {
	var out []int64
	for _, m := range messages {
		out = append(out, m.Timestamp)
	}
	return out
}

func TestDeliveryOrderAndGrowth(t *testing.T) {
	d := newDelivery(1000)
	w := &worker{}
	var next, expected int64
	for round := range 200 { // fill, take some, fill: the queue moves within its memory
		for range round % 7 {
			d.put(numbered(nil, next, next+1, next+2))
			next += 3
		}
		for range min(round%11, int(next-expected)) {
			m, ok := d.take(w)
			if !ok || m.Timestamp != expected {
				t.Fatalf("took %v %v, want %d", m, ok, expected)
			}
			expected++
		}
	}
	if got := numbers(d.close()); len(got) != int(next-expected) || got[0] != expected {
		t.Errorf("left %v, want %d from %d", got, next-expected, expected)
	}
	if d.put(numbered(nil, 1)) {
		t.Error("put after close")
	}
	if _, ok := d.take(w); ok {
		t.Error("took after close")
	}
}

func TestDeliveryRemove(t *testing.T) {
	a, b := &consumerConn{addr: "a"}, &consumerConn{addr: "b"}
	d, w := newDelivery(1000), &worker{}
	d.put(numbered(a, 0))
	d.put(numbered(b, 1))
	d.put(numbered(a, 2))
	d.put(numbered(b, 3, 4))
	if m, _ := d.take(w); m.Timestamp != 0 {
		t.Fatalf("took %d", m.Timestamp)
	}
	if got := numbers(d.remove(a)); !slices.Equal(got, []int64{2}) {
		t.Errorf("removed %v", got)
	}
	d.put(numbered(a, 5))
	if got := numbers(d.close()); !slices.Equal(got, []int64{1, 3, 4, 5}) {
		t.Errorf("left %v", got)
	}
}

// Each message goes to one handler, no handler sleeps while there is one, and
// all of them end with the queue.
func TestDeliveryWakesHandlers(t *testing.T) {
	for _, handlers := range []int{1, 4, 64} {
		t.Run(fmt.Sprint(handlers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDelivery(1000)
				var wg sync.WaitGroup
				var mu sync.Mutex
				seen := map[int64]int{}
				for range handlers {
					wg.Go(func() {
						w := &worker{}
						for m, ok := d.take(w); ok; m, ok = d.take(w) {
							sleep(time.Second)
							mu.Lock()
							seen[m.Timestamp]++
							mu.Unlock()
						}
					})
				}
				synctest.Wait()
				for i := range int64(handlers) {
					d.put(numbered(nil, 2*i, 2*i+1))
				}
				after(2 * time.Second) // two rounds, if all of them work
				d.close()
				wg.Wait()
				if len(seen) != 2*handlers {
					t.Errorf("%d messages handled in two rounds, want %d", len(seen), 2*handlers)
				}
				for n, times := range seen {
					if times != 1 {
						t.Errorf("message %d was taken %d times", n, times)
					}
				}
			})
		})
	}
}

func TestMailbox(t *testing.T) {
	b := newMailbox()
	var got []int
	for i := range 3 {
		if !b.post(func(time.Time) { got = append(got, i) }) {
			t.Fatal("post refused")
		}
	}
	<-b.wake
	for _, event := range b.take() {
		event(time.Time{})
	}
	b.post(func(time.Time) { got = append(got, 3) })
	for _, event := range b.close() {
		event(time.Time{})
	}
	if !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("ran %v", got)
	}
	if b.post(func(time.Time) {}) {
		t.Error("post after close")
	}
}

// A worker on its way out is not counted as one that could stay.
func TestQuittingWorkerIsNotCounted(t *testing.T) {
	d := newDelivery(10)
	workers := d.staff(0, 2)
	d.staff(0, 1)
	for _, w := range workers {
		if w.quit {
			d.take(w)
		}
	}
	if hired := d.staff(0, 2); len(hired) != 1 {
		t.Errorf("%d hired, want 1", len(hired))
	}
}
