package flow

import (
	"slices"
	"testing"
	"time"
)

// TestAnyOrder plays walks with calls in orders that the run loop never produces:
// early and repeated ticks, a second Take, calls for connections that are down or
// draining, a connection that is up and down again before a Take. Each such call
// either changes nothing or keeps all invariants.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(60) {
		w := newWalk(t, seed)
		w.mood()
		w.something()
		end := w.now.Add(1000 * time.Hour)
		for range 400 {
			w.step(end)
			w.outOfOrder()
		}
		w.finish()
	}
}

// outOfOrder makes one call that no event led to.
func (w *walk) outOfOrder() {
	n := w.nodes[w.rand.IntN(len(w.nodes))]
	const unknown = ID(1 << 40)
	switch w.rand.IntN(8) {
	case 0: // not due
		w.m.Tick(w.now)
		w.m.Tick(w.now)
	case 1: // samples without a tick
		if n.up {
			s := w.sample(n)
			w.m.Sample(w.now, n.id, s)
			w.m.Sample(w.now, n.id, s)
		}
	case 2:
		before := []Decision{{unknown, 1}}
		if again := w.m.Take(w.now, before); !slices.Equal(again, before) {
			w.Fatalf("seed %d, %v: Take again returns %v", w.seed, w.clock(), again)
		}
	case 3: // up and down before anything is taken
		w.m.Up(w.now, unknown, 1+w.rand.IntN(100))
		if w.rand.IntN(2) == 0 {
			w.m.Drain(w.now, unknown)
		}
		w.m.Down(unknown)
	case 4: // again
		w.m.Down(unknown)
		w.m.Drain(w.now, unknown)
		w.m.Sample(w.now, unknown, Sample{Received: 5, InFlight: 5, LastMessage: w.now})
		w.m.Result(w.now, unknown, Success, w.m.Epoch())
		if n.draining {
			w.m.Drain(w.now, n.id)
		}
	case 5: // while awake
		w.m.Wake(w.now)
		w.m.Wake(w.now)
	case 6: // an epoch that has not begun
		before := w.m.backoff
		w.m.Result(w.now, n.id, Failure, w.m.Epoch()+1)
		if w.m.backoff != before {
			w.Fatalf("seed %d, %v: backoff %+v, want %+v", w.seed, w.clock(), w.m.backoff, before)
		}
	default:
		w.m.SetMaxInFlight(w.now, w.max)
	}
	w.take()
}
