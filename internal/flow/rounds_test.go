package flow

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// saturated makes a world in which the CPU is the bound: each read takes wakes, and
// handlers return at once. So many of the nsqds have more messages than will be handled.
func saturated(t *testing.T, nsqds, floods, slots int, wakes time.Duration) *world {
	w := newWorld(t, Config{MaxInFlight: slots, Seed: 1})
	w.wakes, w.delay = wakes, 20*time.Microsecond
	w.handle = func(*node) (time.Duration, Result) { return 0, Success }
	for range nsqds {
		w.add(true)
	}
	w.flood(w.nodes[:floods]...)
	return w
}

// settled lets time pass until rounds have brought enough for a while.
func (w *world) settled() {
	w.Helper()
	w.until(10*time.Second, "rounds", func() bool { return w.m.mode == inRounds && w.m.rounds.proven })
	w.run(roundLimit)
}

// TestRoundsAreFair: of many busy nsqds each has an equal part of the messages within
// about a second, and more messages come than by single slots.
func TestRoundsAreFair(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		nsqds, slots int
		gain         float64 // at least
	}{{100, 100, 4}, {20, 20, 3}, {10, 10, 2}, {60, 20, 2}} {
		name := fmt.Sprintf("%d nsqds, max_in_flight %d", tt.nsqds, tt.slots)
		single := saturated(t, tt.nsqds, tt.nsqds, tt.slots, 40*time.Microsecond)
		single.m.rounds.tryAt = single.now.Add(time.Hour)
		single.run(time.Second)
		before := single.finished
		single.run(time.Second)
		rate := float64(single.finished - before)

		w := saturated(t, tt.nsqds, tt.nsqds, tt.slots, 40*time.Microsecond)
		w.settled()
		last, longest := make(map[*node]time.Time), time.Duration(0)
		counts, begin, writes := make(map[*node]int), w.now, w.writes
		w.arrived = func(n *node) {
			if at, ok := last[n]; ok {
				longest = max(longest, w.now.Sub(at))
			}
			last[n] = w.now
			counts[n]++
		}
		before = w.finished
		w.run(3 * time.Second)
		var got []int
		for _, n := range w.nodes {
			got = append(got, counts[n])
			longest = max(longest, w.now.Sub(last[n]))
		}
		gain := float64(w.finished-before) / w.now.Sub(begin).Seconds() / rate
		least, most := slices.Min(got), slices.Max(got)
		t.Logf("%s: %.2f times the messages, shares of %d, an nsqd waits %v at most, messages in 3 s: %d to %d, %d RDYs a second",
			name, gain, w.m.rounds.share, longest.Round(time.Millisecond), least, most, (w.writes-writes)/3)
		if gain < tt.gain || longest > roundLimit+leastVisit || 3*least < 2*most || w.m.mode != inRounds {
			t.Errorf("%s: %.2f times the messages, mode %d, an nsqd waited %v, messages of each: %v", name, gain, w.m.mode, longest, got)
		}
	}
}

// TestQuietOnesInRounds: while most nsqds are busy and take part in rounds, a message of a
// quiet one waits little more than a second.
func TestQuietOnesInRounds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ busy, slots int }{{90, 100}, {60, 100}} {
		w := saturated(t, 100, tt.busy, tt.slots, 40*time.Microsecond)
		w.settled()
		quiet := w.nodes[tt.busy:]
		published, longest, came := make(map[*node]time.Time), time.Duration(0), 0
		w.arrived = func(n *node) {
			if at, ok := published[n]; ok {
				longest = max(longest, w.now.Sub(at))
				delete(published, n)
				came++
			}
		}
		rounds := 0
		for range 150 {
			w.run(time.Duration(w.rand.IntN(int(40 * time.Millisecond))))
			n := quiet[w.rand.IntN(len(quiet))]
			if _, ok := published[n]; !ok {
				published[n] = w.now
				w.publish(n, 1)
			}
			if w.m.mode == inRounds {
				rounds++
			}
		}
		t.Logf("%d of 100 nsqds busy, max_in_flight %d: a message of another one waits %v at most, %d came; in rounds %d of 150 times", tt.busy, tt.slots, longest, came, rounds)
		if longest > roundLimit+2*leastVisit || came < 15 || rounds < 100 {
			t.Error("want a second")
		}
	}
}

