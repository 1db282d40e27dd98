package nsq

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// warmUp is how many quick messages lent handles. After them, a reader handles up to 10 at once.
const warmUp = 20

// lent connects a Consumer with so many handlers, and handles messages until the reader
// calls the handler. From then on h is called, by the reader for the next message.
func (s *scene) lent(handlers int, h HandlerFunc) *nsqtest.Nsqd {
	s.Helper()
	quick, lent := true, false
	d := s.nsqd("a:1")
	s.consumer(handlers, func(m *Message) error {
		if quick {
			lent = s.onLoan() > 0
			return nil
		}
		return h(m)
	})
	s.connect(d)
	for range warmUp {
		d.Publish("t", "quick")
		after(10 * time.Millisecond)
	}
	if !lent {
		s.Fatal("no reader calls the handler")
	}
	quick = false
	return d
}

// onLoan returns how many readers handle messages.
func (s *scene) onLoan() int {
	s.c.queue.mu.Lock()
	defer s.c.queue.mu.Unlock()
	return s.c.queue.loans.running
}

// together publishes messages so that they are read at once: while the reader calls the
// handler for another message, which must take half a millisecond.
func (s *scene) together(d *nsqtest.Nsqd, bodies ...string) {
	d.Publish("t", "first")
	synctest.Wait()
	if s.onLoan() != 1 {
		s.Fatal("no reader calls the handler")
	}
	d.Publish("t", bodies...)
	after(time.Millisecond / 2)
}

// The messages that were read together with one whose handler is slow, and those that come
// after it, wait for a loan to be recalled, and not for the handler.
func TestSlowLoanKeepsNoMessageFromIdleWorkers(t *testing.T) {
	inScene(t, func(s *scene) {
		begun := make(chan time.Time, 4)
		d := s.lent(3, func(m *Message) error {
			begun <- time.Now()
			if string(m.Body) == "first" {
				sleep(time.Millisecond / 2)
			} else {
				sleep(100 * time.Millisecond)
			}
			return nil
		})
		s.together(d, "a", "b")
		start := time.Now()
		if n := s.onLoan(); n != 1 {
			s.Errorf("%d loans, want 1", n)
		}
		for range 3 {
			if at := (<-begun).Sub(start); at > 2*batchSlice {
				s.Errorf("begun after %v", at)
			}
		}
		d.Publish("t", "c")
		if after(2 * batchSlice); len(begun) != 1 {
			s.Error("a message that comes during the loan is not begun within 2 ms")
		}
		after(time.Second)
		if st := d.Stats("t", "c"); st.Finished != warmUp+4 {
			s.Errorf("%+v, want 4 more finished", st)
		}
	})
}

// The FINs of messages are sent that were handled before one whose handler ends the
// goroutine, and those that were read after it are handled.
func TestGoexitWithinBatchOnLoan(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.DefaultRequeueDelay, s.cfg.MaxBackoffDuration = time.Minute, 0
		d := s.lent(1, func(m *Message) error {
			switch string(m.Body) {
			case "first":
				sleep(time.Millisecond / 2)
			case "exits":
				runtime.Goexit()
			}
			return nil
		})
		s.together(d, "before", "exits", "after", "exits")
		after(time.Second)
		if st := d.Stats("t", "c"); st.Finished != warmUp+3 || st.Deferred != 2 {
			s.Errorf("%+v, want 3 more finished and 2 deferred", st)
		}
	})
}

// A handler that ends the reader's goroutine frees its place, and the reader reads on, whether
// or not the loan was recalled before.
func TestGoexitOnLoan(t *testing.T) {
	for _, takes := range []time.Duration{0, 10 * time.Millisecond} {
		t.Run(takes.String(), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.DefaultRequeueDelay, s.cfg.MaxBackoffDuration = 0, 0
				left := 3
				d := s.lent(1, func(m *Message) error {
					if left--; left >= 0 {
						sleep(takes)
						runtime.Goexit()
					}
					return nil
				})
				d.Publish("t", "a", "b", "c")
				after(time.Second)
				if st := d.Stats("t", "c"); st.Finished != warmUp+3 || st.Requeued != 3 {
					s.Errorf("%+v, want 3 more finished, 3 requeued", st)
				}
				if _, busy, _, _ := s.c.queue.load(); busy != 0 || s.onLoan() != 0 {
					s.Errorf("%d busy, %d loans", busy, s.onLoan())
				}
			})
		})
	}
}

// What other goroutines send while the reader is on loan waits for the recall at most.
func TestTouchLeavesDuringLoan(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.lent(1, func(m *Message) error {
			go m.Touch()
			sleep(time.Second)
			return nil
		})
		d.Publish("t", "slow")
		after(2 * batchSlice)
		if sent := commands(d, "TOUCH"); len(sent) != 1 {
			s.Errorf("sent %q, want one TOUCH", sent)
		}
	})
}

