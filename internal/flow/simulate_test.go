package flow

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The TestSimulate tests measure in virtual time what docs/GUARANTEES.md claims.
// go test -run Simulate -v ./internal/flow prints the figures.

// TestSimulateManyNSQDs is one consumer of 10,000 nsqds that come and go. A tick in
// which none does allocates nothing.
func TestSimulateManyNSQDs(t *testing.T) {
	for _, slots := range []int{1_000, 20_000} {
		c := newCrowd(10_000, Config{MaxInFlight: slots, Idle: 500 * time.Millisecond})
		var worst time.Duration
		const ticks = 100
		begin := time.Now()
		for range ticks {
			from := time.Now()
			c.churn(10)
			c.tick()
			worst = max(worst, time.Since(from))
		}
		t.Logf("10,000 nsqds, max_in_flight %6d: 10 lost and 10 new in each tick: %v a tick, at most %v",
			slots, (time.Since(begin) / ticks).Round(time.Microsecond), worst.Round(time.Microsecond))
		if allocs := testing.AllocsPerRun(100, c.tick); allocs > 0 {
			t.Errorf("max_in_flight %d: %v allocations in a tick", slots, allocs)
		}
	}
}

// crowd is a machine with many connections, of which one in a hundred is busy. Its
// time passes from tick to tick.
type crowd struct {
	m      *Machine
	now    time.Time
	first  ID
	last   ID
	counts []Sample // by ID modulo its length
	dst    []Decision
	rand   *rand.Rand
}

func newCrowd(n int, cfg Config) *crowd {
	c := &crowd{m: New(cfg), now: epochStart, first: 1, counts: make([]Sample, n), rand: rand.New(rand.NewPCG(1, 1))}
	for range n {
		c.up()
	}
	for range 100 {
		c.tick()
	}
	return c
}

func (c *crowd) up() {
	c.last++
	c.counts[int(c.last)%len(c.counts)] = Sample{} // #nosec G115 -- small
	c.m.Up(c.now, c.last, 2500)
}

func (c *crowd) churn(n int) {
	for range n {
		c.m.Down(c.first)
		c.first++
		c.up()
	}
}

func (c *crowd) tick() {
	if due, ok := c.m.Next(); ok && due.After(c.now) {
		c.now = due
	} else {
		c.now = c.now.Add(lookInterval)
	}
	for id := c.first; id <= c.last; id++ {
		s := &c.counts[int(id)%len(c.counts)] // #nosec G115 -- small
		if id%100 == 0 && c.m.byID[id].rdy > 0 {
			s.Received += uint64(c.rand.IntN(20)) // #nosec G115 -- positive
			s.LastMessage = c.now
			s.Peak = 1
		}
		c.m.Sample(c.now, id, *s)
	}
	c.m.Tick(c.now)
	c.dst = c.m.Take(c.now, c.dst[:0])
}

// TestSimulateBusyNSQD is D21: one nsqd of eight has messages. Within a second it has
// 90 % of the slots, and from then on nothing is sent. Hardly anything is sent if all
// eight have single messages now and then.
func TestSimulateBusyNSQD(t *testing.T) {
	w := newWorld(t, Config{MaxInFlight: 80})
	for range 8 {
		w.add(true)
	}
	w.run(time.Second)
	busy := w.nodes[3]
	w.publish(busy, 1_000_000)
	took := w.until(time.Second, "90 % of the slots", func() bool { return busy.sent >= 72 })
	t.Logf("1 nsqd of 8 busy, max_in_flight 80: it has %d after %v", busy.sent, took)
	w.run(time.Second)
	writes := w.writes
	w.run(time.Minute)
	if w.writes != writes {
		t.Errorf("%d RDYs in a steady state", w.writes-writes)
	}

	k := newMarket(t, 8, 1, Config{MaxInFlight: 80})
	k.takes = 5 * time.Millisecond
	for n := range 8 {
		k.load(n, 1)
	}
	k.run(5 * time.Second)
	writes = k.writes
	k.run(100 * time.Second)
	t.Logf("8 nsqds with 1 message a second each: %d RDYs in 100 s", k.writes-writes)
	if k.writes-writes > 40 {
		t.Errorf("%d RDYs in 100 s for messages that come one by one", k.writes-writes)
	}
}

