package nsq

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
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

// stopped is a clock.
func stopped() time.Duration { return 0 }

// ticking is the clock of a test in virtual time.
func ticking() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

func numbers(messages []*Message) []int64 {
	var out []int64
	for _, m := range messages {
		out = append(out, m.Timestamp)
	}
	return out
}

func TestDeliveryOrderAndGrowth(t *testing.T) {
	d := newQueue(1000, 0, stopped)
	w := &worker{most: 1}
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
	d, w := newQueue(1000, 0, stopped), &worker{most: 1}
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
				d := newQueue(1000, 0, ticking())
				var wg sync.WaitGroup
				var mu sync.Mutex
				seen := map[int64]int{}
				for range handlers {
					wg.Go(func() {
						w := &worker{most: 1}
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

// A message that was taken together with a slow one is begun at once by whoever
// is free, whether others come all the time or none.
func TestDeliveryLeavesNothingBehindASlowMessage(t *testing.T) {
	for _, tt := range []struct{ handlers, slow, more int }{
		{2, 1, 0}, {2, 1, 20}, {4, 3, 0}, {4, 3, 20}, {64, 60, 0}, {64, 60, 100},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newQueue(1000, 0, ticking())
				var wg sync.WaitGroup
				var mu sync.Mutex
				var begun []int64
				for range tt.handlers {
					wg.Go(func() {
						w := &worker{most: mostPrefetched}
						for m, ok := d.take(w); ok; m, ok = d.take(w) {
							mu.Lock()
							begun = append(begun, m.Timestamp)
							mu.Unlock()
							if m.Timestamp < 0 {
								sleep(time.Hour)
							}
						}
					})
				}
				synctest.Wait()
				// Each slow message is at the beginning of a slab.
				next := int64(0)
				slab := func(first int64) []Message {
					messages := numbered(nil, make([]int64, messageSlab)...)
					for i := range messages {
						messages[i].Timestamp = next
						next++
					}
					messages[0].Timestamp = cmp.Or(first, messages[0].Timestamp)
					return messages
				}
				for i := range tt.slow {
					d.put(slab(-1 - int64(i)))
				}
				for range tt.more {
					d.put(slab(0))
					synctest.Wait()
				}
				synctest.Wait()
				if got, want := len(begun), (tt.slow+tt.more)*messageSlab; got != want {
					t.Errorf("%d messages begun, want %d", got, want)
				}
				for i, n := range begun { // and those that came before did not wait for those after
					if late := int64(i) - n; n >= 0 && late > int64(2*messageSlab*(tt.slow+1)) {
						t.Errorf("message %d was the %dth", n, i)
					}
				}
				d.close()
				wg.Wait()
			})
		})
	}
}

// A worker whose handler turns slow puts back what it has not begun, and then
// takes one at a time.
func TestSlowWorkerPutsBack(t *testing.T) {
	now := time.Duration(0)
	d, w := newQueue(10, 0, func() time.Duration { return now }), &worker{most: mostPrefetched}
	d.put(numbered(nil, 0, 1, 2, 3))
	if m, _ := d.take(w); m.Timestamp != 0 || w.unclaimed() != 3 {
		t.Fatalf("took %d, %d are left", m.Timestamp, w.unclaimed())
	}
	now = batchSlice
	if m, _ := d.take(w); m.Timestamp != 1 || w.unclaimed() != 0 {
		t.Errorf("took %d, %d are left", m.Timestamp, w.unclaimed())
	}
	if got := numbers(d.close()); !slices.Equal(got, []int64{2, 3}) {
		t.Errorf("%v wait", got)
	}
}

// What a worker that comes no further has taken goes to one that does, and does
// not wait for all that came later.
func TestStuckWorkerIsRelieved(t *testing.T) {
	d := newQueue(10, 0, stopped)
	stuck, w := &worker{most: 3}, &worker{most: 1}
	d.put(numbered(nil, 0, 1, 2))
	_, _ = d.take(stuck)
	for n := range int64(10) {
		d.put(numbered(nil, 10+n))
	}
	var order []int64
	for range 6 {
		m, _ := d.take(w)
		w.most = 1
		order = append(order, m.Timestamp)
	}
	if want := []int64{10, 2, 11, 1, 12, 13}; !slices.Equal(order, want) {
		t.Errorf("took %v, want %v", order, want)
	}
	d.close()
}

