package nsq

import (
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

// numbered returns a slab of acked messages, with numbers as their timestamps.
func numbered(from *consumerConn, numbers ...int64) []Message {
	messages := make([]Message, len(numbers))
	for i, n := range numbers {
		messages[i] = Message{Timestamp: n, conn: from, state: responded}
	}
	return messages
}

// frozenClock is a clock that stands still.
func frozenClock() time.Duration { return 0 }

// ticking returns a clock that follows a bubble's time.
func ticking() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// expectInvariants reports what contradicts the comments on the queue's fields:
//
//   - each busy worker has a batch and knows its place in busy;
//   - each worker with messages to steal is in prefetching, once;
//   - each lane with messages has one turn, no slab in it is empty, and its memory
//     holds no slab that has left it.
func (d *deliveryQueue) expectInvariants(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, w := range d.busy {
		if w.unclaimed() > 0 && !slices.Contains(d.prefetching, w) {
			t.Errorf("busy worker %d has %d messages to steal and is not in prefetching", i, w.unclaimed())
		}
		if len(w.batch) == 0 || w.place != i {
			t.Errorf("busy worker %d has a batch of %d and place %d", i, len(w.batch), w.place)
		}
	}
	for i, w := range d.prefetching {
		if len(w.batch) < 2 || slices.Index(d.prefetching, w) != i {
			t.Errorf("worker %d in prefetching has a batch of %d, or is there twice", i, len(w.batch))
		}
	}
	turns := d.lanes.turns
	for i, of := range turns.entries[:cap(turns.entries)] {
		waits := i >= turns.head && i < len(turns.entries)
		if waits != (of != nil) {
			t.Errorf("turn %d of %d-%d: %v", i, turns.head, len(turns.entries), of)
		}
		if !waits {
			continue
		}
		if of.slabs.len() == 0 || slices.Index(turns.entries, of) != i {
			t.Errorf("the lane of turn %d has %d slabs, or has two turns", i, of.slabs.len())
		}
		of.expectSlabs(t)
	}
}

// expectSlabs reports an empty slab in a lane, and one that has left it.
func (l *lane) expectSlabs(t *testing.T) {
	t.Helper()
	for i, slab := range l.slabs.entries[:cap(l.slabs.entries)] {
		waits := i >= l.slabs.head && i < len(l.slabs.entries)
		if waits != (len(slab) > 0) {
			t.Errorf("slab %d of %d-%d has %d messages", i, l.slabs.head, len(l.slabs.entries), len(slab))
		}
	}
}

// However fast messages come and go, they are taken in their order.
func TestQueueKeepsOrder(t *testing.T) {
	d, w, conn := newQueue(1, 0, frozenClock), &worker{batchSize: 1}, &consumerConn{}
	var next, expected int64
	for round := range 200 {
		for range round % 7 {
			d.put(numbered(conn, next, next+1, next+2), false)
			next += 3
		}
		for range min(round%11, int(next-expected)) {
			if m, ok := d.take(w); !ok || m.Timestamp != expected {
				t.Fatalf("took %v, %v, want message %d", m, ok, expected)
			}
			expected++
		}
		d.expectInvariants(t)
	}
	if got := d.close(); len(got) != int(next-expected) || got[0].Timestamp != expected {
		t.Errorf("%d messages are left, want %d from %d on", len(got), next-expected, expected)
	}
}

// A queue in which few slabs wait at a time needs little memory, even if it never
// becomes empty.
func TestQueueMovesWithinItsMemory(t *testing.T) {
	d, w, conn := newQueue(1, 0, frozenClock), &worker{batchSize: 1}, &consumerConn{}
	d.put(numbered(conn, 0), false)
	for range 1000 {
		d.put(numbered(conn, 0), false)
		d.take(w)
	}
	if n := cap(conn.lane.slabs.entries) + cap(d.lanes.turns.entries); n > 16 {
		t.Errorf("memory for %d slabs and turns while 2 wait at most", n)
	}
}

// Each message goes to one worker, no worker waits while there is a message, and
// all workers end with the queue.
func TestQueueWakesWorkers(t *testing.T) {
	for _, workers := range []int{1, 4, 64} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, conn := newQueue(1000, 0, ticking()), &consumerConn{}
				var wg sync.WaitGroup
				var mu sync.Mutex
				times := map[int64]int{}
				for range workers {
					wg.Go(func() {
						w := &worker{batchSize: 1}
						for m, ok := d.take(w); ok; m, ok = d.take(w) {
							sleep(time.Second)
							mu.Lock()
							times[m.Timestamp]++
							mu.Unlock()
						}
					})
				}
				synctest.Wait()
				for i := range int64(workers) {
					d.put(numbered(conn, 2*i, 2*i+1), false)
				}
				after(2 * time.Second) // two rounds if all workers work
				d.close()
				wg.Wait()
				if len(times) != 2*workers {
					t.Errorf("%d messages handled in two rounds, want %d", len(times), 2*workers)
				}
				for n, count := range times {
					if count != 1 {
						t.Errorf("message %d was begun %d times", n, count)
					}
				}
			})
		})
	}
}

