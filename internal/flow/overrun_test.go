package flow

import (
	"testing"
	"time"
)

// Half of the slots go when leases end unbegun, at most once per lease, and come
// back while none does.
func TestOverrun(t *testing.T) {
	w := newWorld(t, Config{MaxInFlight: 80})
	a, b := w.add(true), w.add(true)
	sum := func(want int) {
		t.Helper()
		w.run(100 * time.Millisecond)
		if got := a.sent + b.sent; got != want {
			t.Errorf("at %v: RDY %d in all, want %d", w.clock(), got, want)
		}
	}
	overrun := func() {
		w.m.Overrun(w.now, time.Minute)
		w.take()
	}
	sum(80)
	overrun()
	sum(40)
	w.run(30 * time.Second)
	overrun() // of what came by the former slots
	sum(40)
	w.run(30 * time.Second) // a lease without
	sum(45)
	overrun()
	sum(22)
	w.setMax(10)
	sum(10)
	w.run(time.Minute)
	overrun()
	sum(5)
	w.run(10 * time.Minute)
	sum(10)
	if w.m.over.slots != 0 {
		t.Errorf("%d slots, want no limit any more", w.m.over.slots)
	}
	w.setMax(80)
	sum(80)
	for range 20 {
		w.run(time.Minute)
		overrun()
	}
	w.run(settle)
	if got := a.sent + b.sent; got < 1 || got > 2 {
		t.Errorf("RDY %d after many", got)
	}
}
