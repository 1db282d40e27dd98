package control

import (
	"fmt"
	"testing"
	"time"
)

// TestIdleMachineIsSeldomDue: a minute after the last message a Consumer has nothing to
// do but to move a slot on, twice a move, if there are fewer slots than nsqds.
func TestIdleMachineIsSeldomDue(t *testing.T) {
	for _, nsqds := range []int{1, 10, 100} {
		for _, slots := range []int{1, 100} {
			p := newPlayer(t, []string{fmt.Sprintf("max=%d", slots), "dials=100"})
			for i := range nsqds {
				p.play([]string{"connect", fmt.Sprint(i)})
				p.play([]string{"up", fmt.Sprint(i)})
			}
			p.play([]string{"run", "1s"})
			p.play([]string{"receives", "0"})
			p.play([]string{"run", "2ms"})
			p.play([]string{"acks", "0"})
			p.play([]string{"pass", "2m"})
			from, rdys, ticks := p.now, p.rdys, 0
			for end := from.Add(10 * time.Minute); ; ticks++ {
				due, ok := p.m.Next()
				if !ok || due.After(end) {
					break
				}
				p.now = due
				p.act()
			}
			most := 0
			if slots < nsqds {
				round := 2500*time.Millisecond + time.Duration(nsqds)*125*time.Millisecond
				most = 2*nsqds*int(10*time.Minute/round) + 2
			}
			t.Logf("%3d nsqds, max_in_flight %3d: due %d times in 10 minutes, %d RDYs", nsqds, slots, ticks, p.rdys-rdys)
			if ticks > most || p.rdys-rdys > most {
				t.Errorf("%d nsqds, max_in_flight %d: due %d times, %d RDYs, want %d at most", nsqds, slots, ticks, p.rdys-rdys, most)
			}
		}
	}
}
