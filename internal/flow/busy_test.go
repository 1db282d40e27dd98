package flow

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// quiet makes a world of nsqds without messages and lets about a second pass.
func quiet(t *testing.T, nsqds int, cfg Config) *world {
	w := newWorld(t, cfg)
	for range nsqds {
		w.add(true)
	}
	w.run(time.Second + time.Duration(cfg.Seed)*7*time.Millisecond)
	return w
}

// flood gives an nsqd more messages than the test will see handled.
func (w *world) flood(nodes ...*node) {
	for _, n := range nodes {
		w.publish(n, 10_000_000)
	}
}

// rate lets time pass. It returns how many messages were handled, as a fraction of
// what that number of slots could have handled.
func (w *world) rate(slots int, takes, d time.Duration) float64 {
	before := w.finished
	w.run(d)
	return float64(w.finished-before) * (takes + 2*w.delay).Seconds() / (float64(slots) * d.Seconds())
}

// TestOneBusyHasMost: one busy nsqd among idle ones, with fewer slots than nsqds or a
// few more. Three seconds after its first message it has nearly all slots.
func TestOneBusyHasMost(t *testing.T) {
	t.Parallel()
	const takes = 10 * time.Millisecond
	for nsqds := 2; nsqds <= 12; nsqds++ {
		row := ""
		for slots := 1; slots < 2*nsqds; slots++ {
			w := quiet(t, nsqds, Config{MaxInFlight: slots, Seed: uint64(slots)}) // #nosec G115 -- positive
			w.flood(w.nodes[nsqds/2])
			w.run(3 * time.Second)
			got := w.rate(slots, takes, 2*time.Second)
			row += fmt.Sprintf(" %2.0f", 100*got)
			if slots == nsqds-1 {
				row += " |"
			}
			if got < 0.75 {
				t.Errorf("%d nsqds, max_in_flight %d: %.0f %% of what the slots could do", nsqds, slots, 100*got)
			}
		}
		t.Logf("1 of %2d nsqds busy, max_in_flight from 1: %% of what the slots could do:%s", nsqds, row)
	}
}

// TestDistantBusyHasHalf: the same, but messages spend more time on the wire than with
// a handler. Samples then do not show that all slots are in use.
func TestDistantBusyHasHalf(t *testing.T) {
	t.Parallel()
	for _, takes := range []time.Duration{time.Millisecond, 6 * time.Millisecond} {
		for slots := 1; slots < 10; slots++ {
			w := quiet(t, 10, Config{MaxInFlight: slots})
			w.delay = 4 * time.Millisecond
			w.handle = func(*node) (time.Duration, Result) { return takes, Success }
			w.flood(w.nodes[4])
			w.run(3 * time.Second)
			if got := w.rate(slots, takes, 4*time.Second); got < 0.45 {
				t.Errorf("max_in_flight %d, handlers take %v: %.0f %% of what the slots could do", slots, takes, 100*got)
			}
		}
	}
}

// TestBusyIsNotStarved: an nsqd with messages gets slots, wherever in the round its
// messages come.
func TestBusyIsNotStarved(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ nsqds, slots int }{{3, 2}, {4, 3}, {5, 4}, {8, 7}, {10, 9}, {10, 8}, {20, 19}} {
		for i := range tt.nsqds {
			for seed := range uint64(2) {
				w := quiet(t, tt.nsqds, Config{MaxInFlight: tt.slots, Seed: seed})
				n := w.nodes[i]
				w.flood(n)
				for range 4 {
					before := n.received
					w.run(500 * time.Millisecond)
					if n.received == before {
						t.Fatalf("%d nsqds, max_in_flight %d, seed %d: nothing from the busy one in %v", tt.nsqds, tt.slots, seed, w.clock())
					}
				}
			}
		}
	}
}

// TestBusyTakeEvenTurns: several busy nsqds among idle ones get about equal shares.
func TestBusyTakeEvenTurns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ nsqds, busy, slots int }{
		{10, 2, 1}, {10, 3, 1}, {10, 5, 3}, {10, 10, 3}, {10, 2, 2}, {10, 3, 3}, {10, 2, 8}, {10, 3, 9}, {10, 9, 9}, {10, 2, 10}, {10, 3, 15},
	} {
		for _, takes := range []time.Duration{10 * time.Millisecond, 300 * time.Millisecond} {
			w := quiet(t, tt.nsqds, Config{MaxInFlight: tt.slots})
			w.handle = func(*node) (time.Duration, Result) { return takes, Success }
			busy := w.nodes[tt.nsqds-tt.busy:]
			w.flood(busy...)
			w.run(3 * time.Second)
			before := make(map[*node]uint64)
			for _, n := range busy {
				before[n] = n.received
			}
			rate := w.rate(tt.slots, takes, max(5*time.Second, 50*takes))
			var got []uint64
			for _, n := range busy {
				got = append(got, n.received-before[n])
			}
			least, most := slices.Min(got), slices.Max(got)
			name := fmt.Sprintf("%d of %d nsqds busy, max_in_flight %d, handlers take %v", tt.busy, tt.nsqds, tt.slots, takes)
			t.Logf("%s: %.0f %% of what the slots could do, least %d, most %d", name, 100*rate, least, most)
			if rate < 0.7 || float64(least) < 0.65*float64(most) {
				t.Errorf("%s: %.0f %% of what the slots could do, %v", name, 100*rate, got)
			}
		}
	}
}