// TestSimulateZipf is many consumers of many nsqds, some with much more traffic than
// others. It measures how much slot time was wasted: idle while messages waited.
func TestSimulateZipf(t *testing.T) {
	t.Parallel()
	for _, load := range []float64{0.5, 0.9} {
		var idle [2]float64
		for i, uniform := range []bool{false, true} {
			k := newMarket(t, 50, 20, Config{MaxInFlight: 100, Uniform: uniform, Seed: 3})
			sum := 0.0
			for n := range k.depth {
				sum += 1 / float64(n+1)
			}
			rate := load * 20 * 100 / k.takes.Seconds()
			for n := range k.depth {
				k.load(n, rate/float64(n+1)/sum)
			}
			k.run(2500 * time.Millisecond)
			k.could, k.did, k.writes = 0, 0, 0
			k.run(time.Second)
			idle[i] = 1 - float64(k.did)/float64(k.could)
			t.Logf("50 nsqds with Zipf load, 20 consumers, at %3.0f %%, uniform %-5v: %5.2f %% of the slots that could work did not; %.1f RDYs a second and consumer",
				100*load, uniform, 100*idle[i], float64(k.writes)/20)
		}
		if idle[0] > 0.75*idle[1] || load < 0.6 && idle[0] > 0.01 {
			t.Errorf("load %v: idle %.3f adaptive, %.3f uniform", load, idle[0], idle[1])
		}
	}
}

// TestSimulateFirstDelivery is D22: how soon a message for an idle nsqd is delivered
// when there are fewer slots than nsqds.
func TestSimulateFirstDelivery(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		nsqds, slots int
		most         time.Duration
	}{
		{20, 1, time.Second},
		{100, 1, 5 * time.Second},
		{100, 10, 600 * time.Millisecond},
	} {
		w := newWorld(t, Config{MaxInFlight: tt.slots, Seed: 3})
		for range tt.nsqds {
			w.add(true)
		}
		w.run(time.Second)
		var times []time.Duration
		for range 150 {
			w.run(time.Duration(w.rand.IntN(int(time.Second))))
			n := w.nodes[w.rand.IntN(len(w.nodes))]
			w.publish(n, 1)
			times = append(times, w.until(time.Minute, "delivery", func() bool { return n.held > 0 }))
			w.run(20 * time.Millisecond)
		}
		slices.Sort(times)
		t.Logf("%3d nsqds, max_in_flight %2d: first delivery after %v (median), %v (99 %%), %v (longest)", tt.nsqds, tt.slots,
			times[len(times)/2].Round(time.Millisecond), times[len(times)*99/100].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
		if times[len(times)-1] > tt.most {
			t.Errorf("not within %v", tt.most)
		}
	}
}

// TestEveryNSQDIsVisited: no nsqd waits for a slot for ever, however busy others are
// and however slow the handlers.
func TestEveryNSQDIsVisited(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		nsqds, slots, busy int
		handler, most      time.Duration
	}{
		{10, 1, 0, time.Millisecond, 3750 * time.Millisecond}, // slow turns: see silence.go
		{10, 1, 1, time.Millisecond, 3 * time.Second},
		{10, 1, 5, time.Millisecond, 3 * time.Second},
		{10, 3, 5, time.Millisecond, time.Second},
		{10, 3, 10, time.Millisecond, 3 * time.Second},
		{10, 1, 1, time.Second, 4 * time.Second},
		{10, 3, 5, time.Second, 8 * time.Second},
		{50, 10, 5, 10 * time.Second, 40 * time.Second},
		{10, 10, 1, 10 * time.Millisecond, time.Second},
		{10, 15, 2, time.Second, 2 * time.Second},
		{10, 1, 5, time.Second, 15 * time.Second},
		{10, 1, 1, 5 * time.Second, 6 * time.Second},
		{10, 1, 1, 20 * time.Second, 21 * time.Second},
		{10, 2, 1, 20 * time.Second, 21 * time.Second},
		{10, 3, 10, 20 * time.Second, 81 * time.Second},
		{10, 15, 3, 20 * time.Second, 21 * time.Second},
	} {
		name := fmt.Sprintf("%d of %d nsqds busy, max_in_flight %d, handlers take %v", tt.busy, tt.nsqds, tt.slots, tt.handler)
		for seed := range uint64(2) {
			w := newWorld(t, Config{MaxInFlight: tt.slots, Seed: seed})
			w.handle = func(*node) (time.Duration, Result) { return tt.handler, Success }
			for range tt.nsqds {
				w.add(true)
			}
			for _, n := range w.nodes[tt.nsqds-tt.busy:] {
				w.publish(n, 1_000_000)
			}
			w.run(time.Second)
			seen := make(map[*node]time.Time)
			var longest time.Duration
			for end := w.now.Add(max(5*tt.most, 10*time.Second)); w.now.Before(end); {
				w.run(20 * time.Millisecond)
				for _, n := range w.nodes {
					if at, ok := seen[n]; n.sent > 0 || !ok {
						seen[n] = w.now
					} else {
						longest = max(longest, w.now.Sub(at))
					}
				}
			}
			if seed == 0 {
				t.Logf("%s: an nsqd waited %v", name, longest)
			}
			if longest > tt.most {
				t.Errorf("%s: an nsqd waited %v, want at most %v", name, longest, tt.most)
			}
		}
	}
}

