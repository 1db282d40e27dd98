package fleet

import (
	"testing"
	"time"
)

// The documented delays, written as literals.
func TestRedialDelays(t *testing.T) {
	const draws = 1000
	want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, time.Second, time.Second, time.Second}
	least, most := make([]time.Duration, len(want)), make([]time.Duration, len(want))
	for seed := range uint64(draws) {
		r := NewRedial(seed)
		now := start
		if !r.Allowed(now) {
			t.Fatal("no first dial")
		}
		for i := range want {
			r.Failed(now)
			if r.Allowed(now) || r.Allowed(r.due.Add(-1)) || !r.Allowed(r.due) {
				t.Fatalf("seed %d, failure %d: not allowed exactly from %v on", seed, i, r.due)
			}
			d := r.due.Sub(now)
			if least[i] == 0 || d < least[i] {
				least[i] = d
			}
			most[i] = max(most[i], d)
			now = r.due
		}
	}
	for i, w := range want {
		if least[i] < w*3/4 || most[i] >= w*5/4 {
			t.Errorf("failure %d: delays %v to %v, want within a quarter of %v", i, least[i], most[i], w)
		}
		if least[i] > w*4/5 || most[i] < w*6/5 {
			t.Errorf("failure %d: delays %v to %v, want the whole range around %v used", i, least[i], most[i], w)
		}
	}
}

// After a success, delays start again at the shortest.
func TestRedialAfterSuccess(t *testing.T) {
	r := NewRedial(1)
	for range 5 {
		r.Failed(start)
	}
	now := r.due
	r.Succeeded()
	if !r.Allowed(now) {
		t.Error("no dial after a success")
	}
	r.Failed(now)
	if d := r.due.Sub(now); d < 75*ms || d >= 125*ms {
		t.Errorf("delay %v after a success, want about 100ms", d)
	}
}

// Probes keep their pace however often dials fail.
func TestRedialProbeDelay(t *testing.T) {
	r := NewRedial(1)
	for range 1000 {
		if d := r.ProbeDelay(); d < 75*ms || d >= 125*ms {
			t.Fatalf("probe after %v, want about 100ms", d)
		}
		r.Failed(start)
	}
}

// The same seed gives the same delays, and another seed gives others.
func TestRedialSeed(t *testing.T) {
	a, b, other := NewRedial(1), NewRedial(1), NewRedial(2)
	differ := false
	for range 20 {
		da, db, do := a.ProbeDelay(), b.ProbeDelay(), other.ProbeDelay()
		if da != db {
			t.Errorf("%v and %v with one seed", da, db)
		}
		differ = differ || da != do
	}
	if !differ {
		t.Error("two seeds give the same delays")
	}
}
