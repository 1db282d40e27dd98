package flow

import (
	"testing"
	"time"
)

// Half of the slots go when leases end unbegun, at most once per lease, and come
// back while none does.
func TestOverload(t *testing.T) {
	w := newWorld(t, Config{MaxInFlight: 80})
	a, b := w.add(true), w.add(true)
	sum := func(want int) {
		t.Helper()
		w.run(100 * time.Millisecond)
		if got := a.sent + b.sent; got != want {
			t.Errorf("at %v: RDY %d in all, want %d", w.clock(), got, want)
		}
	}
	overload := func() {
		w.m.Overrun(w.now, time.Minute)
		w.take()
	}
	sum(80)
	overload()
	sum(40)
	w.run(30 * time.Second)
	overload() // of what came by the former slots
	sum(40)
	w.run(30 * time.Second) // a lease without
	sum(45)
	overload()
	sum(22)
	w.setMax(10)
	sum(10)
	w.run(time.Minute)
	overload()
	sum(5)
	w.run(10 * time.Minute)
	sum(10)
	if w.m.overload.slots != 0 {
		t.Errorf("%d slots, want no limit any more", w.m.overload.slots)
	}
	w.setMax(80)
	sum(80)
	for range 20 {
		w.run(time.Minute)
		overload()
	}
	w.run(settleTime)
	if got := a.sent + b.sent; got < 1 || got > 2 {
		t.Errorf("RDY %d after many", got)
	}
}
