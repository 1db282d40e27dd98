package nsq

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// D31: a message whose lease ends before a handler is free is not handled, for nsqd has
// delivered it again. While handlers hang the Consumer does not gather more messages.
func TestExpiredMessagesAreNotHandled(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxAttempts = 0
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		release := make(chan struct{})
		var attempts []uint16
		s.consumer(1, func(m *Message) error {
			attempts = append(attempts, m.Attempts)
			<-release
			return nil
		})
		s.connect(d)
		flood(d, 10)
		after(10*time.Minute + 300*time.Millisecond) // leases end on the second
		if c := s.balanced(); c.Received < 500 || c.Expired < 500 || c.Lost != 1 {
			s.Errorf("after 10 minutes of one hanging handler: %+v", c)
		}
		if n := s.c.Snapshot().InFlight; n > 10 {
			s.Errorf("%d messages in hand of max_in_flight 10", n)
		}
		close(release)
		after(time.Second / 2)
		if c := s.balanced(); c.Finished != 10 || c.Lost != 1 {
			s.Errorf("after the handler returned: %+v, want 10 finished", c)
		}
		if len(attempts) != 11 || attempts[0] != 1 || attempts[1] < 50 {
			s.Errorf("handled at attempts %v, want one late return and 10 late deliveries", attempts)
		}
	})
}

// F15: with more messages in hand than its handlers manage within a lease the Consumer
// takes fewer, so that hardly any lease ends before a handler begins the message. It
// warns once, and goes back to max_in_flight when the overload is over.
func TestOverloadTakesFewer(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 50
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		handled := map[MessageID]bool{}
		// Not a tenth of the lease: a handler would then return just when a lease ends,
		// and it would be chance whether it is in time.
		s.consumer(1, func(m *Message) error { handled[m.ID] = true; sleep(97 * time.Millisecond); return nil })
		log := s.logged(LogLevelWarning)
		s.connect(d)
		flood(d, 400)
		after(5 * time.Minute)
		c := s.balanced()
		if len(handled) != 400 || c.Expired > 400 {
			s.Errorf("%d handled of 400, want all, and 400 expired at most: %+v", len(handled), c)
		}
		warned := slices.DeleteFunc(log.take(), func(line string) bool { return !strings.Contains(line, "taking fewer") })
		if len(warned) != 1 || !strings.Contains(warned[0], "max_in_flight=50") || !strings.Contains(warned[0], "handlers=1") {
			s.Errorf("warned %q, want one warning", warned)
		}
		after(5 * time.Minute)
		if rdyOf(d) != 50 {
			s.Errorf("RDY %d after five minutes without overload, want 50", rdyOf(d))
		}
	})
}

// An ack after the end of the lease is not sent, and the message counts as lost. nsqd may
// have delivered it over the same connection again, and would take the ack for one of
// that delivery.
func TestLateAcksAreNotSent(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var runs atomic.Int32
		s.consumer(2, func(m *Message) error {
			if runs.Add(1) == 1 {
				sleep(1500 * time.Millisecond)
				return nil
			}
			sleep(900 * time.Millisecond)
			return nil
		})
		s.connect(d)
		flood(d, 1)
		after(1600 * time.Millisecond) // the first call has returned, the second one runs
		if c := s.balanced(); c.Received != 2 || c.Lost != 1 || c.Finished != 0 || len(commands(d, "FIN", "REQ")) != 0 {
			s.Errorf("%+v, sent %q, want the late FIN lost", c, commands(d, "FIN", "REQ"))
		}
		after(time.Minute)
		if c := s.balanced(); c.Received != 2 || c.Lost != 1 || c.Finished != 1 || c.Refused != 0 {
			s.Errorf("%+v, want one lost and one finished", c)
		}
	})
}

// D31: at most max_in_flight handlers run at a time, even when nsqd sends more messages
// because leases have ended or a connection was lost.
func TestOverdueHandlersCount(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.MaxAttempts = 3, 0
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var running, most atomic.Int32
		s.consumer(20, func(m *Message) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			if m.Attempts == 1 {
				sleep(9700 * time.Millisecond) // returns between two ends of leases
			}
			return nil
		})
		s.connect(d)
		flood(d, 6)
		after(5 * time.Minute)
		if most.Load() != 3 {
			s.Errorf("%d handlers ran at a time, want 3", most.Load())
		}
		if st := d.Stats("t", "c"); st.Finished != 6 {
			s.Errorf("%+v, want 6 finished", st)
		}
		s.balanced()

		d.Disconnect(1)
		after(time.Second)
		flood(d, 3)
		after(time.Second / 2)
		d.Disconnect(2)
		after(time.Minute)
		if most.Load() != 3 {
			s.Errorf("%d handlers ran at a time after a lost connection, want 3", most.Load())
		}
	})
}

