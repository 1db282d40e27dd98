package flow

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// taken is Take as text: "conn:rdy" in order.
func taken(m *Machine) string {
	var out []string
	for _, d := range m.Take(nil) {
		out = append(out, fmt.Sprintf("%d:%d", d.Conn, d.RDY))
	}
	return fmt.Sprint(out)
}

func TestShares(t *testing.T) {
	m := New(Config{MaxInFlight: 10})
	steps := []struct {
		name string
		do   func()
		want string
	}{
		{"nobody", func() {}, "[]"},
		{"the first gets all", func() { m.Up(1, 2500) }, "[1:10]"},
		{"nothing changes", func() {}, "[]"},
		{"decrease before increase", func() { m.Up(2, 2500) }, "[1:5 2:5]"},
		{"the remainder goes to the first", func() { m.Up(3, 2500) }, "[1:4 2:3 3:3]"},
		{"what one cannot take the others do", func() { m.Up(4, 1) }, "[1:3 4:1]"},
		{"a lost one's share returns at once", func() { m.Down(1) }, "[2:5 3:4]"},
		{"pause", func() { m.SetMaxInFlight(0) }, "[2:0 3:0 4:0]"},
		{"resume with fewer than nsqds", func() { m.SetMaxInFlight(2) }, "[2:1 3:1]"},
		{"negative is a pause", func() { m.SetMaxInFlight(-1) }, "[2:0 3:0]"},
		{"more than they can take", func() { m.SetMaxInFlight(9000) }, "[2:2500 3:2500 4:1]"},
	}
	for _, s := range steps {
		s.do()
		if got := taken(m); got != s.want {
			t.Errorf("%s: %s, want %s", s.name, got, s.want)
		}
	}
}

// oracle shares slots one by one.
func oracle(limit int, caps []int) []int {
	shares := make([]int, len(caps))
	for limit > 0 {
		least := -1
		for i := range caps {
			if shares[i] < caps[i] && (least < 0 || shares[i] < shares[least]) {
				least = i
			}
		}
		if least < 0 {
			break
		}
		shares[least]++
		limit--
	}
	return shares
}

// Whatever happens: the sum of RDY never exceeds max_in_flight, at any point of
// the list of decisions; no RDY is repeated or over its nsqd's limit; and in the
// end the shares are those of the oracle.
func TestRandomWalk(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		limit := rnd.IntN(30)
		m := New(Config{MaxInFlight: limit})
		var ids []ID
		caps, rdy := map[ID]int{}, map[ID]int{}
		lastID := ID(0)
		for range 200 {
			switch n := rnd.IntN(5); {
			case n < 2:
				lastID++
				ids = append(ids, lastID)
				caps[lastID] = 1 + rnd.IntN(12)
				m.Up(lastID, caps[lastID])
			case n == 2 && len(ids) > 0:
				i := rnd.IntN(len(ids))
				m.Down(ids[i])
				delete(rdy, ids[i])
				ids = slices.Delete(ids, i, i+1)
			case n == 3:
				limit = rnd.IntN(60)
				m.SetMaxInFlight(limit)
			}
			rising := false
			for _, d := range m.Take(nil) {
				if d.RDY == rdy[d.Conn] || d.RDY > caps[d.Conn] {
					t.Fatalf("seed %d: decision %v, had %d, cap %d", seed, d, rdy[d.Conn], caps[d.Conn])
				}
				rising = rising || d.RDY > rdy[d.Conn]
				rdy[d.Conn] = d.RDY
				sum := 0
				for _, n := range rdy {
					sum += n
				}
				if rising && sum > limit {
					t.Fatalf("seed %d: %d granted of %d", seed, sum, limit)
				}
			}
			var limits, got []int
			for _, id := range ids {
				limits = append(limits, caps[id])
				got = append(got, rdy[id])
			}
			if want := oracle(limit, limits); !slices.Equal(got, want) && len(ids) > 0 {
				t.Fatalf("seed %d: %d over %v: %v, want %v", seed, limit, limits, got, want)
			}
		}
	}
}

func BenchmarkTake(b *testing.B) {
	m := New(Config{MaxInFlight: 20_000})
	for i := range 1000 {
		m.Up(ID(i), 2500)
	}
	var dst []Decision
	for i := 0; b.Loop(); i++ {
		m.SetMaxInFlight(20_000 + i%2)
		dst = m.Take(dst[:0])
	}
}
