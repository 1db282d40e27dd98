package sharing

import (
	"testing"
	"time"
)

// A strict member whose Consumer is stuck while it uses all its slots, and is sampled no more,
// takes no slots from the others but those that it has.
func TestStuckStrictMember(t *testing.T) {
	m := New(10)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.Add(now, 1, Member{Weight: 9, Limit: 4, Strict: true})
	m.Add(now, 2, Member{Weight: 1})
	got := map[ID]int{}
	pass := func(ids ...ID) {
		for _, id := range ids {
			n := got[id]
			m.Sample(id, Sample{Held: n, Conns: []Conn{{RDY: n, InFlight: n, Peak: n}}})
		}
		m.Tick(now)
		for _, d := range m.Take(now, nil) {
			got[d.ID] = d.MaxInFlight
		}
		now = now.Add(lookInterval)
	}
	for range 20 {
		pass(1, 2)
	}
	if got[1] != 4 || got[2] != 0 {
		t.Fatalf("while the strict one has messages: %v", got)
	}
	for range 20 {
		pass(2)
	}
	if got[2] != 6 {
		t.Errorf("when it is stuck: %v", got)
	}
}