// TestRoundsThatBringNothing: where handlers keep the slots busy, rounds end soon and are
// tried seldom. So they cost next to nothing.
func TestRoundsThatBringNothing(t *testing.T) {
	t.Parallel()
	rates := make(map[bool]int)
	for _, tries := range []bool{false, true} {
		w := saturated(t, 20, 20, 20, 0)
		w.handle = func(*node) (time.Duration, Result) { return 800 * time.Microsecond, Success }
		if !tries {
			w.m.rounds.tryAt = w.now.Add(time.Hour)
		}
		times := 0
		w.check = func() {
			if was := times%2 == 1; was != (w.m.mode == inRounds) {
				times++
			}
		}
		w.run(12 * time.Second)
		rates[tries] = w.finished
		t.Logf("with rounds %v: %d messages in 12 s, tried %d times", tries, w.finished, (times+1)/2)
		if tries && (times < 2 || times > 10) {
			t.Errorf("%d changes to rounds and back", times)
		}
	}
	if float64(rates[true]) < 0.96*float64(rates[false]) {
		t.Errorf("%d messages, %d without rounds", rates[true], rates[false])
	}
}

// TestRoundsWithoutBacklog: while a slot each is enough for all messages, trials of rounds
// are short and become rare, and no message waits for long.
func TestRoundsWithoutBacklog(t *testing.T) {
	t.Parallel()
	w := saturated(t, 50, 0, 50, 40*time.Microsecond)
	w.handle = func(*node) (time.Duration, Result) { return 50 * time.Microsecond, Success }
	published, longest := make(map[*node][]time.Time), time.Duration(0)
	w.arrived = func(n *node) {
		longest = max(longest, w.now.Sub(published[n][0]))
		published[n] = published[n][1:]
	}
	rounds, total := 0, 0
	for w.clock() < 12*time.Second {
		w.run(time.Millisecond)
		total++
		if w.m.mode == inRounds {
			rounds++
		}
		for range 14 { // the CPU manages 22
			n := w.nodes[w.rand.IntN(len(w.nodes))]
			published[n] = append(published[n], w.now)
			w.publish(n, 1)
		}
	}
	t.Logf("in rounds %d of %d ms, a message waited %v at most", rounds, total, longest)
	if rounds == 0 || rounds > 1600 || longest > 500*time.Millisecond {
		t.Errorf("in rounds %d of %d ms, a message waited %v", rounds, total, longest)
	}
}

// TestRoundsAreJudged: a number of slots that changes all the time keeps rounds neither
// from going on nor from ending.
func TestRoundsAreJudged(t *testing.T) {
	t.Parallel()
	w := saturated(t, 50, 50, 50, 60*time.Microsecond)
	w.settled()
	w.check = w.checkInvariants
	change := func(d time.Duration) {
		for i := range int(d / (20 * time.Millisecond)) {
			w.setMax(50 - i%2)
			w.run(20 * time.Millisecond)
		}
	}
	change(time.Second)
	if w.m.mode != inRounds {
		t.Error("rounds do not go on")
	}
	w.handle = func(*node) (time.Duration, Result) { return 100 * time.Millisecond, Success }
	change(time.Second)
	if w.m.mode == inRounds {
		t.Error("rounds do not end")
	}
}

