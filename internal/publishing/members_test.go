package publishing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	for _, tt := range []struct{ members, listed, gone, merged, removed string }{
		{"", "", "", "", ""},
		{"", "a b", "", "+a +b", ""},
		{"a b", "", "", "a b", ""},
		{"a b", "a b", "", "a b", ""},
		{"b d", "a b c d e", "", "+a b +c d +e", ""},
		{"a b c", "b", "a c", "b", "a c"},
		{"a b c", "", "a b c", "", "a b c"},
		{"b", "a c", "a b z", "+a +c", "b"},
	} {
		merged, removed := merge(strings.Fields(tt.members), strings.Fields(tt.listed), strings.Fields(tt.gone))
		if got := strings.Join(merged, " "); got != tt.merged {
			t.Errorf("%q, listed %q, gone %q: %q, want %q", tt.members, tt.listed, tt.gone, got, tt.merged)
		}
		if got := strings.Join(removed, " "); got != tt.removed {
			t.Errorf("%q, listed %q, gone %q: removed %q, want %q", tt.members, tt.listed, tt.gone, got, tt.removed)
		}
	}
}

func merge(members, listed, gone []string) (merged, removed []string) {
	return Merge(members, listed, gone, func(m string) string { return m }, func(at string) string { return "+" + at })
}

// Merge agrees with a comparison of every member with every address, which is what its
// doc comment says in other words.
func TestMergeAgainstOracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	some := func() (addrs []string) {
		for i := range 20 {
			if rng.IntN(3) == 0 {
				addrs = append(addrs, fmt.Sprintf("%02d", i))
			}
		}
		return addrs
	}
	for range 2000 {
		members, listed, gone := some(), some(), some()
		var want, wantRemoved []string
		for i := range 20 {
			at := fmt.Sprintf("%02d", i)
			switch is := slices.Contains(members, at); {
			case is && slices.Contains(gone, at):
				wantRemoved = append(wantRemoved, at)
			case is:
				want = append(want, at)
			case slices.Contains(listed, at):
				want = append(want, "+"+at)
			}
		}
		merged, removed := merge(members, listed, gone)
		if !slices.Equal(merged, want) || !slices.Equal(removed, wantRemoved) {
			t.Fatalf("%v, listed %v, gone %v: %v, %v; want %v, %v", members, listed, gone, merged, removed, want, wantRemoved)
		}
	}
}

// N12: a poll of 50,000 nsqds asks each member for its address once.
func TestMergeIsLinear(t *testing.T) {
	const n = 50_000
	var members, listed, gone []string
	for i := range 2 * n {
		addr := fmt.Sprintf("%06d", i)
		if i%2 == 0 {
			members = append(members, addr)
		}
		if i%3 == 0 {
			listed = append(listed, addr)
		} else if i%5 == 0 {
			gone = append(gone, addr)
		}
	}
	asked, joined := 0, 0
	Merge(members, listed, gone,
		func(m string) string { asked++; return m },
		func(at string) string { joined++; return at })
	if asked != n || joined != len(listed)/2 {
		t.Errorf("asked for %d addresses and made %d members, want %d and %d", asked, joined, n, len(listed)/2)
	}
}
