package fleet

import (
	"fmt"
	"maps"
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
			due := m.Failed(now, "a", Unreachable)
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
// time, no unwanted one is dialled, none that is only listed is redialled without
// consent, every added one that is not connected has a next dial, and the same seed gives
// the same dials.
func TestRandomWalk(t *testing.T) {
	for seed := range uint64(300) {
		if a, b := walk(t, seed), walk(t, seed); a != b {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

// walker is one walk, and what it knows of the addresses.
type walker struct {
	*testing.T
	rand      *rand.Rand
	m         *Machine
	now       time.Time
	wanted    map[string]bool
	direct    map[string]bool
	removed   map[string]bool
	dialled   map[string]bool
	up        map[string]bool
	parted    map[string]time.Time // when the last dial or connection ended
	closed    map[string]time.Time // when nsqd closed it
	asked     map[string]time.Time // of the newest request whose response lists it
	responded time.Time
	allFailed time.Time
	down      bool // one of the two nsqlookupds does not respond
}

// walk plays one walk and returns its dials.
func walk(t *testing.T, seed uint64) string {
	rnd := rand.New(rand.NewPCG(seed, 2))
	cfg := usual
	cfg.Seed = seed
	cfg.MaxDials = 1 + rnd.IntN(8)
	w := &walker{
		T: t, rand: rnd, m: New(cfg), now: start,
		wanted: map[string]bool{}, direct: map[string]bool{}, removed: map[string]bool{},
		dialled: map[string]bool{}, up: map[string]bool{},
		parted: map[string]time.Time{}, closed: map[string]time.Time{}, asked: map[string]time.Time{},
	}
	var history []string
	for range 400 {
		w.event(fmt.Sprint(rnd.IntN(10)))
		for _, addr := range w.m.Take(w.now, nil) {
			w.check(addr, !w.wanted[addr] || w.dialled[addr] || w.up[addr], "dialled")
			w.check(addr, !w.consented(addr), "dialled without consent")
			w.dialled[addr] = true
			history = append(history, fmt.Sprint(w.now.Sub(start), addr))
		}
		if len(w.dialled) > cfg.MaxDials || len(w.dialled) != w.m.dials {
			t.Fatalf("seed %d: %d dials, %d counted", seed, len(w.dialled), w.m.dials)
		}
		due, ok := w.m.Next()
		for addr := range w.direct {
			waits := !w.dialled[addr] && !w.up[addr] && len(w.dialled) < cfg.MaxDials
			w.check(addr, waits && (!ok || due.Sub(w.now) > time.Minute), "has no next dial")
		}
	}
	return fmt.Sprint(history)
}

func (w *walker) check(addr string, wrong bool, what string) {
	if wrong {
		w.Helper()
		w.Fatalf("after %v: %s %s: wanted %v, dialled %v, up %v, %+v", w.now.Sub(start), addr, what,
			w.wanted[addr], w.dialled[addr], w.up[addr], w.m.nsqds[addr])
	}
}

// consented reports whether nsqlookupds allow a dial: see Responses.
func (w *walker) consented(addr string) bool {
	parted := w.parted[addr]
	return w.direct[addr] || w.asked[addr].After(parted) || w.allFailed.After(parted) && !w.responded.After(parted)
}

func (w *walker) event(addr string) {
	switch event := w.rand.IntN(8); {
	case event >= 6:
		w.poll()
	case event == 0:
		w.m.Add(w.now, addr)
		w.wanted[addr], w.direct[addr] = true, true
		delete(w.removed, addr)
	case event == 1:
		w.check(addr, w.m.Remove(w.now, addr) != w.wanted[addr], "removed")
		w.forget(addr)
		w.removed[addr] = true
	case event == 2 && w.dialled[addr]:
		delete(w.dialled, addr)
		w.up[addr] = true
		w.m.Up(w.now, addr)
	case event == 3 && w.dialled[addr]:
		delete(w.dialled, addr)
		w.parted[addr] = w.now
		w.m.Failed(w.now, addr, Failure(w.rand.IntN(4)))
	case event == 4 && w.up[addr]:
		delete(w.up, addr)
		w.parted[addr] = w.now
		w.m.Lost(w.now, addr, Loss(w.rand.IntN(3)))
	default:
		w.now = w.now.Add(time.Duration(w.rand.Int64N(int64(5 * s))))
	}
}

func (w *walker) forget(addr string) {
	for _, m := range []map[string]bool{w.wanted, w.dialled, w.up, w.direct} {
		delete(m, addr)
	}
	delete(w.parted, addr)
}

// poll plays a poll of two nsqlookupds, one of which may be down. It stays down, or up,
// for a while.
func (w *walker) poll() {
	w.now = w.now.Add(1)
	if w.rand.IntN(20) == 0 {
		w.down = !w.down
	}
	responses := Responses{Responded: w.now, Complete: !w.down}
	if w.down && w.rand.IntN(3) == 0 {
		responses.Responded, responses.AllFailed = w.responded, w.now
	} else {
		for i := range 10 {
			if w.rand.IntN(2) == 0 {
				w.asked[fmt.Sprint(i)] = w.now
			}
		}
	}
	for _, addr := range slices.Sorted(maps.Keys(w.asked)) {
		if !responses.Complete || w.asked[addr].Equal(w.now) {
			responses.Listed = append(responses.Listed, Listing{addr, w.asked[addr]})
		}
	}
	w.responded, w.allFailed = responses.Responded, responses.AllFailed
	listed := func(addr string) bool { return w.asked[addr].Equal(w.now) }
	for _, addr := range w.m.Discovered(w.now, responses, nil) {
		w.check(addr, !w.wanted[addr] || w.direct[addr] || !responses.Complete && w.up[addr] || listed(addr), "let go")
		w.forget(addr)
	}
	for _, l := range responses.Listed {
		w.check(l.Addr, listed(l.Addr) && w.m.nsqds[l.Addr] == nil && !w.removed[l.Addr], "listed and not wanted")
		if w.m.nsqds[l.Addr] != nil { // a removed one may stay away
			w.wanted[l.Addr] = true
		}
	}
}

// TestChurnLeavesNothing: when many addresses have come and gone, the machine is empty.
func TestChurnLeavesNothing(t *testing.T) {
	m, now := New(usual), start
	for i := range 10_000 {
		addr := fmt.Sprint(i)
		m.Add(start, addr)
		m.Take(start, nil)
		m.Failed(start, addr, Unreachable)
		m.Remove(now, addr)
	}
	for round := range 100 {
		now = now.Add(1)
		var listed []Listing
		for i := range 100 {
			listed = append(listed, Listing{fmt.Sprint(round*100 + i), now})
		}
		m.Discovered(now, Responses{Listed: listed, Responded: now, Complete: true}, nil)
		for i, addr := range m.Take(now, nil) {
			m.Up(now, addr)
			if i%2 == 0 {
				m.Remove(now, addr)
			}
		}
	}
	for i := range 3 {
		at := now.Add(1 + time.Duration(i)*30*s)
		m.Discovered(at, Responses{Responded: at, Complete: true}, nil)
	}
	checkEmpty(t, m)
}

// TestChurnWithADeadLookupd is N3: pods with new addresses replace others each minute,
// and their connections end. One of two nsqlookupds is down for good, and its last
// response is still passed on. Nothing is left, not even of the addresses that the user
// removed.
func TestChurnWithADeadLookupd(t *testing.T) {
	m, now := New(usual), start
	var dead []Listing
	most := 0
	for round := range 100 {
		now = now.Add(10 * s)
		var listed []Listing
		for i := range 100 {
			listed = append(listed, Listing{fmt.Sprint(round*100 + i), now})
		}
		if round == 0 {
			dead = slices.Clone(listed)
		}
		m.Discovered(now, Responses{Listed: append(listed, dead...), Responded: now}, nil)
		for i, addr := range m.Take(now, nil) {
			switch i % 4 {
			case 0:
				m.Remove(now, addr)
			case 1:
				m.Failed(now, addr, Failure(round%4))
			default:
				m.Up(now, addr)
				m.Lost(now.Add(time.Minute-1), addr, Loss(round%2))
			}
		}
		most = max(most, len(m.nsqds)+len(m.unwanted))
	}
	if most > 1500 {
		t.Errorf("up to %d addresses are remembered, want those of ten polls and a few", most)
	}
	for range 12 {
		now = now.Add(10 * s)
		m.Discovered(now, Responses{Listed: dead, Responded: now}, nil)
	}
	checkEmpty(t, m)
}

func checkEmpty(t *testing.T, m *Machine) {
	t.Helper()
	if _, ok := m.Next(); ok || len(m.nsqds)+len(m.unwanted)+m.dials != 0 {
		t.Errorf("%d wanted and %d unwanted addresses and %d dials left", len(m.nsqds), len(m.unwanted), m.dials)
	}
	if _, ok := m.NextPoll(); ok {
		t.Error("a poll is due although nothing is lost")
	}
}
