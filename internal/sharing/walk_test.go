package sharing

import (
	"math/rand/v2"
	"testing"
	"time"
)

// walk does random things in a world, which checks after each step that no more messages are
// in flight, or may be, than there are slots.
func walk(t *testing.T, seed uint64, steps int) {
	chance := rand.New(rand.NewPCG(seed, seed))
	w := newWorld(t, 1+chance.IntN(40))
	w.adopts = time.Duration(1+chance.IntN(30)) * step
	for range steps {
		n := len(w.consumers)
		switch do := chance.IntN(10); {
		case n == 0 || do == 0 && n < 12:
			is := Member{Weight: 1 + chance.IntN(10), Strict: chance.IntN(4) == 0}
			if chance.IntN(4) == 0 {
				is.Limit = 1 + chance.IntN(20)
			}
			w.add(string(rune('a'+n)), 1+chance.IntN(5), is)
		case do == 1:
			w.m.Drain(w.consumers[chance.IntN(n)].id)
		case do == 2:
			w.remove(w.consumers[chance.IntN(n)])
		case do == 3:
			c := w.consumers[chance.IntN(n)]
			c.held = !c.held
		case do < 8:
			c := w.consumers[chance.IntN(n)]
			c.backlog = []int{0, 3, 1000, 1 << 30}[chance.IntN(4)]
			c.takes = time.Duration(1+chance.IntN(300)) * step
		}
		w.run(time.Duration(1+chance.IntN(400)) * step)
	}
	settle(w)
}

// settle lets all members have many messages. In the end all slots that they can take are
// given out, and none is without, unless a strict one keeps them or they are too many.
func settle(w *world) {
	take, strict := 0, false
	for _, c := range w.consumers {
		c.backlog, c.takes, c.held = 1<<30, 5*step, false
		if member := w.m.find(c.id); !member.leaving {
			take += member.Limit
			strict = strict || c.is.Strict
		}
	}
	w.run(4 * time.Second)
	granted := 0
	for _, c := range w.consumers {
		member := w.m.find(c.id)
		granted += member.granted
		if member.granted == 0 && !member.leaving && !strict && !w.m.turning {
			w.Errorf("%s has no slot: %s", c.name, w)
		}
	}
	if !strict && !w.m.turning && granted != min(take, w.slots) {
		w.Errorf("%d of %d slots are granted, members can take %d: %s", granted, w.slots, take, w)
	}
}

func TestWalk(t *testing.T) {
	for seed := range uint64(100) {
		walk(t, seed, 40)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(uint64(1), uint8(30))
	f.Add(uint64(77), uint8(200))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { walk(t, seed, int(steps)) })
}

// The split is by weight: nobody gets less than its part, rounded down.
func TestFill(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		members := make([]*member, 1+chance.IntN(8))
		weights, slots := 0, 0
		for i := range members {
			members[i] = &member{Member: Member{Weight: 1 + chance.IntN(1000)}, lo: 0, hi: 1 << 30}
			weights += members[i].Weight
		}
		slots = len(members) + chance.IntN(5000)
		fill(members, slots)
		sum := 0
		for _, c := range members {
			sum += c.next
			part := float64(slots) * float64(c.Weight) / float64(weights)
			if float64(c.next) <= part-1 {
				t.Fatalf("%d of %d slots by weight %d of %d, want %.1f", c.next, slots, c.Weight, weights, part)
			}
		}
		if sum != slots {
			t.Fatalf("%d slots, want %d", sum, slots)
		}
	}
}

// Whatever the bounds, fill keeps them, and gives out all slots that they allow. Nobody
// could get one more from somebody who has more of it by weight.
func TestFillWithinBounds(t *testing.T) {
	chance := rand.New(rand.NewPCG(2, 2))
	for range 20_000 {
		members := make([]*member, 1+chance.IntN(8))
		lo, hi := 0, 0
		for i := range members {
			c := &member{Member: Member{Weight: 1 + chance.IntN(20)}, lo: chance.IntN(10)}
			c.hi = c.lo + chance.IntN(100)
			lo, hi = lo+c.lo, hi+c.hi
			members[i] = c
		}
		slots := lo + chance.IntN(300)
		fill(members, slots)
		sum := 0
		for _, c := range members {
			sum += c.next
			if c.next < c.lo || c.next > c.hi {
				t.Fatalf("%d slots, not within %d and %d", c.next, c.lo, c.hi)
			}
		}
		if sum != min(slots, hi) {
			t.Fatalf("%d slots, want %d", sum, min(slots, hi))
		}
		for _, poor := range members {
			for _, rich := range members {
				if poor.next < poor.hi && rich.next > rich.lo && poor.perWeight() < float64(rich.next-1)/float64(rich.Weight) {
					t.Fatalf("weight %d has %d slots, weight %d has %d", poor.Weight, poor.next, rich.Weight, rich.next)
				}
			}
		}
	}
}