// A worker that is to quit begins no other message, whatever it has taken.
func TestQuittingWorkerLeavesItsBatch(t *testing.T) {
	d := newQueue(10, 0, stopped)
	w := d.setWorkers(0, 1)[0]
	w.most = mostPrefetched
	d.put(numbered(nil, 0, 1, 2))
	_, _ = d.take(w)
	d.setWorkers(0, 0)
	if m, ok := d.take(w); ok {
		t.Errorf("took %d", m.Timestamp)
	}
	if got := numbers(d.close()); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("%v wait", got)
	}
}

// A smaller limit holds from the next message on, whatever workers have taken.
func TestDeliveryLimitShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newQueue(2, 0, stopped)
		a, b := &worker{most: 2}, &worker{most: 2}
		d.put(numbered(nil, 0, 1))
		d.put(numbered(nil, 2, 3))
		_, _ = d.take(a)
		_, _ = d.take(b)
		d.setLimit(1)
		taken := make(chan *Message, 1)
		go func() {
			m, _ := d.take(a)
			taken <- m
		}()
		synctest.Wait()
		if len(taken) != 0 {
			t.Errorf("took %d beside another", (<-taken).Timestamp)
		}
		d.close() // ends both
		_, _ = d.take(b)
		synctest.Wait()
	})
}

// What a worker has taken and not begun is given up with what waits in the queue.
func TestDeliveryFindsWhatWasTaken(t *testing.T) {
	a, b := &consumerConn{addr: "a"}, &consumerConn{addr: "b"}
	d, w := newQueue(1000, 0, stopped), &worker{most: mostPrefetched}
	slab := append(numbered(a, 0, 1), numbered(b, 2, 3, 4)...)
	slab[4].conn = a
	d.put(slab)
	d.put(numbered(b, 5))
	if m, _ := d.take(w); m.Timestamp != 0 || w.unclaimed() != 4 {
		t.Fatalf("took %d, %d are left", m.Timestamp, w.unclaimed())
	}
	if got := numbers(d.remove(a)); !slices.Equal(got, []int64{1, 4}) {
		t.Errorf("removed %v", got)
	}
	if m, _ := d.take(w); m.Timestamp != 2 {
		t.Errorf("took %d next", m.Timestamp)
	}
	if got := numbers(d.close()); !slices.Equal(got, []int64{3, 5}) {
		t.Errorf("left %v", got)
	}
}

// expectPlaces checks that workers know where they are, and that all those that
// have messages for others, or FINs to send, are where these are looked for.
func (d *deliveryQueue) expectPlaces(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, w := range d.busy {
		if w.unclaimed() > 0 && !slices.Contains(d.prefetching, w) {
			t.Errorf("busy worker %d has %d messages for others, which they do not find", i, w.unclaimed())
		}
		if len(w.batch) == 0 || w.place != i {
			t.Errorf("busy worker %d has %d messages and place %d", i, len(w.batch), w.place)
		}
	}
	for i, w := range d.prefetching {
		if len(w.batch) < 2 || slices.Index(d.prefetching, w) != i {
			t.Errorf("worker %d of those ahead has %d messages, or is there twice", i, len(w.batch))
		}
	}
}

// Workers that others have relieved of what they had taken are not looked at for
// more, however long their handlers take.
func TestRelievedWorkersAreLeftAlone(t *testing.T) {
	d := newQueue(1000, 0, stopped)
	var next int64
	for range 100 {
		slow, free := &worker{most: 4}, &worker{most: 1}
		d.put(numbered(nil, next, next+1, next+2, next+3))
		d.take(slow)
		for i := range int64(3) {
			if m, _ := d.take(free); m.Timestamp <= next || m.Timestamp > next+3 {
				t.Fatalf("took %d, the %d. of those from %d on", m.Timestamp, i+2, next)
			}
		}
		next += 4
	}
	d.put(numbered(nil, next))
	d.take(&worker{most: 1})
	d.expectPlaces(t)
	if len(d.prefetching) > 1 || len(d.busy) != 201 {
		t.Errorf("%d workers are ahead of %d", len(d.prefetching), len(d.busy))
	}
}

