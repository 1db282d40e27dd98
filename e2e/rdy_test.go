package e2e

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// ready returns the RDY of all clients of channel c, and how many messages are in
// flight.
func ready(n *NSQD) (rdy, inFlight int) {
	s := n.Stats(topic, "c")
	for _, c := range s.Clients {
		rdy += c.ReadyCount
	}
	return rdy, s.InFlight
}

// When one nsqd of three has all messages, RDY moves there. An even split would
// leave two thirds of it at the other two. The test logs how much faster the
// drain is.
func TestDrainFollowsMessages(t *testing.T) {
	const count, handlers = 20_000, 90
	took := map[nsq.RDYStrategy]time.Duration{}
	for _, strategy := range []nsq.RDYStrategy{nsq.RDYUniform, nsq.RDYAdaptive} {
		busy := StartNSQD(t, nil)
		publish(t, busy, "m", count)
		cfg := testConfig(t)
		cfg.MaxInFlight, cfg.RDYStrategy = handlers, strategy
		handled := newLedger()
		begin := time.Now()
		c := consume(t, cfg, handlers, func(m *nsq.Message) error {
			time.Sleep(10 * time.Millisecond)
			handled.add(m.Body)
			return nil
		}, busy, StartNSQD(t, nil), StartNSQD(t, nil))
		if strategy == nsq.RDYAdaptive {
			eventually(t, patience, func() bool { rdy, _ := ready(busy); return rdy == handlers-2 })
		}
		eventually(t, patience, func() bool { return handled.distinct() == count })
		took[strategy] = time.Since(begin)
		if rdy, _ := ready(busy); strategy == nsq.RDYUniform && rdy != handlers/3 {
			t.Errorf("uniform: RDY %d, want a third of %d", rdy, handlers)
		}
		stop(t, c)
	}
	t.Logf("drained in %v, with an even split in %v: ratio %.2f", took[nsq.RDYAdaptive], took[nsq.RDYUniform],
		took[nsq.RDYAdaptive].Seconds()/took[nsq.RDYUniform].Seconds())
}

// After max_in_flight is lowered under load, nsqd's own counts stay within it once
// the messages in flight are acked.
func TestLoweringHolds(t *testing.T) {
	nsqds := []*NSQD{StartNSQD(t, nil), StartNSQD(t, nil), StartNSQD(t, nil)}
	for _, n := range nsqds {
		publish(t, n, "m", 20_000)
	}
	cfg := testConfig(t)
	cfg.MaxInFlight = 60
	var atWork, most atomic.Int32
	c := consume(t, cfg, 60, func(*nsq.Message) error {
		n := atWork.Add(1)
		defer atWork.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(10 * time.Millisecond)
		return nil
	}, nsqds...)
	total := func() (rdy, inFlight int) {
		for _, n := range nsqds {
			r, f := ready(n)
			rdy, inFlight = rdy+r, inFlight+f
		}
		return rdy, inFlight
	}
	eventually(t, patience, func() bool { _, n := total(); return n >= 55 })
	c.ChangeMaxInFlight(6)
	eventually(t, patience, func() bool { rdy, n := total(); return rdy <= 6 && n <= 6 })
	finished := c.Stats().MessagesFinished
	most.Store(0)
	var sums []int
	for range 100 {
		for _, n := range nsqds {
			if rdy, inFlight := ready(n); rdy > 6 || inFlight > 6 {
				t.Errorf("%s: RDY %d, in flight %d, want at most 6", n, rdy, inFlight)
			}
		}
		rdy, n := total()
		sums = append(sums, max(rdy, n))
		time.Sleep(10 * time.Millisecond)
	}
	// The nsqds are asked one after the other, so a slot that moves may be seen twice.
	if slices.Sort(sums); sums[len(sums)/2] > 6 {
		t.Errorf("RDY and in flight, sorted: %v, want mostly at most 6", sums)
	}
	if n := most.Load(); n > 6 {
		t.Errorf("%d handlers at work, want at most 6", n)
	}
	if c.Stats().MessagesFinished == finished {
		t.Error("no message was handled meanwhile")
	}
}

// With fewer slots than nsqds, a message on any nsqd is still handled soon.
func TestTurnsReachAll(t *testing.T) {
	var nsqds []*NSQD
	for range 4 {
		nsqds = append(nsqds, StartNSQD(t, nil))
	}
	cfg := testConfig(t)
	cfg.MaxInFlight = 1
	handled := newLedger()
	consume(t, cfg, 1, func(m *nsq.Message) error {
		handled.add(m.Body)
		return nil
	}, nsqds...)
	for round := range 5 {
		for i, n := range nsqds {
			n.Publish(topic, string(rune('a'+round))+string(rune('0'+i)))
			want := round*len(nsqds) + i + 1
			eventually(t, patience, func() bool { return handled.distinct() == want })
		}
	}
	for i, n := range nsqds { // so is a backlog on each
		publish(t, n, string(rune('A'+i)), 500)
	}
	eventually(t, patience, func() bool { return handled.distinct() == 20+2000 })
}
