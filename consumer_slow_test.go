package nsq

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// D18: handlers that still run when a backoff begins do not keep the probe's message
// away, although both count towards the same RDY.
func TestProbeBesideASlowHandler(t *testing.T) {
	for _, nsqds := range []int{1, 4} {
		inScene(t, func(s *scene) {
			s.cfg.MaxInFlight = 50
			all := s.nsqds(nsqds)
			var n, handled atomic.Int32
			s.consumer(50, func(*Message) error {
				switch i := int(n.Add(1)); {
				case i <= nsqds:
					sleep(50 * time.Second)
				case i == nsqds+1:
					return errBoom
				}
				handled.Add(1)
				return nil
			})
			s.connect(all...)
			after(rdyMoves)
			for _, d := range all {
				flood(d, 1)
			}
			after(time.Second)
			flood(all[0], 1) // fails
			after(time.Second)
			flood(all[0], 1000)
			after(3 * time.Second) // 2 s of pause and one second more
			if handled.Load() < 100 {
				s.Errorf("%d nsqds: %d messages handled, want 100 at least; sent %v", nsqds, handled.Load(), commands(all[0], "RDY", "REQ"))
			}
			sleep(time.Minute) // until the slow handlers return
		})
	}
}

// D24: a message counts as in flight while its handler touches it, far beyond its first
// lease.
func TestTouchedStillCounts(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 1
		a := s.nsqd("a:1", leases(10*time.Second, 15*time.Minute))
		b := s.nsqd("b:1", leases(10*time.Second, 15*time.Minute))
		s.consumer(1, func(m *Message) error {
			for range 12 {
				sleep(5 * time.Second)
				m.Touch()
			}
			return nil
		})
		s.connect(a, b)
		flood(a, 1)
		after(time.Second)
		flood(b, 1)
		for range 55 {
			after(time.Second)
			if _, n := granted([]*nsqtest.Nsqd{a, b}); n > 1 {
				s.Fatalf("%d in flight of 1", n)
			}
		}
		sleep(2 * time.Minute)
	})
}

// D24: a message that is never acked takes up a slot of max_in_flight for one lease only.
func TestALostAckCostsOneLease(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 1
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		var lost atomic.Bool
		var handled atomic.Int32
		s.consumer(1, func(m *Message) error {
			if lost.CompareAndSwap(false, true) {
				m.DisableAutoResponse()
				return nil
			}
			sleep(10 * time.Millisecond)
			handled.Add(1)
			return nil
		})
		s.connect(a, b)
		flood(a, 1)
		after(65 * time.Second)
		flood(a, 20_000)
		flood(b, 20_000)
		after(2 * time.Minute)
		if n := handled.Load(); n < 10_000 {
			s.Errorf("%d messages handled, 12,000 are possible", n)
		}
	})
}

// D21, D22: one busy nsqd among idle ones has most of max_in_flight, also if that is less
// than one for each nsqd, or hardly more.
func TestBusyNSQDAmongIdleOnes(t *testing.T) {
	for _, slots := range []int{1, 4, 9, 10, 15} {
		inScene(t, func(s *scene) {
			s.cfg.MaxInFlight = slots
			nsqds := s.nsqds(10)
			var handled atomic.Int32
			s.consumer(slots, func(*Message) error {
				// If handlers ran in step, all could have just returned when flow looks.
				sleep(5*time.Millisecond + time.Duration(handled.Add(1)*37%100)*100*time.Microsecond)
				return nil
			})
			s.connect(nsqds...)
			after(time.Second)
			flood(nsqds[7], 100_000)
			after(3 * time.Second)
			before := handled.Load()
			after(10 * time.Second)
			if n := int(handled.Load() - before); n < 1000*slots*7/10 {
				s.Errorf("%d slots: %d messages handled in 10 s, %d are possible", slots, n, 1000*slots)
			}
		})
	}
}

// A FIN does not wait for the handler of a later message in the same worker's batch.
func TestFinishedBehindASlowMessage(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		for i := range 200 {
			d.Publish("t", fmt.Sprint(i))
		}
		s.cfg.MaxInFlight = 200
		s.consumer(1, func(m *Message) error {
			if string(m.Body) == "190" {
				sleep(30 * time.Second)
			}
			return nil
		})
		s.connect(d)
		after(time.Second)
		if c := s.balanced(); c.Finished != 190 {
			s.Errorf("%d finished while the handler of the next one runs, want 190", c.Finished)
		}
		after(time.Minute)
		if c := s.balanced(); c.Finished != 200 {
			s.Errorf("%d finished in the end, want 200", c.Finished)
		}
	})
}
