package nsq

import (
	"reflect"
	"sync"
	"sync/atomic"
)

const (
	// recycledSlab is the largest number of bytes of bodies that, with recycle_bodies,
	// share memory and are recycled together.
	recycledSlab = 64 << 10
	// leastRecycled is how many bytes of bodies must arrive together to be recycled.
	// If fewer waited for a slow handler, they would hold a whole slab, far more
	// memory than recycling saves.
	leastRecycled = 4 << 10
)

// bodies is memory for the bodies of messages that arrived together. When the last
// of these messages is finished or requeued, the memory goes back to recycled. If
// one never is, the memory is left to the garbage collector.
type bodies struct {
	open  atomic.Int32 // messages not yet finished or requeued
	extra messageExtra // of these messages
	mem   [recycledSlab]byte
}

var recycled = sync.Pool{New: func() any { return newBodies() }}

func newBodies() *bodies {
	b := new(bodies)
	b.extra.bodies = b
	return b
}

// release records that the message with this body was finished or requeued. The last
// call recycles the memory.
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

// poison overwrites released bodies, if poisoning is on.
const poison = 0xDB
