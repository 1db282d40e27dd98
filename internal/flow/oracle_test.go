package flow

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSplitAgainstOracle compares split with dealt, which hands out slots one by
// one, always to the connection that has fewest.
func TestSplitAgainstOracle(t *testing.T) {
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := New(Config{Uniform: seed%4 == 0})
		for range 1 + r.IntN(12) {
			m.conns = append(m.conns, &conn{
				maxRDY:   1 + r.IntN(1<<r.IntN(8)),
				draining: r.IntN(8) == 0,
				use:      use(r.IntN(int(full) + 1)),
				need:     1 + r.IntN(1<<r.IntN(8)),
				want:     r.IntN(20),
				keep:     r.IntN(1 << r.IntN(6)),
			})
		}
		open := 0
		for _, c := range m.conns {
			if !c.draining {
				open++
			}
		}
		slots := open + r.IntN(1<<r.IntN(10))
		m.split(slots)
		want := dealt(m, slots)
		for i, c := range m.conns {
			if c.next != want[i] {
				t.Fatalf("seed %d, %d slots: %d for %+v, want %d; all %v", seed, slots, c.next, *c, want[i], want)
			}
		}
	}
}

// dealt splits the slots in five phases, as the top of share.go describes: one for
// each, what each keeps, what each needs, the rest for those with messages, and what
// is still left for all.
func dealt(m *Machine, slots int) []int {
	shares := make([]int, len(m.conns))
	phases := []func(c *conn) int{
		func(*conn) int { return 1 },
		func(c *conn) int { return min(c.keep, c.need) },
		func(c *conn) int { return c.need },
		func(c *conn) int {
			if c.use == idle {
				return 0
			}
			return c.maxRDY
		},
		func(c *conn) int { return c.maxRDY },
	}
	if m.cfg.Uniform {
		phases = phases[4:]
	}
	for _, most := range phases {
		for slots > 0 && deal(m, shares, most) {
			slots--
		}
	}
	return shares
}

// deal gives one slot to the connection with the fewest, of those that may have
// another. Among equals it prefers one that wants more already. It reports whether
// any connection could take the slot.
func deal(m *Machine, shares []int, most func(c *conn) int) bool {
	var may []int
	for i, c := range m.conns {
		if !c.draining && shares[i] < min(most(c), c.maxRDY) {
			may = append(may, i)
		}
	}
	if len(may) == 0 {
		return false
	}
	least := slices.MinFunc(may, func(a, b int) int {
		keeps := func(i int) int {
			if m.conns[i].want > shares[i] {
				return 0
			}
			return 1
		}
		if shares[a] != shares[b] {
			return shares[a] - shares[b]
		}
		return keeps(a) - keeps(b)
	})
	shares[least]++
	return true
}
