package nsq

import (
	"reflect"
	"sync"
	"sync/atomic"
)

const (
	// recycledSlab is how many bytes of bodies, at most, share memory and are
	// released together with recycle_bodies.
	recycledSlab = 64 << 10
	// leastRecycled is how many bytes of bodies must arrive together to be
	// recycled. Fewer bytes, waiting for a slow handler, would hold a whole slab,
	// which is far more memory than recycling saves.
	leastRecycled = 4 << 10
)

// bodies is memory for the bodies of messages that arrived together. When the last
// of these messages is finished or requeued, the memory goes back to recycled. If
// one never is, the memory is left to the garbage collector.
type bodies struct {
	open atomic.Int32 // messages not yet finished or requeued
	mem  [recycledSlab]byte
}

var recycled = sync.Pool{New: func() any { return new(bodies) }}

// release records that the message with this body was finished or requeued.
func (b *bodies) release(body []byte) {
	if poisoning && b.contains(body) { // the handler may have set Body to other memory
		for i := range body {
			body[i] = poison
		}
	}
	if b.open.Add(-1) == 0 {
		recycled.Put(b)
	}
}

// contains reports whether body is part of b's memory.
func (b *bodies) contains(body []byte) bool {
	return reflect.ValueOf(body).Pointer()-reflect.ValueOf(b.mem[:]).Pointer() < recycledSlab
}

// poison fills released bodies in programs that look for misuse: see poisoning.
const poison = 0xDB
