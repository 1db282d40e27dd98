package flow

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"
)

var walks = flag.Int("walks", 520, "random walks of TestRandomWalk, of 2,000 events each")

// TestRandomWalk plays random events in random order and checks all invariants after
// each. At the end the random events stop and handlers succeed. Then all messages must
// be consumed, and every slot must be given out.
func TestRandomWalk(t *testing.T) {
	t.Parallel()
	events := 0
	for seed := range *walks {
		events += newWalk(t, uint64(seed)).run(2000) // #nosec G115 -- positive
	}
	t.Log(events, "events")
}

// TestSameSeedSameDecisions runs each walk twice and compares the decisions.
func TestSameSeedSameDecisions(t *testing.T) {
	for seed := range uint64(20) {
		var sums [2]uint64
		for i := range sums {
			h := fnv.New64a()
			w := newWalk(t, seed)
			w.decided = func(n *node, rdy int) { _, _ = fmt.Fprintln(h, w.clock(), n.name, rdy) }
			w.run(2000)
			sums[i] = h.Sum64()
		}
		if sums[0] != sums[1] {
			t.Errorf("seed %d: decisions differ", seed)
		}
	}
}

// walk is a world in which random events happen.
type walk struct {
	*world
	seed   uint64
	events int
	ended  bool // no more events

	// What handlers do now: each but success in percent of messages.
	fail, continued, discard, never int
	takes                           time.Duration // how long they take, on average
}

func newWalk(t *testing.T, seed uint64) *walk {
	r := rand.New(rand.NewPCG(seed, 2))
	pick := func(d ...time.Duration) time.Duration { return d[r.IntN(len(d))] }
	const ms = time.Millisecond
	cfg := Config{
		MaxInFlight: r.IntN(1 << r.IntN(6)),
		Uniform:     r.IntN(4) == 0,
		Idle:        pick(100*ms, 500*ms),
		Turn:        pick(0, 0, 50*ms),
		Look:        pick(0, 0, 20*ms),
		Backoff:     exponential(pick(0, 10*ms, 100*ms, time.Second)),
		MaxBackoff:  pick(0, ms, 50*ms, time.Second, 5*time.Second),
		Adaptive:    r.IntN(2) == 0,
		Seed:        seed,
	}
	w := &walk{world: newWorld(t, cfg), seed: seed}
	w.delay = time.Duration(r.IntN(4900)) * time.Microsecond
	w.buffer = pick(0, 25*ms, min(250*ms, cfg.Idle/2))
	w.lease = pick(2*time.Second, 10*time.Second)
	w.workers = r.IntN(4)
	w.handle = w.handler
	if r.IntN(2) == 0 {
		w.m.cfg.MaxBytes = 1 << (16 + r.IntN(12))
		w.size = w.anySize
	}
	w.check = w.checkInvariants
	for range 1 + r.IntN(7) {
		w.add(false)
	}
	return w
}

// run plays the walk and returns how many events there were.
func (w *walk) run(events int) int {
	defer func() {
		if w.Failed() {
			w.Logf("seed %d, %+v", w.seed, w.m.cfg)
		}
	}()
	w.mood()
	w.something()
	end := w.now.Add(1000 * time.Hour)
	for w.events < events && w.step(end) {
		w.events++
	}
	w.finish()
	return w.events
}

// mood changes what handlers do, now and at random times after that.
func (w *walk) mood() {
	if w.ended {
		return
	}
	w.fail, w.continued, w.discard, w.never = 0, 0, 0, 0
	for _, p := range []*int{&w.fail, &w.continued, &w.discard} {
		if w.rand.IntN(3) == 0 {
			*p = w.rand.IntN(1 << w.rand.IntN(7))
		}
	}
	if w.rand.IntN(6) == 0 {
		w.never = w.rand.IntN(5)
	}
	w.takes = time.Millisecond << w.rand.IntN(9)
	w.after(time.Duration(w.rand.IntN(int(2*time.Second))), w.mood)
}

func (w *walk) handler(*node) (time.Duration, Result) {
	takes := time.Duration(w.rand.Int64N(int64(2 * w.takes)))
	for _, o := range []struct {
		percent int
		result  Result
	}{{w.fail, Failure}, {w.continued, Continue}, {w.discard, discard}, {w.never, never}} {
		if w.rand.IntN(100) < o.percent {
			return takes, o.result
		}
	}
	return takes, Success
}

