package fleet

import (
	"fmt"
	"testing"
)

// BenchmarkChurn measures 10,000 nsqds that are all down. In each round the next dial
// is due and fails, and a new address replaces an old one.
func BenchmarkChurn(b *testing.B) {
	const n = 10_000
	m := New(usual)
	now := start
	for i := range n {
		m.Add(now, fmt.Sprint(i))
	}
	for _, addr := range m.Take(now, nil) {
		m.Failed(now, addr, Unreachable)
	}
	var due []string
	next := n
	b.ReportAllocs()
	for b.Loop() {
		now, _ = m.Next()
		due = m.Take(now, due[:0])
		for _, addr := range due {
			m.Failed(now, addr, Unreachable)
		}
		m.Remove(now, fmt.Sprint(next-n))
		m.Add(now, fmt.Sprint(next))
		next++
	}
}
