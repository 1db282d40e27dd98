package flow

import (
	"math/rand/v2"
	"testing"
	"time"
)

// What messages are expected to weigh follows heavier ones at once, and lighter ones when
// many have come.
func TestLearnWeight(t *testing.T) {
	var w weight
	for i, tt := range []struct{ n, bytes, mean, expects uint64 }{
		{0, 0, 0, 1000}, // 1000 is expected without knowing
		{6, 6 * 100, 100, 460},
		{1, 1100, 600, 745}, // the first heavier one counts as much as all before
		{9, 9 * 1600, 1500, 1400},
		{16, 0, 750, 777},
		{1600, 1600 * 10, 17, 19},
		{1 << 40, 0, 0, 1},
	} {
		w.learn(tt.n, tt.bytes)
		if mean, expects := uint64(w.mean), uint64(w.expects(1000)); mean != tt.mean || expects != tt.expects {
			t.Errorf("%d: after %d messages of %d bytes in all: %d, and %d is expected", i, tt.n, tt.bytes, mean, expects)
		}
	}
}

// N8: bodies of 16 B to 4 MiB, mixed, from four nsqds to slow handlers. What is in flight
// stays about the budget, never twice it, and the handlers are never out of work.
func TestMixedBodies(t *testing.T) {
	const budget = 64 << 20
	for seed := range uint64(20) {
		w := newWorld(t, Config{MaxInFlight: 2500, MaxBytes: budget, Seed: seed})
		w.workers = 4
		w.handle = func(*node) (time.Duration, Result) { return 5 * time.Millisecond, Success }
		w.size = func(*node) int { return 16 << w.rand.IntN(19) }
		for range 4 {
			w.publish(w.add(true), 1_000_000)
		}
		w.run(2 * time.Second)
		before := w.finished
		var most, sum int64
		const looks = 1000
		for range looks {
			w.run(10 * time.Millisecond)
			held := w.heldBytes()
			most, sum = max(most, held), sum+held
		}
		if seed == 0 {
			t.Logf("%d MiB in flight on average, %d at most; %d messages handled in 10 s", sum/looks>>20, most>>20, w.finished-before)
		}
		if sum/looks > budget*51/50 || most > 2*budget {
			t.Errorf("seed %d: %d MiB in flight on average, %d at most", seed, sum/looks>>20, most>>20)
		}
		if w.finished-before < 7900 {
			t.Errorf("seed %d: %d messages handled, want 8,000", seed, w.finished-before)
		}
	}
}

// N8: with small bodies the machine is not woken for their weight: it learns once that
// they are small.
func TestSmallBodiesAreNotWeighed(t *testing.T) {
	w := newWorld(t, Config{MaxInFlight: 2500, MaxBytes: 64 << 20})
	w.size = func(*node) int { return 200 }
	w.publish(w.add(true), 1_000_000)
	w.run(time.Second)
	ticks := w.ticks
	w.run(time.Minute)
	if w.ticks != ticks || w.m.WeighAt() != 16<<20 {
		t.Errorf("%d ticks in a minute, weighs at %d", w.ticks-ticks, w.m.WeighAt())
	}
}

// Without a budget, with one that allows single messages only, and without connections
// nothing is weighed.
func TestNothingToWeigh(t *testing.T) {
	for _, cfg := range []Config{{MaxInFlight: 10}, {MaxInFlight: 1, MaxBytes: 1}, {MaxInFlight: 10, MaxBytes: 1}} {
		m := New(cfg)
		if cfg.MaxInFlight == 1 || cfg.MaxBytes == 0 {
			m.Up(epochStart, 1, 2500)
			m.Take(epochStart, nil)
		}
		m.Weigh(epochStart)
		if _, due := m.Next(); due || m.WeighAt() != 0 {
			t.Errorf("%+v: weighs at %d, due %v", cfg, m.WeighAt(), due)
		}
	}
}

// N8: when no more messages come because of the byte budget, and only then, Spent says so.
// Until a message is acked, none comes.
func TestSpent(t *testing.T) {
	spent, others := 0, 0
	for seed := range uint64(400) {
		chance := rand.New(rand.NewPCG(seed, 1))
		cfg := Config{MaxInFlight: 1 + chance.IntN(200), MaxBytes: 1 << (10 + chance.IntN(18)), Seed: seed}
		w := newWorld(t, cfg)
		largest := 1 + chance.IntN(15)
		w.size = func(*node) int { return 16 << w.rand.IntN(largest) }
		w.handle = func(*node) (time.Duration, Result) { return 0, never }
		w.lease = time.Hour
		asked := cfg.MaxInFlight
		fetch := chance.IntN(2) == 0
		if fetch {
			w.m.SetAllowing(w.now, true)
			w.workers, w.running = 1, 1
		}
		idle := 0 // nsqds without messages, each of which keeps a slot
		w.publish(w.add(true), 10_000)
		for range chance.IntN(5) {
			n := w.add(true)
			if chance.IntN(2) == 0 {
				w.publish(n, 10_000)
			} else {
				idle++
			}
		}
		if fetch {
			asked = 1 + chance.IntN(200)
			w.allow(asked)
		}
		for range 100 {
			before := w.delivered
			if w.run(100 * time.Millisecond); w.delivered == before && w.stall() {
				break
			}
		}
		if w.spent {
			spent++
			before := w.delivered
			if w.run(5 * time.Second); w.delivered > before {
				t.Errorf("seed %d: %d came after the budget was spent", seed, w.delivered-before)
			}
		} else if others++; w.delivered < asked-idle {
			t.Errorf("seed %d: not spent, although only %d of %d have come", seed, w.delivered, asked)
		}
	}
	t.Logf("%d spent, %d not", spent, others)
	if spent < 100 || others < 100 {
		t.Errorf("%d spent, %d not: want more of each", spent, others)
	}
}