// anySize returns a size from 16 bytes to 4 MiB. Each nsqd has its own mix, and now and
// then another.
func (w *walk) anySize(n *node) int {
	if w.rand.IntN(300) == 0 {
		n.sizes = w.rand.IntN(19)
	}
	return 16 << w.rand.IntN(n.sizes+1)
}

// something plays a random event, now and at random times after that.
func (w *walk) something() {
	if w.ended {
		return
	}
	n := w.nodes[w.rand.IntN(len(w.nodes))]
	switch w.rand.IntN(12) {
	case 0, 1, 2:
		if !n.up {
			w.connect(n, 1+w.rand.IntN(1<<w.rand.IntN(8)))
		}
	case 3:
		if n.up {
			w.disconnect(n)
		}
	case 4:
		if n.up && !n.draining {
			w.drain(n)
		}
	case 6:
		w.m.Overload(w.now, time.Second)
		w.take()
	case 7:
		w.stall()
	case 5:
		w.setMax(w.rand.IntN(1 << w.rand.IntN(6)))
	default:
		w.publish(n, w.rand.IntN(1<<w.rand.IntN(8)))
	}
	mean := 60 * time.Millisecond
	if w.rand.IntN(40) == 0 {
		mean = 20 * time.Second // a silence
	}
	w.after(time.Duration(w.rand.ExpFloat64()*float64(mean)), w.something)
}

// finish checks that the walk has left nothing behind.
func (w *walk) finish() {
	w.ended = true
	w.fail, w.continued, w.discard, w.never, w.takes = 0, 0, 0, 0, time.Millisecond
	w.setMax(1 + w.rand.IntN(10))
	for _, n := range w.nodes {
		if n.up && n.draining {
			w.disconnect(n)
		}
		if !n.up {
			w.connect(n, 2500)
		}
	}
	w.until(10*time.Minute, "everything is consumed", func() bool {
		for _, n := range w.nodes {
			if n.depth+n.coming+n.held > 0 {
				return false
			}
		}
		return true
	})
	if w.m.backoff.level > 0 { // each message that succeeds steps one level down
		w.until(10*time.Minute, "backoff ends", func() bool {
			if n := w.nodes[0]; n.depth == 0 && n.inFlight == 0 {
				w.publish(n, 1)
			}
			return w.m.backoff.level == 0
		})
	}
	if w.seed%4 == 0 && w.m.cfg.MaxBytes == 0 { // a byte budget may not have room for more
		w.single()
	}
	w.world.run(2*w.lease + time.Second)
	if w.m.Reporting() && !w.m.cfg.Adaptive {
		w.Fatalf("seed %d: backoff is not over: %+v", w.seed, w.m.backoff)
	}
	slots, take := 0, 0
	for _, n := range w.nodes {
		slots += n.sent
		take += w.m.byID[n.id].maxRDY
	}
	// In turns, a slot may be on its way from one connection to another.
	if limit := w.m.limit(); limit >= len(w.nodes) && slots != min(limit, take) {
		w.Fatalf("seed %d: sum of RDYs %d, max_in_flight %d", w.seed, slots, w.max)
	}
}

// single checks that a single nsqd with messages gets most of the slots.
func (w *walk) single() {
	w.takes = 100 * time.Millisecond
	n := w.nodes[w.rand.IntN(len(w.nodes))]
	w.flood(n)
	w.world.run(3 * time.Second)
	slots := w.m.limit()
	switch {
	case w.m.cfg.Uniform:
		slots = max(slots/len(w.nodes), 1)
	case slots >= 2*len(w.nodes):
		slots -= len(w.nodes) - 1
	}
	slots = min(slots, w.m.byID[n.id].maxRDY)
	if w.workers > 0 {
		slots = min(slots, w.workers)
	}
	if rate := w.rate(slots, w.takes, 4*time.Second); rate < 0.6 {
		w.Errorf("seed %d: one busy nsqd of %d handles %.0f %% of what %d slots could do, of %d; delay %v, %d workers, mode %d",
			w.seed, len(w.nodes), 100*rate, slots, w.max, w.delay, w.workers, w.m.mode)
	}
	n.depth = 0
}
