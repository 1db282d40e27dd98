package nsq

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// rdys returns how many RDYs the nsqds have received.
func rdys(nsqds ...*nsqtest.Nsqd) (n int) {
	for _, d := range nsqds {
		n += len(commands(d, "RDY"))
	}
	return n
}

// N7: a Consumer without messages that has fewer slots than nsqds sends about five RDYs
// a second to ten nsqds. The first message after the silence waits for one round of 3.75 s
// at most, and from then on messages are found as soon as before.
func TestIdleConsumerSendsFewRDYs(t *testing.T) {
	for seed := range 10 {
		inScene(t, func(s *scene) {
			s.cfg.MaxInFlight = 1
			nsqds := s.nsqds(10)
			arrived := make(chan time.Time, 1)
			s.consumer(1, func(*Message) error { arrived <- time.Now(); return nil })
			s.connect(nsqds...)
			after(time.Minute)
			before := rdys(nsqds...)
			after(time.Minute)
			if n := rdys(nsqds...) - before; n < 316 || n > 324 {
				s.Errorf("%d RDYs in a minute without messages, want 320", n)
			}
			after(time.Duration(seed) * 37 * time.Millisecond)
			for i := range 20 {
				most := 3760 * time.Millisecond
				if i > 0 {
					most = 400 * time.Millisecond
				}
				start := time.Now()
				flood(nsqds[(seed+3*i)%10], 1)
				if took := (<-arrived).Sub(start); took > most {
					s.Errorf("message %d after the silence waited for %v, want %v at most", i, took, most)
				}
				after(time.Second)
			}
		})
	}
}

// N7: leases are swept although sweeps had rested: a message that arrives after a long
// silence, and is never acked, is given up when its lease ends.
func TestLeaseAfterSilence(t *testing.T) {
	for _, nsqds := range []int{1, 3} {
		inScene(t, func(s *scene) {
			s.cfg.MaxInFlight = 1
			all := s.nsqds(nsqds)
			s.consumer(1, func(m *Message) error { m.DisableAutoResponse(); return nil })
			s.connect(all...)
			after(10 * time.Minute)
			start := time.Now()
			flood(all[0], 1)
			inFlight := func() (n int) {
				for _, c := range s.c.Snapshot().Connections {
					n += c.InFlight
				}
				return n
			}
			for synctest.Wait(); inFlight() == 0; after(10 * time.Millisecond) {
				if time.Since(start) > 5*time.Second {
					s.Fatal("the message does not arrive")
				}
			}
			all[0].Empty("t", "c")
			after(59 * time.Second)
			if inFlight() != 1 {
				s.Error("the message is given up before its lease of a minute is over")
			}
			after(1200 * time.Millisecond)
			if inFlight() != 0 {
				s.Error("the message is not given up when its lease is over")
			}
		})
	}
}
