package fleet

import (
	"fmt"
	"testing"
	"time"
)

// FuzzEvents feeds any events in any order, sensible or not.
func FuzzEvents(f *testing.F) {
	f.Add([]byte{0, 5, 1, 5, 2, 6, 7, 3, 4})
	f.Add([]byte{7, 0x17, 0x27, 0x47, 0x47, 0x47, 0x11, 5, 0x47, 0x67, 2, 4})
	f.Add([]byte{0x10, 0x20, 5, 0x14, 0x15, 0x12, 0x13, 0x11, 5, 6})
	f.Fuzz(func(t *testing.T, events []byte) {
		m := New(usual)
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
				m.Failed(now, addr)
			case 4:
				m.Lost(now, addr)
			case 5:
				m.Refused(now, addr)
			case 7:
				m.Discovered(now, []string{addr, "1"}, e&16 == 0, nil)
			case 6:
				now = now.Add(time.Duration(e) * 100 * ms)
			}
			seen := map[string]bool{}
			for _, a := range m.Take(now, nil) {
				if seen[a] || m.nsqds[a] == nil {
					t.Fatalf("dial %s", a)
				}
				seen[a] = true
			}
			if due, ok := m.Next(); ok && !due.After(now) {
				t.Fatalf("due %v ago, and not taken", now.Sub(due))
			}
		}
	})
}
