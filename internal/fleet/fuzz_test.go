package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// FuzzEvents feeds any events in any order, sensible or not. In every byte the low
// three bits are an event and the high four the address.
func FuzzEvents(f *testing.F) {
	f.Add([]byte{0, 5, 1, 5, 2, 6, 7, 3, 4})
	f.Add([]byte{7, 0x17, 0x27, 0x47, 0x47, 0x47, 0x11, 5, 0x47, 0x67, 2, 4})
	f.Add([]byte{0x10, 0x20, 5, 0x14, 0x15, 0x12, 0x13, 0x11, 5, 6})
	f.Fuzz(func(t *testing.T, events []byte) { feed(t, usual, events) })
}

// TestAnyOrder feeds random events, in orders that the run loop never produces: the
// result of no dial, the loss of no connection, a connection that comes up twice.
func TestAnyOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 3))
	cfg := usual
	for range 500 {
		cfg.MaxDials = 1 + rnd.IntN(4)
		events := make([]byte, 200)
		for i := range events {
			events[i] = byte(rnd.Uint32())
		}
		feed(t, cfg, events)
	}
}

// feed plays events and checks after each what must hold in any order.
func feed(t *testing.T, cfg Config, events []byte) {
	m := New(cfg)
	now := start
	for _, e := range events {
		addr := fmt.Sprint(e >> 4)
		switch e & 7 {
		case 0:
			m.Add(now, addr)
		case 1:
			m.Remove(now, addr)
		case 2:
			m.Up(now, addr)
		case 3:
			m.Failed(now, addr, Failure(e>>4&3))
		case 4:
			m.Lost(now, addr, Loss(e>>4&1))
		case 5:
			m.Poll(now)
		case 6:
			now = now.Add(time.Duration(e) * 100 * ms)
		default:
			w := Responses{
				Listed:    []Listing{{addr, now}, {"1", now.Add(-time.Duration(e) * s)}},
				Responded: now, Complete: e&16 == 0, Pending: e&32 == 0, None: e == 0xff,
			}
			if e&64 == 0 {
				w.Listed, w.Responded, w.AllFailed = nil, time.Time{}, now
			}
			m.Discovered(now, w, nil)
		}
		for _, a := range m.Take(now, nil) {
			if state, _, ok := m.Look(a); !ok || state != Dialling {
				t.Fatalf("dial of %s, which is not Dialling: state %d, wanted %v", a, state, ok)
			}
		}
		before := []string{"before"}
		if again := m.Take(now, before); !slices.Equal(again, before) {
			t.Fatalf("Take again returns %v", again)
		}
		dials, waiting := 0, 0
		for _, n := range m.nsqds {
			switch n.state {
			case Dialling:
				dials++
			case Waiting:
				if m.allowed(n) {
					waiting++
				} else if !n.listed {
					t.Fatalf("%s is neither listed nor may be dialled", n.addr)
				}
			case Connected:
			}
		}
		if dials != m.dials || dials > cfg.MaxDials {
			t.Fatalf("%d dials under way, %d counted, at most %d wanted", dials, m.dials, cfg.MaxDials)
		}
		checkQueues(t, m)
		due, ok := m.Next()
		if poll, ok := m.NextPoll(); ok && m.Poll(now) && !m.pollAt.IsZero() && !m.pollAt.After(now) {
			t.Fatalf("a poll was due at %v and is so again", poll)
		}
		if ok != (waiting > 0 && dials < cfg.MaxDials) || ok && !due.After(now) {
			t.Fatalf("next dial in %v, %v, with %d addresses waiting and %d dials", due.Sub(now), ok, waiting, dials)
		}
	}
}

// checkQueues compares what place maintains with what it should.
func checkQueues(t *testing.T, m *Machine) {
	t.Helper()
	lost := 0
	for _, n := range m.nsqds {
		var want *dialQueue
		switch {
		case n.state != Waiting || !m.allowed(n):
		case n.hung:
			want = &m.hung
		default:
			want = &m.ready
		}
		if n.queue != want || want != nil && (*want)[n.index] != n {
			t.Fatalf("%+v is in the wrong queue", n)
		}
		if n.state == Waiting && n.listed && !n.parted.IsZero() {
			lost++
			if n.trouble.After(m.lastLoss) {
				t.Fatalf("the last loss was at %v: %+v", m.lastLoss, n)
			}
		}
	}
	if lost != m.lost {
		t.Fatalf("%d nsqds are lost, %d counted", lost, m.lost)
	}
	for _, q := range []dialQueue{m.ready, m.hung} {
		for i := range q {
			if m.nsqds[q[i].addr] != q[i] || q.Less(i, (i-1)/2) {
				t.Fatalf("queue out of order: %+v", q[i])
			}
		}
	}
}