// TestRoundsWithFewerSlots: when max_in_flight falls again and again, no connection loses
// its turn, whatever its place among the others.
func TestRoundsWithFewerSlots(t *testing.T) {
	t.Parallel()
	w := saturated(t, 24, 24, 24, 60*time.Microsecond)
	w.settled()
	w.m.rounds.base = 0 // so that rounds go on
	w.check = w.checkInvariants
	last, longest := make(map[*node]time.Time), make(map[*node]time.Duration)
	w.arrived = func(n *node) {
		longest[n] = max(longest[n], w.now.Sub(last[n]))
		last[n] = w.now
	}
	for _, n := range w.nodes {
		last[n] = w.now
	}
	for i := range 200 {
		w.setMax([]int{24, 6}[i%2])
		w.run(time.Duration(w.rand.IntN(int(50 * time.Millisecond))))
	}
	worst := time.Duration(0)
	for _, n := range w.nodes {
		worst = max(worst, longest[n], w.now.Sub(last[n]))
	}
	t.Logf("an nsqd waits %v at most", worst)
	if worst > roundLimit+2*leastVisit || w.m.mode != inRounds {
		t.Errorf("mode %d, nsqds wait %v", w.m.mode, longest)
	}
}

// TestPartsOfSharesJoin: after max_in_flight has changed, shares become whole again.
// Otherwise a part of one would go round, and always to the same connections.
func TestPartsOfSharesJoin(t *testing.T) {
	t.Parallel()
	w := saturated(t, 24, 24, 24, 60*time.Microsecond)
	w.settled()
	w.m.rounds.base = 0 // so that rounds go on
	for i := range 60 {
		w.setMax([]int{24, 17, 9, 21, 13}[i%5])
		w.run(time.Duration(w.rand.IntN(int(50 * time.Millisecond))))
	}
	w.setMax(24)
	w.run(roundLimit)
	counts := make(map[*node]int)
	w.arrived = func(n *node) { counts[n]++ }
	w.run(5 * time.Second)
	least, most := w.finished, 0
	for _, n := range w.nodes {
		least, most = min(least, counts[n]), max(most, counts[n])
	}
	t.Logf("messages in 5 s: %d to %d", least, most)
	if w.m.mode != inRounds || 3*least < 2*most {
		t.Errorf("mode %d, messages of each: %v", w.m.mode, counts)
	}
}

// TestNoRounds: slow handlers, few messages and few busy nsqds never lead to rounds, and
// rounds end with what led to them.
func TestNoRounds(t *testing.T) {
	t.Parallel()
	never := func(name string, w *world) {
		t.Helper()
		w.check = func() {
			if w.m.mode == inRounds {
				w.Fatalf("%s: rounds", name)
			}
		}
		w.run(2 * time.Second)
	}
	w := saturated(t, 50, 50, 50, 0)
	w.handle = func(*node) (time.Duration, Result) { return 10 * time.Millisecond, Success }
	never("slow handlers", w)
	never("few busy", saturated(t, 50, 10, 50, 60*time.Microsecond))
	w = saturated(t, 50, 50, 50, 60*time.Microsecond)
	w.m.cfg.Uniform = true
	never("uniform", w)
	never("large RDYs", saturated(t, 5, 5, 60, 60*time.Microsecond))

	for name, end := range map[string]func(w *world){
		"overload":        func(w *world) { w.m.Overload(w.now, time.Minute); w.take() },
		"a pause":         func(w *world) { w.setMax(0) },
		"more slots":      func(w *world) { w.setMax(1000) },
		"an allowance":    func(w *world) { w.tick(); w.m.SetAllowing(w.now, true); w.take() },
		"no messages":     func(w *world) { w.dry(); w.run(lookInterval * (lateMisses + 1)) },
		"a failure":       func(w *world) { w.m.Result(w.now, w.nodes[0].id, Failure, w.m.Epoch()); w.take() },
		"few connections": func(w *world) { w.loseAllBut(4) },
	} {
		w := saturated(t, 50, 50, 50, 60*time.Microsecond)
		w.m.cfg.Backoff, w.m.cfg.MaxBackoff = exponential(time.Second), time.Minute
		w.settled()
		end(w)
		w.checkInvariants()
		w.run(20 * time.Millisecond)
		w.checkInvariants()
		if w.m.mode == inRounds {
			t.Errorf("%s: rounds go on", name)
		}
	}
}

