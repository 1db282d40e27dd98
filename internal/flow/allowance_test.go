package flow

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// allowing makes a world in which messages come by allowance, and stay in hand until the
// test acks them.
func allowing(tb testing.TB, cfg Config, nsqds int) *world {
	w := newWorld(tb, cfg)
	w.workers, w.running = 1, 1
	w.m.SetAllowing(w.now, true)
	for range nsqds {
		w.add(true)
	}
	return w
}

func (w *world) sampleAll() {
	for _, n := range w.nodes {
		if n.up {
			w.m.Sample(w.now, n.id, w.sample(n))
		}
	}
}

// allow lets n more messages come or, if n is negative, so many fewer.
func (w *world) allow(n int) {
	w.sampleAll()
	w.m.Allow(w.now, max(w.m.allowance.left+n, 0))
	w.take()
}

// ackOne acks one of the messages in hand.
func (w *world) ackOne(result Result) {
	if len(w.queue) == 0 {
		return
	}
	i := w.rand.IntN(len(w.queue))
	a := w.queue[i]
	w.queue = append(w.queue[:i:i], w.queue[i+1:]...)
	a.n.passed = a.n.received
	w.complete(a, result)
}

// Whatever nsqds have messages: exactly as many come as were asked for, and promptly.
func TestAllowanceIsExact(t *testing.T) {
	for _, nsqds := range []int{1, 2, 3, 10, 40} {
		for _, withMessages := range []int{1, 2, 40} {
			for _, asked := range []int{1, 2, 10, 100, 1000} {
				w := allowing(t, Config{MaxInFlight: 1, Seed: 1}, nsqds)
				for _, n := range w.nodes[:min(withMessages, nsqds)] {
					w.publish(n, 10_000)
				}
				w.run(time.Second)
				if w.delivered > 0 {
					t.Fatalf("%d came before any was asked for", w.delivered)
				}
				w.allow(asked)
				took := w.until(3*time.Second, fmt.Sprintf("all that was asked for: %d nsqds, %d with messages, %d", nsqds, withMessages, asked),
					func() bool { return len(w.queue) == asked })
				t.Logf("%d of %d nsqds with messages: %d took %v", withMessages, nsqds, asked, took)
				w.run(10 * time.Second)
				if w.delivered != asked {
					t.Errorf("%d nsqds: asked for %d, got %d, within %v", nsqds, asked, w.delivered, took)
				}
				for len(w.queue) > 0 {
					w.ackOne(Success)
				}
				w.run(10 * time.Second)
				if w.delivered != asked {
					t.Errorf("%d nsqds: asked for %d, got %d when they were acked", nsqds, asked, w.delivered)
				}
			}
		}
	}
}

// At any time no more has come than was asked for, however acks, further requests and
// withdrawals mix. If messages are there, all that is asked for comes.
func TestAllowanceWalk(t *testing.T) {
	for seed := range uint64(100) {
		chance := rand.New(rand.NewPCG(seed, 1))
		cfg := Config{MaxInFlight: 1 + chance.IntN(20), Seed: seed}
		if seed%3 == 0 {
			cfg.MaxBackoff, cfg.Adaptive = time.Minute, seed%2 == 0
			cfg.Backoff = func(level int, _ *rand.Rand) time.Duration { return time.Duration(level) * 50 * time.Millisecond }
		}
		w := allowing(t, cfg, 1+chance.IntN(6))
		w.slowReaders = seed%4 < 2
		for _, n := range w.nodes {
			if chance.IntN(2) == 0 {
				w.publish(n, chance.IntN(2000))
			}
		}
		most := 0 // how many may have come
		w.check = func() {
			if w.delivered > most {
				t.Fatalf("seed %d, %v: %d came, %d were asked for", seed, w.clock(), w.delivered, most)
			}
			slots := w.m.allowance.left
			for _, c := range w.m.conns {
				slots += c.inHand()
			}
			if w.m.max != slots {
				t.Fatalf("seed %d, %v: %d slots, want %d", seed, w.clock(), w.m.max, slots)
			}
		}
		for range 200 {
			switch chance.IntN(9) {
			case 0, 1:
				n := 1 + chance.IntN(30)
				most += n
				w.allow(n)
			case 2: // callers give up
				w.allow(-chance.IntN(20))
			case 3:
				w.allow(-1 << 20)
				w.run(5 * assumedDelay) // what is on the way arrives
				most = w.delivered
			case 4, 5, 6:
				for range chance.IntN(10) {
					w.ackOne([]Result{Success, Success, Success, Failure, Continue}[chance.IntN(5)])
				}
			case 7:
				n := w.nodes[chance.IntN(len(w.nodes))]
				n.passed = n.received
				if w.sampleAll(); n.coming+n.buffered == 0 { // otherwise they come, and are asked for, once more
					w.disconnect(n)
					w.connect(n, 1+chance.IntN(100))
				}
			default:
				w.run(time.Duration(chance.IntN(300)) * time.Millisecond)
			}
		}
		w.allow(-1 << 20)
		w.run(time.Second)
		most = w.delivered
		w.slowReaders = false // one that is coming would count among the twenty
		w.publish(w.nodes[0], 100)
		most += 20
		w.allow(20)
		before := w.delivered
		for w.delivered < before+20 && w.clock() < 2*time.Hour {
			w.run(50 * time.Millisecond)
			w.ackOne(Success)
		}
		if w.delivered != before+20 {
			t.Fatalf("seed %d: asked for 20, got %d", seed, w.delivered-before)
		}
	}
}

