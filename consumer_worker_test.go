package nsq

import (
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/link"
)

// A FIN that a worker adds between the timer's look at it and the end of the
// timer's round is sent by the next timer.
//
//  1. The timer sends the FINs of w1. It waits for those of w2.
//  2. w1 adds another FIN.
//  3. The timer sends the FINs of w2.
//
// Had the timer reset flushScheduled only now, w1 would have trusted it.
func TestFINAddedWhileTheTimerLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newQueuePlayer(t, nil)
		p.tell("workers 2 batch=3", "put a 1-3", "put b 4-6", "take w1", "done w1", "take w2", "done w2")
		w1, w2 := p.worker("w1"), p.worker("w2")
		p.c.queue.stopTimers() // flushStale takes its place
		w2.fins.mu.Lock()
		go p.c.queue.flushStale()
		for !w1.fins.empty() {
			runtime.Gosched()
		}
		p.c.ack(w1.worker, w1.m, outcome{fate: finished})
		w2.fins.mu.Unlock()
		lines := p.tell("pass 1h")
		if want := []string{"0s  a FIN 1; b FIN 4", "1ms  a FIN 2"}; !slices.Equal(lines, want) {
			t.Errorf("%q, want %q", lines, want)
		}
	})
}

// A stop that does not wait for handlers sends the FINs that wait for the rest of
// their batch.
func TestFINsLeaveBeforeTheConnectionDoes(t *testing.T) {
	for _, how := range []string{"stop_timeout 0", "shutdown"} {
		t.Run(how, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.StopTimeout = 0
				d, done, release := s.held()
				if how == "shutdown" {
					_, _ = s.shutdown(0)
				} else {
					s.stopped()
				}
				if st := d.Stats("t", "c"); st.Finished != done || st.InFlight != 1 {
					t.Errorf("%+v, want %d finished", st, done)
				}
				if s.c.queue.flushTimer.Stop() {
					t.Error("the timer of FINs still runs after the stop")
				}
				close(release)
				after(time.Second)
			})
		})
	}
}

// A worker uses one reading of the clock for several quick messages, but only while a timer
// runs that tells it when a handler has turned out to be slow.
func TestTimeIsFresh(t *testing.T) {
	var now time.Duration
	readings := 0
	d := newQueue(1, 0, func() time.Duration { readings++; return now })
	d.loans.cost = 50
	d.flushScheduled.Store(true) // the test is the timer
	w := &worker{batchSize: messageSlab, most: 1}
	conn := &consumerConn{link: &link.Link{}}
	numbers := make([]int64, messageSlab)
	d.put(numbered(conn, numbers...), false)
	take := func() {
		t.Helper()
		if m, ok := d.take(w); !ok {
			t.Fatal("took nothing")
		} else if w.unclaimed() > 1 {
			d.addFin(w, m)
		}
	}
	expect := func(taken, most int, at time.Duration) {
		t.Helper()
		before := readings
		for range taken {
			take()
		}
		if n := readings - before; n > most || w.now != at {
			t.Errorf("%d readings for %d messages, want %d at most; the time is %v, want %v", n, taken, most, w.now, at)
		}
	}
	expect(1, 1, 0)
	now = 1
	expect(1, 1, 1) // the first FIN started the timer only after this reading was due
	expect(mostFresh, 0, 1)
	now = 2
	expect(1, 1, 2)
	expect(5, 0, 2)
	now = 100 * time.Microsecond // a handler is slow, and the timer fires
	w.fins.ids = nil             // as if sent: there is no connection here
	d.flushStale()
	d.flushScheduled.Store(true)
	expect(1, 1, now)
	expect(5, 0, now)

	// Without a FIN there is no timer.
	w.timed = false
	now *= 2
	if d.take(w); w.now != now {
		t.Errorf("the time is %v, want %v", w.now, now)
	}
}

// With little of a lease left, a worker reads the clock before it begins the message, however
// fresh the time is that it has.
func TestTimeNearTheEndOfALease(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consumer(1, noError)
		began := s.c.elapsed()
		m := &Message{conn: &consumerConn{c: s.c}, received: began, lease: 60_000}
		for _, at := range []time.Duration{time.Second, 59500 * time.Millisecond} {
			sleep(began + at - s.c.elapsed())
			w := &worker{now: began + at - 10*time.Millisecond, fresh: 1, freshFor: 2}
			read := at > time.Minute-leaseMargin
			if !s.c.begin(w, m) || (w.now == s.c.elapsed()) != read {
				s.Errorf("after %v: the time is %v, want the clock read: %v", at, w.now-began, read)
			}
		}
	})
}