// D2: a message that is never acked is lost when its lease ends. Its methods send nothing
// after that. The Consumer forgets it, and also one that was acked after its handler had
// returned: a stop neither waits for them nor lists them.
func TestMessageThatIsNeverAcked(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var kept []*Message
		s.consumer(1, func(m *Message) error {
			switch {
			case string(m.Body) == "hang":
				sleep(time.Minute)
			case m.Attempts == 1:
				m.DisableAutoResponse()
				kept = append(kept, m)
			default:
				m.DisableAutoResponse()
				time.AfterFunc(500*time.Millisecond, m.Finish)
			}
			return nil
		})
		s.connect(d)
		flood(d, 2)
		after(900 * time.Millisecond)
		if c := s.balanced(); c.Received != 2 || s.c.Snapshot().InFlight != 2 {
			s.Errorf("%+v, want both in flight until their leases end", c)
		}
		after(time.Minute)
		if c := s.balanced(); c.Received != 4 || c.Lost != 2 || c.Finished != 2 || s.c.Snapshot().InFlight != 0 {
			s.Errorf("%+v, want two lost and two finished", c)
		}
		kept[0].Finish()
		kept[0].Requeue(0)
		kept[0].Touch()
		synctest.Wait()
		if c := s.balanced(); c.Lost != 2 || c.Refused != 0 || len(commands(d, "FIN", "REQ", "TOUCH")) != 2 {
			s.Errorf("%+v, sent %q", c, commands(d, "FIN", "REQ", "TOUCH"))
		}
		d.Publish("t", "hang")
		synctest.Wait()
		took, err := s.shutdown(time.Second / 2)
		left, ok := errors.AsType[*StopError](err)
		if took != time.Second/2 || !ok || len(left.Running) != 1 || len(left.Unanswered) != 0 {
			s.Errorf("error %v after %v, want only the hanging handler left", err, took)
		}
		sleep(time.Hour) // until it returns
	})
}

// D31: no message is begun after its lease, even between two sweeps. Here leases end 1 ms
// apart, sweeps are 5 ms apart, and the handler is free just when the fourth lease ends.
func TestNotBegunAfterItsLease(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var late atomic.Int32
		var first atomic.Bool
		s.consumer(1, func(m *Message) error {
			if ends, _ := m.Context().Deadline(); !time.Now().Before(ends) {
				late.Add(1)
			}
			if first.CompareAndSwap(false, true) {
				sleep(1003 * time.Millisecond)
			}
			return nil
		})
		s.connect(d)
		for range 5 {
			flood(d, 1)
			after(time.Millisecond)
		}
		after(time.Minute)
		if c := s.balanced(); late.Load() != 0 || c.Refused != 0 {
			s.Errorf("%d messages begun after their lease: %+v", late.Load(), c)
		}
	})
}

// An nsqd that reports a msg-timeout that is none is taken to have reported none.
func TestMsgTimeoutThatIsNone(t *testing.T) {
	for _, timeout := range []time.Duration{-time.Second, -1 << 63} {
		inScene(t, func(s *scene) {
			d := s.nsqd("a:1", leases(timeout, timeout))
			s.consumer(1, noError)
			s.connect(d)
			after(10 * time.Minute) // a sweep that is due at once, again and again, never lets it pass
			if got := s.c.loop.conns; len(got) != 1 {
				s.Fatalf("%d connections, want 1", len(got))
			}
			for _, conn := range s.c.loop.conns {
				if conn.msgTimeout != time.Minute || conn.maxMsgTimeout != 15*time.Minute {
					s.Errorf("lease %v, at most %v, want 1m0s, at most 15m0s", conn.msgTimeout, conn.maxMsgTimeout)
				}
			}
		})
	}
}

// A handler that fails too late is a failure for backoff. One that succeeds too late is
// no success: it took longer than it may.
func TestLateResultsForBackoff(t *testing.T) {
	for name, tt := range map[string]struct {
		late error
		want int // the level after the late result
	}{"success": {nil, 1}, "failure": {errBoom, 2}} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1", leases(time.Second, time.Hour))
				var runs atomic.Int32
				s.consumer(1, func(*Message) error {
					if runs.Add(1) == 1 {
						return errBoom // the pause is 2 s
					}
					sleep(1500 * time.Millisecond)
					return tt.late
				})
				s.connect(d)
				d.Publish("t", "m")
				synctest.Wait()
				d.Publish("t", "probe")
				after(3700 * time.Millisecond)
				if got := s.c.Snapshot(); runs.Load() < 2 || got.Lost == 0 || got.BackoffLevel != tt.want {
					s.Errorf("%d runs, %d lost, level %d, want 2, 1 and level %d", runs.Load(), got.Lost, got.BackoffLevel, tt.want)
				}
			})
		})
	}
}

// No message is begun once its lease is over, wherever in a batch of quick messages a handler
// takes longer than a lease.
func TestNoneBeginsLateBehindQuickOnes(t *testing.T) {
	for _, slow := range []int{0, 1, 2, mostFresh, mostFresh + 1, 40, messageSlab - 1} {
		inScene(t, func(s *scene) {
			s.cfg.MaxInFlight = 2 * messageSlab
			d := s.nsqd("a:1")
			batched := false
			s.consumer(1, func(m *Message) error {
				if s.c.elapsed() >= m.leaseEnds() {
					s.Errorf("slow message %d: message %s begun after its lease", slow, m.Body)
				}
				if batched && string(m.Body) == fmt.Sprint(slow) && m.Attempts == 1 {
					sleep(2 * time.Minute)
				}
				return nil
			})
			s.connect(d)
			flood(d, 10*messageSlab) // so that batches are long, and cost nothing
			synctest.Wait()
			batched = true
			bodies := make([]string, messageSlab)
			for i := range bodies {
				bodies[i] = fmt.Sprint(i)
			}
			d.Publish("t", bodies...)
			after(5 * time.Minute)
			if st := d.Stats("t", "c"); st.Finished != 11*messageSlab {
				s.Errorf("slow message %d: %+v", slow, st)
			}
		})
	}
}
