package sharing

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// If there are more Consumers than slots, each gets its turn, whatever the others have done
// before. Long handlers leave slots and looks in step with each other.
func TestTurnsReachAll(t *testing.T) {
	for seed := range uint64(100) {
		chance := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t, 1+chance.IntN(8))
		for i := range w.slots + 1 + chance.IntN(w.slots+1) {
			c := w.add(fmt.Sprint(i), 1+chance.IntN(3), Member{Weight: 1 + chance.IntN(3)})
			c.every = time.Duration(chance.IntN(200)) * time.Millisecond
			c.takes = time.Duration(chance.IntN(3000)) * time.Millisecond
			c.nextMessage = w.now
		}
		w.run(time.Duration(chance.IntN(5000)) * time.Millisecond)
		for _, c := range w.consumers {
			c.every, c.backlog = 0, 0
		}
		w.run(5 * time.Second)
		before := map[*consumer]int{}
		for _, c := range w.consumers {
			c.backlog++
			before[c] = c.finished
		}
		w.run(10 * time.Second)
		for _, c := range w.consumers {
			if n := c.finished - before[c]; n != 1 {
				t.Errorf("seed %d: %s has handled %d messages, want 1: %s", seed, c.name, n, w)
			}
		}
	}
}