// Nor do FINs of theirs wait for that.
func TestRelievedWorkersFINsLeave(t *testing.T) {
	f := newFed(t, 1, func(*Config) {})
	d := newQueue(1000, 0, stopped)
	slow, free := &worker{most: 3}, &worker{most: 1}
	d.put([]Message{{conn: f.conn}, {conn: f.conn}, {conn: f.conn, state: responded}})
	m, _ := d.take(slow)
	m.respond()
	d.addFin(slow, m)
	d.flushTimer.Stop() // its turn comes below
	d.take(slow)
	d.take(free) // the third
	d.put(numbered(nil, 0))
	d.take(free)
	d.flushStale()
	if n := f.conn.link.Stats().Finished; n != 1 {
		t.Errorf("%d FINs", n)
	}
	if d.put(numbered(nil, 0)); d.refill(&worker{most: 1}) && len(d.prefetching) > 0 {
		t.Error("it is looked at though there is nothing left")
	}
}

// What a worker with a single message has not sent yet goes with the rest when
// nothing can be sent after that.
func TestRescueAll(t *testing.T) {
	f := newFed(t, 1, func(*Config) {})
	d, w := newQueue(1, 0, stopped), &worker{most: 1}
	d.put([]Message{{conn: f.conn}})
	m, _ := d.take(w)
	m.respond()
	d.addFin(w, m)
	d.flushAll()
	if n := f.conn.link.Stats().Finished; n != 1 {
		t.Errorf("%d FINs", n)
	}
}

// Whatever happens at the same time, each message is taken, taken back or left
// over once.
func TestDeliveryLosesNothing(t *testing.T) {
	const slabs, putters, workers = 300, 2, 8
	conns := []*consumerConn{{addr: "a"}, {addr: "b"}, {addr: "c"}}
	d := newQueue(workers, 0, func() time.Duration { return rand.N(2 * batchSlice) })
	times := make([]atomic.Int32, putters*slabs*messageSlab)
	count := func(messages ...*Message) {
		for _, m := range messages {
			times[m.Timestamp].Add(1)
		}
	}
	var putting, working, meddling sync.WaitGroup
	for range workers {
		working.Go(func() {
			w := &worker{most: 1 + rand.IntN(mostPrefetched)}
			for m, ok := d.take(w); ok; m, ok = d.take(w) {
				count(m)
				if m.Timestamp%7 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	for p := range putters {
		putting.Go(func() {
			for i := range slabs {
				messages := numbered(conns[i%3], make([]int64, messageSlab)...)
				for j := range messages {
					messages[j].Timestamp = int64((p*slabs+i)*messageSlab + j)
				}
				d.put(messages[:32])
				d.put(messages[32:])
			}
		})
	}
	over := make(chan struct{})
	meddling.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			default:
			}
			d.setLimit(1 + i%workers)
			count(d.remove(conns[i%3])...)
			count(d.sweep(-1, time.Hour).expired...)
			d.expectPlaces(t)
			runtime.Gosched()
		}
	})
	putting.Wait()
	close(over)
	meddling.Wait()
	d.setLimit(workers)
	count(d.close()...)
	working.Wait()
	for n := range times {
		if got := times[n].Load(); got != 1 {
			t.Fatalf("message %d was seen %d times", n, got)
		}
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
	d := newQueue(10, 0, stopped)
	workers := d.setWorkers(0, 2)
	d.setWorkers(0, 1)
	for _, w := range workers {
		if w.quit {
			d.take(w)
		}
	}
	if hired := d.setWorkers(0, 2); len(hired) != 1 {
		t.Errorf("%d hired, want 1", len(hired))
	}
}
