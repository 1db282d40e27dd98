package flow

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestPace: between its three fixed points the pace grows by the same factor in the same
// time, and no further.
func TestPace(t *testing.T) {
	for _, nsqds := range []int{2, 3, 10, 100, 10_000} {
		for _, slots := range []int{1, 10, 100, 1000} {
			m := New(Config{MaxInFlight: slots})
			m.open = nsqds
			full := max(35*time.Millisecond/time.Duration(slots), visitTime/mostMoves)
			longest := 125*time.Millisecond + 2500*time.Millisecond/time.Duration(nsqds)
			for _, tt := range []struct{ silence, want time.Duration }{
				{slowAfter, full}, {10 * time.Second, 125 * time.Millisecond},
				{time.Minute, longest}, {time.Hour, longest}, {1000 * time.Hour, longest},
			} {
				if got := m.pace(tt.silence); (got - tt.want).Abs() > time.Nanosecond {
					t.Errorf("%d nsqds, %d slots: %v after %v of silence, want %v", nsqds, slots, got, tt.silence, tt.want)
				}
			}
			for _, part := range []struct{ from, to time.Duration }{{slowAfter, calmAfter}, {calmAfter, slowestAfter}} {
				step := (part.to - part.from) / 8
				factor := float64(m.pace(part.from+step)) / float64(m.pace(part.from))
				for s := part.from; s < part.to; s += step {
					got := float64(m.pace(s+step)) / float64(m.pace(s))
					if factor <= 1 || got < 0.999*factor || got > 1.001*factor {
						t.Errorf("%d nsqds, %d slots: × %.4f from %v to %v, want × %.4f as before", nsqds, slots, got, s, s+step, factor)
					}
				}
			}
		}
	}
}

// round is how long a round of all nsqds takes at most.
func round(nsqds int) time.Duration {
	return 2500*time.Millisecond + time.Duration(nsqds)*125*time.Millisecond
}

// TestSilenceIsCheap: after 10 s without a message there are at most 16 RDYs a second,
// after a minute two for each nsqd and round, and each nsqd is visited in each round,
// however many nsqds and slots there are. The machine is due twice a move, and at no
// other time.
func TestSilenceIsCheap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		nsqds, slots int
		uniform      bool
	}{
		{2, 1, false}, {3, 1, false}, {3, 2, false}, {10, 1, false}, {10, 1, true}, {10, 9, false}, {10, 9, true},
		{100, 1, false}, {100, 50, false}, {100, 99, true}, {1000, 100, false},
	} {
		w := newWorld(t, Config{MaxInFlight: tt.slots, Uniform: tt.uniform, Seed: 4})
		for range tt.nsqds {
			w.add(true)
		}
		name := fmt.Sprintf("%d nsqds, max_in_flight %d, uniform %v", tt.nsqds, tt.slots, tt.uniform)
		w.run(slowAfter + slowWithin + settleTime)
		ticks := w.ticks
		w.run(20 * visitTime)
		if n := w.ticks - ticks; n > 2*2*20+1 { // a move, or several, at least half a visit apart
			t.Errorf("%s: %d ticks in %v of slow turns", name, n, 20*visitTime)
		}
		w.run(calmAfter - slowAfter - slowWithin - 20*visitTime)
		for range 5 {
			writes := w.writes
			w.run(10 * time.Second)
			if n := w.writes - writes; n > 10*16+1 {
				t.Errorf("%s: %d RDYs in 10 s before %v", name, n, w.clock())
			}
		}
		w.run(time.Second)
		gone := make(map[*node]time.Time) // since when an nsqd has been without a slot
		for _, n := range w.nodes {
			gone[n] = w.now
		}
		longest := time.Duration(0)
		w.decided = func(n *node, rdy int) {
			if rdy == 0 {
				gone[n] = w.now
			} else {
				longest = max(longest, w.now.Sub(gone[n]))
			}
		}
		const rounds = 2
		period := rounds * round(tt.nsqds)
		writes := w.writes
		ticks = w.ticks
		w.run(period)
		writes, ticks = w.writes-writes, w.ticks-ticks
		for _, n := range w.nodes {
			if n.sent == 0 {
				longest = max(longest, w.now.Sub(gone[n]))
			}
		}
		t.Logf("%s: %.1f RDYs a second, an nsqd is without a slot for %v", name, float64(writes)/period.Seconds(), longest.Round(time.Millisecond))
		if want := rounds * 2 * tt.nsqds; writes < want-3 || writes > want+1 || ticks > writes+1 {
			t.Errorf("%s: %d RDYs and %d ticks, want %d", name, writes, ticks, want)
		}
		if longest > round(tt.nsqds)+settleTime {
			t.Errorf("%s: an nsqd was without a slot for %v, a round takes %v", name, longest, round(tt.nsqds))
		}
	}
}

