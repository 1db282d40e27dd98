package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

var (
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	usual = Config{
		MinDelay: 100 * ms, MaxDelay: time.Minute, RefusedDelay: 2 * s, MaxDials: 1000,
		Grace: 30 * s, Seed: 1,
	}
)

// between checks that the delay until due is from least to most.
func between(t *testing.T, what string, now, due time.Time, least, most time.Duration) {
	t.Helper()
	if d := due.Sub(now); d < least || d > most {
		t.Errorf("%s: next dial in %v, want %v to %v", what, d, least, most)
	}
}

// TestDelaysFollowTheTimeAway is D3: each delay is 20 to 40 % of the time that nsqd has
// been away, plus at most MinDelay, so dials grow rare while nsqd stays away.
func TestDelaysFollowTheTimeAway(t *testing.T) {
	for seed := range uint64(500) {
		cfg := usual
		cfg.Seed = seed
		m := New(cfg)
		m.Add(start, "a")
		m.Take(start, nil)
		now, dials := start, 0
		for now.Sub(start) < time.Hour {
			due := m.Failed(now, "a")
			most := min(100*ms+now.Sub(start)*2/5, time.Minute)
			between(t, "failure", now, due, most/2-1, most)
			if len(m.Take(due, nil)) != 1 {
				t.Fatal("not dialled when due")
			}
			now, dials = due, dials+1
		}
		if dials > 150 {
			t.Fatalf("seed %d: %d dials in an hour", seed, dials)
		}
	}
}

// TestRandomWalk plays random events in random order. No address has two dials at a
// time, no unwanted one is dialled, every wanted one that is not connected has a next
// dial, and the same seed gives the same dials.
func TestRandomWalk(t *testing.T) {
	for seed := range uint64(100) {
		if a, b := walk(t, seed), walk(t, seed); a != b {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

// walk plays one walk and returns its dials.
func walk(t *testing.T, seed uint64) string {
	rnd := rand.New(rand.NewPCG(seed, 2))
	cfg := usual
	cfg.Seed = seed
	cfg.MaxDials = 1 + rnd.IntN(8)
	m := New(cfg)
	now := start
	wanted, dialled, up := map[string]bool{}, map[string]bool{}, map[string]bool{}
	direct, removed := map[string]bool{}, map[string]bool{}
	var history []string
	for range 400 {
		addr := fmt.Sprint(rnd.IntN(10))
		switch event := rnd.IntN(7); {
		case event == 6:
			listed, complete := []string{}, rnd.IntN(2) == 0
			for i := range 10 {
				if rnd.IntN(2) == 0 {
					listed = append(listed, fmt.Sprint(i))
				}
			}
			for _, a := range m.Discovered(now, listed, complete, nil) {
				if !wanted[a] || direct[a] || !complete || slices.Contains(listed, a) {
					t.Fatalf("seed %d: let go of %s", seed, a)
				}
				delete(wanted, a)
				delete(dialled, a)
				delete(up, a)
			}
			for _, a := range listed {
				if m.nsqds[a] != nil { // a removed one may stay away
					wanted[a] = true
				} else if !removed[a] {
					t.Fatalf("seed %d: %s is listed and not wanted", seed, a)
				}
			}
		case event == 0:
			m.Add(now, addr)
			wanted[addr], direct[addr] = true, true
			delete(removed, addr)
		case event == 1:
			if m.Remove(now, addr) != wanted[addr] {
				t.Fatalf("seed %d: Remove(%s) does not return %v", seed, addr, wanted[addr])
			}
			delete(wanted, addr)
			delete(dialled, addr)
			delete(up, addr)
			delete(direct, addr)
			removed[addr] = true
		case event == 2 && dialled[addr]:
			delete(dialled, addr)
			up[addr] = true
			m.Up(now, addr)
		case event == 3 && dialled[addr]:
			delete(dialled, addr)
			m.Failed(now, addr)
		case event == 4 && up[addr]:
			delete(up, addr)
			m.Lost(now, addr)
		default:
			now = now.Add(time.Duration(rnd.Int64N(int64(2 * s))))
		}
		for _, addr := range m.Take(now, nil) {
			if !wanted[addr] || dialled[addr] || up[addr] {
				t.Fatalf("seed %d: dial %s: wanted %v, dialled %v, up %v", seed, addr, wanted[addr], dialled[addr], up[addr])
			}
			dialled[addr] = true
			history = append(history, fmt.Sprint(now.Sub(start), addr))
		}
		if len(dialled) > cfg.MaxDials || len(dialled) != m.dials {
			t.Fatalf("seed %d: %d dials, %d counted", seed, len(dialled), m.dials)
		}
		more := len(wanted) > len(dialled)+len(up) && len(dialled) < cfg.MaxDials
		if due, ok := m.Next(); ok != more || ok && due.Sub(now) > time.Minute {
			t.Fatalf("seed %d: next dial %v %v with %d wanted, %d dialled, %d up", seed, ok, due.Sub(now), len(wanted), len(dialled), len(up))
		}
	}
	return fmt.Sprint(history)
}

// TestChurnLeavesNothing: when many addresses have come and gone, the machine is empty.
func TestChurnLeavesNothing(t *testing.T) {
	m, now := New(usual), start
	for i := range 10_000 {
		addr := fmt.Sprint(i)
		m.Add(start, addr)
		m.Take(start, nil)
		m.Failed(start, addr)
		m.Remove(now, addr)
	}
	for round := range 100 {
		var listed []string
		for i := range 100 {
			listed = append(listed, fmt.Sprint(round*100+i))
		}
		m.Discovered(start, listed, true, nil)
		for i, addr := range m.Take(start, nil) {
			m.Up(start, addr)
			if i%2 == 0 {
				m.Remove(now, addr)
			}
		}
	}
	for i := range 3 {
		m.Discovered(start.Add(time.Duration(i)*30*s), nil, true, nil)
	}
	if _, ok := m.Next(); ok || len(m.nsqds)+len(m.unwanted)+m.dials != 0 {
		t.Errorf("%d wanted and %d unwanted addresses and %d dials left", len(m.nsqds), len(m.unwanted), m.dials)
	}
}