// TestTurnsWithASlotForEach: if a slot for each nsqd would leave a busy one few, turns
// begin, once. When its messages are handled they end, and nothing more is sent.
func TestTurnsWithASlotForEach(t *testing.T) {
	t.Parallel()
	for _, slots := range []int{10, 11, 15, 19} {
		w := quiet(t, 10, Config{MaxInFlight: slots})
		changes, was := 0, w.m.mode
		w.check = func() {
			w.checkInvariants()
			if w.m.mode != was {
				changes, was = changes+1, w.m.mode
			}
		}
		w.publish(w.nodes[3], 15_000)
		w.run(3 * time.Second)
		writes := w.writes
		w.run(4 * time.Second)
		t.Logf("1 of 10 nsqds busy, max_in_flight %d: %d RDYs a second", slots, (w.writes-writes)/4)
		if changes != 1 || w.writes-writes > 4*200 {
			t.Errorf("max_in_flight %d: %d changes of mode, %d RDYs in 4 s", slots, changes, w.writes-writes)
		}
		w.until(30*time.Second, "all are handled", func() bool { return w.finished == 15_000 })
		w.run(2 * time.Second)
		writes = w.writes
		w.run(time.Minute)
		if changes != 2 || w.m.mode != sharing || w.writes != writes || !w.m.Listening() {
			t.Errorf("max_in_flight %d: %d changes of mode, %d RDYs without traffic", slots, changes, w.writes-writes)
		}
	}
}

// TestSleepIsEven: a connection that was busy does not keep its slots for ever, and
// single messages move no slots.
func TestSleepIsEven(t *testing.T) {
	w := quiet(t, 8, Config{MaxInFlight: 80})
	w.publish(w.nodes[3], 20_000)
	w.until(time.Minute, "all are handled", func() bool { return w.finished == 20_000 })
	w.run(time.Second)
	for _, n := range w.nodes {
		if n.sent != 10 {
			t.Errorf("RDY %d of nsqd %s, want 10", n.sent, n.name)
		}
	}
	writes := w.writes
	for range 100 {
		w.publish(w.nodes[w.rand.IntN(8)], 1)
		w.run(time.Duration(w.rand.IntN(int(2 * time.Second))))
	}
	if w.writes != writes {
		t.Errorf("%d RDYs for messages that come one by one", w.writes-writes)
	}
}

// TestProbeBesideSlowHandlers is D18 while slow handlers hold messages from before the
// backoff. A probe with RDY 1 would bring nothing.
func TestProbeBesideSlowHandlers(t *testing.T) {
	for _, tt := range []struct {
		nsqds, slots, slow int
		adaptive           bool
	}{{1, 50, 1, false}, {1, 50, 40, false}, {4, 40, 4, false}, {4, 8, 4, false}, {3, 2, 1, false}, {1, 50, 1, true}} {
		t.Logf("%+v", tt)
		w := quiet(t, tt.nsqds, Config{MaxInFlight: tt.slots, Adaptive: tt.adaptive, Backoff: exponential(time.Second), MaxBackoff: time.Minute})
		w.check = w.checkInvariants
		w.handle = func(*node) (time.Duration, Result) { return 50 * time.Second, Success }
		for i := range tt.slow {
			w.publish(w.nodes[i%tt.nsqds], 1)
		}
		w.until(5*time.Second, "slow ones are in hand", func() bool { return len(w.inHand) == tt.slow })
		w.handle = func(*node) (time.Duration, Result) { return 10 * time.Millisecond, Failure }
		w.flood(w.nodes[0])
		w.until(10*time.Second, "backoff", func() bool { return w.m.backoff.pausing })
		w.handle = func(*node) (time.Duration, Result) { return 10 * time.Millisecond, Success }
		w.until(3*time.Second, "messages flow", func() bool { return w.finished >= 10 })
	}
}

// TestLevelsAreBounded: a backoff whose pause does not grow does not take as many
// successes to end as there were failures.
func TestLevelsAreBounded(t *testing.T) {
	for _, pause := range []time.Duration{0, time.Second} {
		constant := func(int, *rand.Rand) time.Duration { return pause }
		w := quiet(t, 2, Config{MaxInFlight: 10, Backoff: constant, MaxBackoff: 2 * time.Minute})
		w.handle = func(*node) (time.Duration, Result) { return time.Millisecond, Failure }
		w.flood(w.nodes[0])
		w.run(10 * time.Minute)
		w.handle = func(*node) (time.Duration, Result) { return time.Millisecond, Success }
		took := w.until(time.Minute, "backoff ends", func() bool { return w.m.backoff.level == 0 })
		t.Logf("pauses of %v for 10 minutes: over after %v", pause, took)
	}
}