// TestSimulateFirstDeliveryAfterSilence is the price of cheap silences: how soon the first
// message is delivered, beside the RDYs a second that looking for it costs.
func TestSimulateFirstDeliveryAfterSilence(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, tt := range []struct {
		nsqds, slots, runs int
		most               [3]time.Duration // after the silences below
	}{
		{1, 1, 10, [3]time.Duration{ms, ms, ms}},
		{10, 1, 40, [3]time.Duration{360 * ms, 1350 * ms, round(10)}},
		{100, 1, 15, [3]time.Duration{4500 * ms, 13500 * ms, round(100)}},
		{1000, 100, 1, [3]time.Duration{2500 * ms, round(1000), round(1000)}},
	} {
		for i, silence := range []time.Duration{time.Second, 10 * time.Second, 10 * time.Minute} {
			silent := func(seed uint64) *world {
				w := newWorld(t, Config{MaxInFlight: tt.slots, Seed: seed})
				for range tt.nsqds {
					w.add(true)
				}
				w.run(settleTime + silence)
				return w
			}
			w := silent(0)
			writes := w.writes
			w.run(time.Second)
			rdys := w.writes - writes
			var times []time.Duration
			for seed := range uint64(tt.runs) { // #nosec G115 -- positive
				w := silent(seed)
				n := w.nodes[w.rand.IntN(len(w.nodes))]
				w.publish(n, 1)
				times = append(times, w.until(10*time.Minute, "delivery", func() bool { return n.held > 0 }))
			}
			slices.Sort(times)
			t.Logf("%4d nsqds, max_in_flight %3d, after %5v: %4d RDYs a second, first delivery after %7v (median), %7v (longest)", tt.nsqds, tt.slots,
				silence, rdys, times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
			if longest := times[len(times)-1]; longest > tt.most[i]+settleTime {
				t.Errorf("not within %v", tt.most[i])
			}
		}
	}
}

// TestSilenceEnds: from the first message on, turns are as fast as before the silence,
// whatever nsqd it came from, and whether or not its slot was just being withdrawn.
func TestSilenceEnds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		w := newWorld(t, Config{MaxInFlight: 1 + int(seed%3), Seed: seed}) // #nosec G115 -- small
		w.check = w.checkInvariants
		w.delay = 4 * time.Millisecond
		for range 10 {
			w.add(true)
		}
		w.run(time.Second)
		writes := w.writes
		w.run(time.Second)
		full := w.writes - writes
		w.run(2 * time.Minute)
		n := w.nodes[w.rand.IntN(10)]
		came := false
		w.arrived = func(*node) { came = true }
		w.run(time.Duration(w.rand.IntN(int(500 * time.Millisecond))))
		w.publish(n, 1)
		w.until(round(10), "delivery", func() bool { return came })
		w.run(50 * time.Millisecond)
		writes = w.writes
		w.run(time.Second)
		if got := w.writes - writes; got < full*9/10 {
			t.Errorf("seed %d: %d RDYs in the second after the first message, %d before the silence", seed, got, full)
		}
	}
}

// TestSilenceOfManyConsumers: consumers that started at the same time neither move their
// slots at the same time nor ask the same nsqds.
func TestSilenceOfManyConsumers(t *testing.T) {
	t.Parallel()
	const consumers, nsqds = 100, 10
	pace := round(nsqds) / nsqds
	at := make([]int, 25)         // decisions, by the part of the pace in which they came
	holders := make([]int, nsqds) // slots, by the nsqd that has them
	for seed := range uint64(consumers) {
		w := newWorld(t, Config{MaxInFlight: 1, Seed: seed})
		for range nsqds {
			w.add(true)
		}
		w.run(2 * time.Minute)
		for i, n := range w.nodes {
			holders[i] += n.sent
		}
		w.decided = func(_ *node, rdy int) {
			if rdy > 0 {
				at[w.now.Sub(epochStart)%pace*time.Duration(len(at))/pace]++
			}
		}
		w.run(pace)
	}
	t.Logf("%d consumers of %d nsqds: moves in each %v: %v; slots at each nsqd: %v", consumers, nsqds, pace/time.Duration(len(at)), at, holders)
	if slices.Max(at) > consumers/7 || slices.Max(holders) > 3*consumers/nsqds {
		t.Error("too many at once")
	}
}