// While a handler that a reader has called is slow, nsqd gets NOPs for its heartbeats.
func TestHeartbeatDuringLoan(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.HeartbeatInterval, s.cfg.ReadTimeout = time.Second, 3*time.Second
		d := s.lent(1, func(m *Message) error {
			sleep(20 * time.Second)
			return nil
		})
		d.Publish("t", "slow")
		before := len(commands(d, "NOP"))
		after(10 * time.Second)
		if n := len(commands(d, "NOP")) - before; n < 9 {
			s.Errorf("%d NOPs in 10 s", n)
		}
	})
}

// A stop waits for a handler that a reader has called, before and after the recall of its
// loan, and sends its FIN. It leaves no timer.
func TestStopAwaitsLoan(t *testing.T) {
	for _, at := range []time.Duration{0, time.Millisecond / 2, 5 * time.Millisecond} {
		for _, takes := range []time.Duration{10 * time.Millisecond, time.Second} {
			inScene(t, func(s *scene) {
				d := s.lent(1, func(*Message) error {
					sleep(takes)
					return nil
				})
				d.Publish("t", "slow", "waits")
				after(at)
				if took := s.stopped(); took < takes-at {
					s.Errorf("stopped after %v, before the handler has returned", took)
				}
				if st := d.Stats("t", "c"); st.Finished != warmUp+1 || st.Depth != 1 {
					s.Errorf("%+v, want 1 more finished and 1 left", st)
				}
				if s.c.queue.loans.timer.Stop() {
					s.Error("the loans' timer runs still")
				}
			})
		}
	}
}

// A stop waits for a handler that a reader has called even if it has acked its message.
func TestStopAwaitsLoanWithoutMessage(t *testing.T) {
	inScene(t, func(s *scene) {
		returned := false
		d := s.lent(1, func(m *Message) error {
			m.Finish()
			sleep(time.Second)
			returned = true
			return nil
		})
		d.Publish("t", "slow")
		after(5 * time.Millisecond)
		if took := s.stopped(); !returned || took > time.Second {
			s.Errorf("stopped after %v, handler returned: %t", took, returned)
		}
	})
}

// A Shutdown that does not wait ends although a reader's handler hangs, and names its message.
func TestShutdownGivesUpLoan(t *testing.T) {
	inScene(t, func(s *scene) {
		release := make(chan struct{})
		d := s.lent(1, func(*Message) error {
			<-release
			return nil
		})
		d.Publish("t", "hangs")
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var left *StopError
		if err := s.c.Shutdown(ctx); !errors.As(err, &left) || len(left.Running) != 1 {
			s.Errorf("%v, want one running handler", err)
		}
		close(release)
	})
}

// A handler that a reader has called may call the Consumer's methods that wait.
func TestHandlerOnLoanDisconnects(t *testing.T) {
	inScene(t, func(s *scene) {
		var err error
		d := s.lent(1, func(m *Message) error {
			s.c.ChangeMaxInFlight(1)
			err = s.c.DisconnectFromNSQD("a:1")
			return nil
		})
		d.Publish("t", "a")
		after(time.Second)
		if err != nil || len(d.Clients()) != 0 {
			s.Errorf("%v, %d connections", err, len(d.Clients()))
		}
		if sent := commands(d, "FIN"); len(sent) != warmUp+1 {
			s.Errorf("%d FINs, want %d", len(sent), warmUp+1)
		}
	})
}

// A handler that calls Stop on a reader's goroutine is called for the last time, though more
// messages were read with its own.
func TestHandlerOnLoanStops(t *testing.T) {
	inScene(t, func(s *scene) {
		calls := 0
		d := s.lent(1, func(*Message) error {
			calls++
			s.c.Stop()
			return nil
		})
		d.Publish("t", slices.Repeat([]string{"m"}, 5)...)
		<-s.c.StopChan
		if st := d.Stats("t", "c"); calls != 1 || st.Finished != warmUp+1 || st.Depth != 4 {
			s.Errorf("%d calls, %+v; want 1 call, 1 more finished, 4 left", calls, st)
		}
	})
}

// Two connections' readers and the workers share the places of one handler.
func TestLoansOfSeveralConnectionsShareTheHandler(t *testing.T) {
	inScene(t, func(s *scene) {
		var running, most atomic.Int32
		handled := 0
		d := s.lent(1, func(*Message) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			handled++ // no race: one at a time
			if handled%7 == 0 {
				sleep(3 * time.Millisecond)
			}
			return nil
		})
		other := s.nsqd("b:1")
		s.connect(other)
		for range 100 {
			go d.Publish("t", "a")
			go other.Publish("t", "b")
			sleep(700 * time.Microsecond)
		}
		after(time.Second)
		if handled != 200 || most.Load() != 1 {
			s.Errorf("%d handled, %d at a time", handled, most.Load())
		}
	})
}

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
		sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
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