// A free worker begins at once what another took together with a slow message,
// whether more messages come or none.
func TestQueueLeavesNothingBehindASlowMessage(t *testing.T) {
	for _, tt := range []struct{ workers, slow, more int }{
		{2, 1, 0}, {2, 1, 20}, {4, 3, 0}, {4, 3, 20}, {64, 60, 0}, {64, 60, 100},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, conn := newQueue(1000, 0, ticking()), &consumerConn{}
				var wg sync.WaitGroup
				var mu sync.Mutex
				var begun []int64
				for range tt.workers {
					wg.Go(func() {
						w := &worker{batchSize: mostPrefetched}
						for m, ok := d.take(w); ok; m, ok = d.take(w) {
							mu.Lock()
							begun = append(begun, m.Timestamp)
							mu.Unlock()
							if m.Timestamp < 0 { // a slow one
								sleep(time.Hour)
							}
						}
					})
				}
				synctest.Wait()
				next := int64(0)
				slab := func() []Message {
					messages := numbered(conn, make([]int64, messageSlab)...)
					for i := range messages {
						messages[i].Timestamp = next
						next++
					}
					return messages
				}
				for range tt.slow { // each at the front of a slab
					messages := slab()
					messages[0].Timestamp = -1
					d.put(messages, false)
				}
				for range tt.more {
					d.put(slab(), false)
					synctest.Wait()
				}
				synctest.Wait()
				if got, want := len(begun), (tt.slow+tt.more)*messageSlab; got != want {
					t.Errorf("%d messages begun, want %d", got, want)
				}
				for i, n := range begun { // later messages did not overtake this one by much
					if behind := int64(i) - n; n >= 0 && behind > int64(2*messageSlab*(tt.slow+1)) {
						t.Errorf("message %d was begun as number %d", n, i)
					}
				}
				d.close()
				wg.Wait()
			})
		})
	}
}

// Each message is begun, taken out of the queue or left at the end, and only once,
// while workers, readers and the run loop all work at the same time.
func TestQueueLosesNothing(t *testing.T) {
	const slabs, putters, workers = 300, 2, 8
	conns := []*consumerConn{{addr: "a"}, {addr: "b"}, {addr: "c"}}
	// The clock jumps, so a batch is over or grows at random.
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
			w := &worker{batchSize: 1 + rand.IntN(mostPrefetched)}
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
				d.put(messages[:32], false)
				d.put(messages[32:], false)
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
			count(d.sweep(-1, time.Hour).expired...) // none: it takes back what workers keep
			d.expectInvariants(t)
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
			t.Fatalf("message %d was begun, taken out or left %d times, want once", n, got)
		}
	}
}

// An ack that comes while the queue notes that the message is left for later leaves
// no entry behind, however the two interleave.
func TestAckRacesDetach(t *testing.T) {
	rounds := 10_000
	if raceDetector { // which makes the goroutines meet slowly
		rounds = 500
	}
	c := &Consumer{queue: newQueue(1, 0, frozenClock)}
	messages := make([]Message, rounds)
	for i := range messages {
		messages[i].conn = &consumerConn{c: c}
	}
	var arrived atomic.Int64
	meet := func(i int) {
		arrived.Add(1)
		for spins := 1; arrived.Load() < int64(2*i+2); spins++ {
			if spins%1000 == 0 { // the other has no processor
				runtime.Gosched()
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range messages {
			meet(i)
			c.queue.detach(&messages[i])
		}
	})
	wg.Go(func() {
		for i := range messages {
			meet(i)
			for range i % 32 { // somewhat later each time: detach locks a mutex first
				arrived.Load()
			}
			messages[i].respond()
		}
	})
	wg.Wait()
	if n := len(c.queue.detached); n != 0 {
		t.Errorf("%d acked messages wait for an ack", n)
	}
}
