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
	usual = Config{MinDelay: 100 * ms, MaxDelay: time.Minute, RefusedDelay: 2 * s, Seed: 1}
)

// between is the bounds of the wait that followed an event.
func between(t *testing.T, what string, now, due time.Time, least, most time.Duration) {
	t.Helper()
	if d := due.Sub(now); d < least || d > most {
		t.Errorf("%s: dial due in %v, want %v to %v", what, d, least, most)
	}
}

func TestStory(t *testing.T) {
	m := New(usual)
	now := start
	take := func(want ...string) {
		t.Helper()
		if got := m.Take(now, nil); !slices.Equal(got, want) {
			t.Errorf("at %v: dial %v, want %v", now.Sub(start), got, want)
		}
	}
	if _, ok := m.Next(); ok {
		t.Error("something to do with nothing wanted")
	}
	m.Add(now, "b")
	m.Add(now, "a")
	take("a", "b") // at once
	take()         // and once
	m.Add(now, "a")
	take() // it is being dialled
	m.Up(now, "a")
	between(t, "first failure", now, m.Failed(now, "b"), 50*ms, 100*ms)
	due, _ := m.Next()
	now = due.Add(-1)
	take()
	now = due
	take("b")
	m.Up(now, "b")
	now = now.Add(3 * s)
	// It held for too short a time: still the trouble of 3 seconds ago.
	between(t, "flapping", now, m.Lost(now, "b"), 600*ms, 1400*ms)
	m.Add(now, "b") // asked for again: at once
	take("b")
	m.Up(now, "b")
	now = now.Add(time.Hour)
	between(t, "after a good while", now, m.Lost(now, "b"), 50*ms, 100*ms)
	if !m.Remove("b") || m.Remove("b") {
		t.Error("Remove does not tell what was wanted")
	}
	if _, ok := m.Next(); ok {
		t.Error("a removed address is to be dialled")
	}
	between(t, "refused", now, m.Refused(now, "a"), 1*s, 2*s)
	if !m.Failed(now, "gone").IsZero() || !m.Lost(now, "gone").IsZero() || !m.Refused(now, "gone").IsZero() {
		t.Error("an unknown address is to be dialled")
	}
	m.Up(now, "gone")
	now = now.Add(time.Hour)
	take("a")
}

// D3: an nsqd that was away for a time is dialled before it was away for half
// as long again, and no more often than growing delays allow.
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

// Any order of events: nothing is dialled twice at a time, nothing is dialled
// that is not wanted, everything wanted and not connected will be, and the same
// seed gives the same.
func TestRandomWalk(t *testing.T) {
	for seed := range uint64(100) {
		if a, b := walk(t, seed), walk(t, seed); a != b {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

func walk(t *testing.T, seed uint64) string {
	rnd := rand.New(rand.NewPCG(seed, 2))
	cfg := usual
	cfg.Seed = seed
	m := New(cfg)
	now := start
	wanted, dialled, up := map[string]bool{}, map[string]bool{}, map[string]bool{}
	var history []string
	for range 400 {
		addr := fmt.Sprint(rnd.IntN(10))
		switch event := rnd.IntN(6); {
		case event == 0:
			m.Add(now, addr)
			wanted[addr] = true
		case event == 1:
			if m.Remove(addr) != wanted[addr] {
				t.Fatalf("seed %d: Remove(%s) of a wanted %v", seed, addr, wanted[addr])
			}
			delete(wanted, addr)
			delete(dialled, addr)
			delete(up, addr)
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
		if due, ok := m.Next(); ok != (len(wanted) > len(dialled)+len(up)) || ok && due.Sub(now) > time.Minute {
			t.Fatalf("seed %d: next dial %v %v with %d wanted, %d dialled, %d up", seed, ok, due.Sub(now), len(wanted), len(dialled), len(up))
		}
	}
	return fmt.Sprint(history)
}

func TestChurnLeavesNothing(t *testing.T) {
	m := New(usual)
	for i := range 10_000 {
		addr := fmt.Sprint(i)
		m.Add(start, addr)
		m.Take(start, nil)
		m.Failed(start, addr)
		m.Remove(addr)
	}
	if _, ok := m.Next(); ok || len(m.nsqds) != 0 {
		t.Errorf("%d addresses left", len(m.nsqds))
	}
}
