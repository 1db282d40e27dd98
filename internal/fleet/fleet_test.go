package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

var (
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	usual = Config{MinDelay: 100 * ms, MaxDelay: time.Minute, RefusedDelay: 2 * s, MaxDials: 1000, Grace: connectedGrace, Seed: 1}
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
	if !m.Remove(now, "b") || m.Remove(now, "b") {
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

// What nsqlookupds list is wanted until they do not for a while.
func TestDiscovered(t *testing.T) {
	cfg := usual
	cfg.MaxDials = 3
	m := New(cfg)
	now := start
	steps := []struct {
		what     string
		do       func()
		listed   string // one letter an address; "-" for no poll
		complete bool
		dial     string
		gone     string
	}{
		{"listed ones are dialled, as many as may be", nil, "dcba", true, "abc", ""},
		{"and the others when one is done", func() { m.Up(now, "a"); m.Up(now, "b") }, "-", true, "d", ""},
		{"nothing follows from answers that are missing", nil, "", false, "", ""},
		{"an address that was added stays", func() { m.Add(now, "b"); m.Up(now, "c"); m.Up(now, "d") }, "acd", true, "", ""},
		{"missed once and twice", nil, "cd", true, "", ""},
		{"", nil, "cd", true, "", ""},
		{"seen again, counted anew", nil, "acd", true, "", ""},
		{"", nil, "cd", true, "", ""},
		{"", nil, "cd", true, "", ""},
		{"an incomplete poll does not count", nil, "cd", false, "", ""},
		{"the third time it is let go", nil, "cd", true, "", "a"},
		{"it may come back", nil, "acd", true, "a", ""},
		{"removed while listed", func() { m.Remove(now, "c") }, "acd", true, "", ""},
		{"and not come back", nil, "acd", false, "", ""},
		{"unless it was added again", func() { m.Add(now, "c") }, "acd", true, "c", ""},
		{"removed, and missed", func() { m.Remove(now, "c") }, "ad", true, "", ""},
		{"", nil, "ad", true, "", ""},
		{"listed once more in time", nil, "acd", true, "", ""},
		{"", nil, "ad", true, "", ""},
		{"", nil, "ad", true, "", ""},
		{"", nil, "ad", true, "", ""},
		{"after a while it is a new one", nil, "acd", true, "c", ""},
		{"all gone but those added", func() { m.Add(now, "e") }, "", true, "e", ""},
		{"", nil, "", true, "", ""},
		{"", nil, "", true, "", "acd"},
	}
	for i, s := range steps {
		if s.do != nil {
			s.do()
		}
		gone := ""
		if s.listed != "-" {
			gone = strings.Join(m.Discovered(now, strings.Split(s.listed, "")[:len(s.listed)], s.complete, nil), "")
		}
		if dial := strings.Join(m.Take(now, nil), ""); dial != s.dial || gone != s.gone {
			t.Errorf("step %d, %s: dial %q, gone %q, want %q, %q", i, s.what, dial, gone, s.dial, s.gone)
		}
		now = now.Add(connectedGrace / 2)
	}
	for _, addr := range []string{"b", "e"} {
		m.Remove(now, addr)
	}
	if len(m.nsqds)+len(m.unwanted)+m.dials != 0 {
		t.Errorf("left: %v, %v, %d dials", m.nsqds, m.unwanted, m.dials)
	}
}

// A connected nsqd is given the time that nsqds take to tell a restarted
// nsqlookupd, however short the grace of others; three misses it takes in any case.
func TestConnectedIsGivenTime(t *testing.T) {
	cfg := usual
	cfg.Grace = 3 * s
	m := New(cfg)
	m.Discovered(start, []string{"down", "up"}, true, nil)
	m.Take(start, nil)
	m.Up(start, "up")
	m.Failed(start, "down")
	gone := func(at time.Duration) string {
		return strings.Join(m.Discovered(start.Add(at), nil, true, nil), "")
	}
	for _, step := range []struct {
		at   time.Duration
		want string
	}{{1 * s, ""}, {9 * s, ""}, {10 * s, "down"}, {30 * s, ""}, {31 * s, "up"}} {
		if got := gone(step.at); got != step.want {
			t.Errorf("at %v: %q gone, want %q", step.at, got, step.want)
		}
	}
}

// One that is listed again after it was missing is dialled at once.
func TestListedAgainIsDialled(t *testing.T) {
	m := New(usual)
	m.Discovered(start, []string{"a"}, true, nil)
	m.Take(start, nil)
	m.Failed(start.Add(time.Hour), "a")
	now := start.Add(time.Hour + 1)
	m.Discovered(now, nil, true, nil)
	if got := m.Take(now, nil); len(got) != 0 {
		t.Errorf("dial %v", got)
	}
	m.Discovered(now, []string{"a"}, true, nil)
	if got := m.Take(now, nil); !slices.Equal(got, []string{"a"}) {
		t.Errorf("dial %v when it is back", got)
	}
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
	cfg.MaxDials = 1 + rnd.IntN(8)
	m := New(cfg)
	now := start
	wanted, dialled, up := map[string]bool{}, map[string]bool{}, map[string]bool{}
	direct, refused := map[string]bool{}, map[string]bool{} // added; removed
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
				if m.nsqds[a] != nil { // one that was removed may be kept out
					wanted[a] = true
				} else if !refused[a] {
					t.Fatalf("seed %d: %s is listed and not wanted", seed, a)
				}
			}
		case event == 0:
			m.Add(now, addr)
			wanted[addr], direct[addr] = true, true
			delete(refused, addr)
		case event == 1:
			if m.Remove(now, addr) != wanted[addr] {
				t.Fatalf("seed %d: Remove(%s) of a wanted %v", seed, addr, wanted[addr])
			}
			delete(wanted, addr)
			delete(dialled, addr)
			delete(up, addr)
			delete(direct, addr)
			refused[addr] = true
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
	for i := range time.Duration(misses) {
		m.Discovered(start.Add(i*usual.Grace), nil, true, nil)
	}
	if _, ok := m.Next(); ok || len(m.nsqds)+len(m.unwanted)+m.dials != 0 {
		t.Errorf("%d and %d addresses and %d dials left", len(m.nsqds), len(m.unwanted), m.dials)
	}
}
