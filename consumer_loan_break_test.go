package nsq

import (
	"math/rand/v2"
	"runtime"
	"testing/synctest"
	"time"
)

// handleOne is a handler that is mostly so quick that readers call it, and otherwise does
// what handlers may do. most is how many may run at a time.
func (w *takingWalk) handleOne(r *rand.Rand, m *Message, most int32) error {
	if n := w.running.Add(1); n > most {
		w.Errorf("%d handlers run, want at most %d", n, most)
	}
	defer w.running.Add(-1)
	if w.isCalm() {
		w.success(m)
		return nil
	}
	switch r.IntN(60) {
	case 0:
		return errBoom
	case 1:
		return NoBackoff(errBoom)
	case 2:
		return RetryAfter(time.Duration(r.IntN(1000))*time.Millisecond, errBoom)
	case 3, 4:
		sleep(time.Duration(r.IntN(5000)) * time.Microsecond)
	case 5:
		sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
		return errBoom
	case 6:
		m.Touch()
		sleep(time.Duration(r.IntN(100)) * time.Millisecond)
	case 7:
		runtime.Goexit()
	case 8:
		sleep(time.Duration(r.IntN(5000)) * time.Microsecond)
		runtime.Goexit()
	case 9:
		panic("program")
	case 10, 11:
		m.DisableAutoResponse()
		d := time.Duration(r.IntN(4)) * time.Millisecond
		w.others.Go(func() {
			sleep(d)
			m.RequeueWithoutBackoff(0)
		})
		sleep(time.Duration(r.IntN(4)) * time.Millisecond)
		return nil
	case 12:
		w.success(m)
		m.DisableAutoResponse()
		w.others.Go(m.Finish)
		return nil
	}
	w.success(m)
	return nil
}

// watchWaiting checks again and again that no message waits for a handler while a worker is
// idle, until the Consumer has stopped. Only a reader on loan may keep one waiting, until the
// loan is recalled.
func (w *takingWalk) watchWaiting(c *Consumer, r *rand.Rand) {
	for d := c.queue; ; {
		select {
		case <-c.StopChan:
			return
		default:
		}
		sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
		synctest.Wait()
		d.mu.Lock()
		free := d.idle > 0 && !d.sealed && !d.full()
		waits := d.hasUnbegun() && len(d.loans.current) == 0
		idle, busy, running, places := d.idle, len(d.busy), d.loans.running, d.places
		for _, l := range d.loans.current {
			if d.clock()-l.loan.began > 2*batchSlice {
				w.Errorf("a loan lasts %v", d.clock()-l.loan.began)
			}
		}
		d.mu.Unlock()
		if free && waits {
			w.Errorf("a message waits, with %d workers idle, %d busy, %d loans, %d places", idle, busy, running, places)
			return
		}
	}
}