// A pause suspends an allowance, and so does the pause after a failure. The rest of the
// allowance comes afterwards.
func TestAllowanceAndPauses(t *testing.T) {
	cfg := Config{MaxInFlight: 5, Seed: 1, MaxBackoff: time.Minute,
		Backoff: func(int, *rand.Rand) time.Duration { return time.Second }}
	w := allowing(t, cfg, 2)
	w.publish(w.nodes[0], 1000)
	w.setMax(0)
	w.allow(10)
	w.run(time.Minute)
	if w.delivered > 0 {
		t.Fatalf("%d came during a pause", w.delivered)
	}
	w.setMax(5)
	w.until(time.Second, "ten", func() bool { return len(w.queue) == 10 })
	w.ackOne(Failure)
	w.allow(10)
	w.run(900 * time.Millisecond)
	if w.delivered > 10 {
		t.Fatalf("%d came during backoff", w.delivered-10)
	}
	w.until(time.Second, "the probe", func() bool { return w.delivered == 11 })
	w.run(20 * time.Second)
	if w.delivered != 11 {
		t.Fatalf("%d came while the probe was in hand", w.delivered-11)
	}
	probe := w.queue[len(w.queue)-1]
	w.queue = w.queue[:len(w.queue)-1]
	w.complete(probe, Success)
	w.until(time.Second, "the rest", func() bool { return w.delivered == 20 })
	w.run(time.Minute)
	if w.delivered != 20 {
		t.Fatalf("%d came, 20 were asked for", w.delivered)
	}
}

// When something takes messages on its own again, max_in_flight holds, and nothing else.
func TestAllowanceEnds(t *testing.T) {
	w := allowing(t, Config{MaxInFlight: 5, Seed: 1}, 2)
	w.publish(w.nodes[0], 1000)
	w.publish(w.nodes[1], 1000)
	w.allow(3)
	w.run(time.Second)
	w.sampleAll()
	w.m.SetAllowing(w.now, false)
	w.take()
	w.run(time.Second)
	if len(w.queue) != 5 {
		t.Fatalf("%d in hand, max_in_flight is 5", len(w.queue))
	}
	w.sampleAll()
	w.m.SetAllowing(w.now, true)
	w.take()
	w.run(time.Second)
	w.ackOne(Success)
	w.run(time.Second)
	if len(w.queue) != 4 {
		t.Fatalf("%d in hand after an ack, want 4", len(w.queue))
	}
}

// What is left goes to connections that have messages. When they have had none for a while,
// it is shared evenly again, although no message wakes the machine.
func TestAllowanceMovesOn(t *testing.T) {
	w := allowing(t, Config{MaxInFlight: 1, Seed: 1}, 2)
	a, b := w.nodes[0], w.nodes[1]
	w.publish(a, 12)
	w.allow(30)
	w.until(time.Second, "the messages", func() bool { return len(w.queue) == 12 })
	w.run(100 * time.Millisecond)
	if a.sent-a.held != 17 || b.sent != 1 {
		t.Errorf("while one has messages: RDY %d with %d in flight, and %d", a.sent, a.held, b.sent)
	}
	w.run(time.Second)
	if a.sent-a.held != 9 || b.sent != 9 {
		t.Errorf("when it has none: RDY %d with %d in flight, and %d", a.sent, a.held, b.sent)
	}
}

// While callers ask for fewer messages at a time than there are nsqds, and some nsqds have them
// at once, each of the others keeps a slot for a whole visit now and then. nsqd sends nothing if
// an RDY of 0 comes on the heels of the RDY of 1.
func TestVisitsByAllowanceAreWhole(t *testing.T) {
	const nsqds, seconds = 5, 10
	for busy := 1; busy < nsqds; busy++ {
		for asked := 1; asked < nsqds; asked++ {
			w := allowing(t, Config{MaxInFlight: 1, Seed: 1}, nsqds)
			w.flood(w.nodes[:busy]...)
			begun, visits := make(map[*node]time.Time), make(map[*node]int)
			w.decided = func(n *node, rdy int) {
				if rdy > 0 {
					begun[n] = w.now
				} else if w.now.Sub(begun[n]) >= visitTime {
					visits[n]++
				}
			}
			for w.clock() < seconds*time.Second {
				w.allow(asked)
				w.until(time.Second, "messages", func() bool { return len(w.queue) == asked })
				w.run(time.Millisecond)
				for len(w.queue) > 0 {
					w.ackOne(Success)
				}
				w.run(time.Millisecond)
			}
			quiet := w.nodes[busy:]
			for _, n := range quiet {
				if visits[n] < seconds*min(asked, len(quiet))/len(quiet) {
					t.Errorf("%d of %d nsqds busy, asked for %d: %d visits of a quiet one in %d s", busy, nsqds, asked, visits[n], seconds)
				}
			}
		}
	}
}