// dry takes the messages away that nsqds have queued.
func (w *world) dry() {
	for _, n := range w.nodes {
		n.depth = 0
	}
}

func (w *world) loseAllBut(n int) {
	for _, n := range w.nodes[n:] {
		w.disconnect(n)
	}
}

// TestRoundsEndWithSlowHandlers: when handlers become slow, rounds end, and each slot is
// in use again.
func TestRoundsEndWithSlowHandlers(t *testing.T) {
	t.Parallel()
	w := saturated(t, 50, 50, 50, 40*time.Microsecond)
	w.settled()
	w.handle = func(*node) (time.Duration, Result) { return 100 * time.Millisecond, Success }
	w.run(2 * time.Second)
	if got := w.rate(50, 100*time.Millisecond, 2*time.Second); got < 0.9 || w.m.mode == inRounds {
		t.Errorf("%.0f %% of what the slots could do, mode %d", 100*got, w.m.mode)
	}
}

// TestRoundsAreMeasuredAgain: what rounds are compared with is measured now and then.
func TestRoundsAreMeasuredAgain(t *testing.T) {
	t.Parallel()
	w := saturated(t, 10, 10, 10, 60*time.Microsecond)
	w.settled()
	base := w.m.rounds.base
	w.m.rounds.base = base / 4 // as if there had been few messages then
	w.until(renewAfter+time.Second, "no rounds", func() bool { return w.m.mode != inRounds })
	took := w.until(time.Second, "rounds", func() bool { return w.m.mode == inRounds })
	if got := w.m.rounds.base; got < 0.9*base || took > 500*time.Millisecond {
		t.Errorf("%.0f messages a second, measured again in %v: %.0f", base, took, got)
	}
}

// TestRoundsWalk plays random events while rounds begin, go on and end, and checks all
// invariants after each. At the end all messages are consumed.
func TestRoundsWalk(t *testing.T) {
	t.Parallel()
	times := 0
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 9))
		nsqds := 6 + r.IntN(12)
		w := newWorld(t, Config{
			MaxInFlight: 4 + r.IntN(2*nsqds), Seed: seed, Adaptive: r.IntN(2) == 0,
			Backoff: exponential(20 * time.Millisecond), MaxBackoff: 100 * time.Millisecond,
		})
		w.wakes, w.workers = 60*time.Microsecond, 4*r.IntN(2)
		w.delay = time.Duration(50+r.IntN(200)) * time.Microsecond
		fail := 0
		w.handle = func(*node) (time.Duration, Result) {
			if fail > 0 {
				fail--
				return time.Millisecond, Failure
			}
			return 0, Success
		}
		for range nsqds {
			w.publish(w.add(true), 1_000_000)
		}
		was := false
		w.check = func() {
			w.checkInvariants()
			if is := w.m.mode == inRounds; is != was {
				was = is
				times++
			}
		}
		for range 12 {
			w.run(time.Duration(r.IntN(int(500 * time.Millisecond))))
			w.disturb(r, &fail)
		}
		w.dry()
		w.until(10*time.Minute, "everything is consumed", func() bool {
			for _, n := range w.nodes {
				if n.up && !n.draining && n.depth+n.coming+n.held > 0 {
					return false
				}
			}
			return true
		})
	}
	t.Logf("%d changes to rounds and back", times)
	if times < 20 {
		t.Error("too few")
	}
}

// disturb plays an event that may end rounds, or must not.
func (w *world) disturb(r *rand.Rand, fail *int) {
	n := w.nodes[r.IntN(len(w.nodes))]
	switch r.IntN(7) {
	case 0, 1:
		if n.up {
			w.disconnect(n)
		} else {
			w.connect(n, 1+r.IntN(40))
		}
	case 2:
		if n.up && !n.draining {
			w.drain(n)
		}
	case 3:
		w.setMax(2 + r.IntN(40))
	case 4:
		*fail = 1
	case 5:
		w.m.Overload(w.now, 50*time.Millisecond)
		w.take()
	default:
		n.depth = 0
	}
}
