package control

import (
	"math/rand/v2"
	"testing"
)

// byteSource is a random source whose high bits come from the bytes of a fuzz input.
// The low bits come from a generator: with constant bits, rand could draw forever.
type byteSource struct {
	data []byte
	low  *rand.PCG
}

func (s *byteSource) Uint64() uint64 {
	u := s.low.Uint64()
	if len(s.data) > 0 {
		u = u>>8 | uint64(s.data[0])<<56
		s.data = s.data[1:]
	}
	return u
}

// FuzzLives lets the fuzzer choose the events of a walk.
func FuzzLives(f *testing.F) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 2))
		data := make([]byte, 64<<seed%512)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &byteSource{data, rand.NewPCG(1, 1)}
		w := newWalker(t, rand.New(s), false)
		for len(s.data) > 0 {
			w.step()
		}
		w.finish()
	})
}
