package nsq

import (
	"reflect"
	"sync"
	"sync/atomic"
)

const (
	// recycledSlab is how many bytes of bodies share a fate with recycle_bodies.
	recycledSlab = 64 << 10
	// leastRecycled is how many there must be: a slab for a few bytes that wait
	// for a slow handler would take far more memory than it saves.
	leastRecycled = 4 << 10
)

// bodies is memory for the bodies of messages that arrived together. It is used
// again when all of them are answered. Should one never be, its bodies are left
// to the garbage collector.
type bodies struct {
	open atomic.Int32 // messages that are not answered yet
	mem  [recycledSlab]byte
}

var recycled = sync.Pool{New: func() any { return new(bodies) }}

// done is told that a message was answered.
func (b *bodies) done(body []byte) {
	if poisoning && b.has(body) { // a handler may have put a body of its own there
		for i := range body {
			body[i] = poison
		}
	}
	if b.open.Add(-1) == 0 {
		recycled.Put(b)
	}
}

// has tells whether a body is part of the memory.
func (b *bodies) has(body []byte) bool {
	return reflect.ValueOf(body).Pointer()-reflect.ValueOf(b.mem[:]).Pointer() < recycledSlab
}

// poison is what the body of an answered message is full of in programs that look
// for misuse.
const poison = 0xDB