// TestSimulateResume is D18: after one failure messages flow again within a second of
// the pause's end, whichever nsqds have messages and however many slots there are.
func TestSimulateResume(t *testing.T) {
	const pause = 2 * time.Second
	var worst time.Duration
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t, Config{
			MaxInFlight: []int{1, 3, 8, 80}[r.IntN(4)], Seed: seed, Uniform: r.IntN(4) == 0,
			Backoff: exponential(pause / 2), MaxBackoff: time.Minute,
		})
		failed := time.Time{}
		w.handle = func(*node) (time.Duration, Result) {
			if failed.IsZero() && w.clock() > time.Second {
				failed = w.now.Add(10 * time.Millisecond)
				return 10 * time.Millisecond, Failure
			}
			return 10 * time.Millisecond, Success
		}
		for range 8 {
			w.add(true)
		}
		w.run(time.Second)
		for range 1 + r.IntN(8)*r.IntN(2) {
			w.publish(w.nodes[r.IntN(8)], 10_000)
		}
		w.until(time.Minute, "failure", func() bool { return w.m.backoff.level > 0 })
		w.run(pause / 2)
		if r.IntN(3) == 0 { // another nsqd has messages now
			for _, n := range w.nodes {
				n.depth = 0
			}
			w.publish(w.nodes[r.IntN(8)], 10_000)
		}
		before := w.finished
		w.until(time.Minute, "success", func() bool { return w.finished > before && w.m.backoff.level == 0 })
		worst = max(worst, w.now.Sub(failed)-pause)
	}
	t.Logf("one failure, 8 nsqds of which any are busy, 1,000 seeds: messages flow at most %v after the pause", worst.Round(time.Millisecond))
	if worst > time.Second {
		t.Error("want at most a second")
	}
}

// TestSimulateErrors is D28: with backoff_policy adaptive a few failures cost little.
// A dependency that is down still leads to one message per pause.
func TestSimulateErrors(t *testing.T) {
	t.Parallel()
	base := 0.0
	for _, percent := range []float64{0, 1, 5, 11, 50, 100} {
		w := newWorld(t, Config{MaxInFlight: 100, Adaptive: true, Seed: 5, Backoff: exponential(time.Second), MaxBackoff: time.Minute})
		w.handle = func(*node) (time.Duration, Result) {
			takes := 5*time.Millisecond + time.Duration(w.rand.IntN(int(10*time.Millisecond)))
			if w.rand.Float64()*100 < percent {
				return takes, Failure
			}
			return takes, Success
		}
		handled := 0
		w.arrived = func(*node) { handled++ }
		for range 4 {
			w.publish(w.add(true), 1_000_000_000)
		}
		w.run(8 * time.Second)
		if percent == 0 {
			base = float64(handled)
		}
		level, _ := w.m.BackoffLevel()
		t.Logf("adaptive backoff, %3.0f %% failures: %5.1f %% of the throughput, backoff level %d", percent, 100*float64(handled)/base, level)
		switch {
		case percent == 1 && float64(handled) < 0.9*base:
			t.Error("1 % of failures cost more than 10 % of the throughput")
		case percent == 100:
			handled = 0
			w.run(10 * time.Minute)
			if handled < 8 || handled > 12 { // pauses of a minute
				t.Errorf("%d messages handled in 10 minutes", handled)
			}
		}
	}
}
