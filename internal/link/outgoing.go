package link

import "sync"

// chunkSize is how much is written at once. It is worth a system call, and while
// the kernel copies it the next one gathers.
const chunkSize = 64 << 10

// chunks are lent to links while they have something to write: an idle link has
// none, and nothing grows by copying.
var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// outgoing are commands that wait to be written.
type outgoing struct {
	chunks [][]byte
	len    int
}

// reserve is where to append up to n bytes in one piece, at most chunkSize. What
// was appended is given to grew.
func (o *outgoing) reserve(n int) []byte {
	if last := len(o.chunks) - 1; last >= 0 && cap(o.chunks[last])-len(o.chunks[last]) >= n {
		return o.chunks[last]
	}
	chunk := chunks.Get().(*[chunkSize]byte)
	o.chunks = append(o.chunks, chunk[:0])
	return chunk[:0]
}

func (o *outgoing) commit(tail []byte) {
	last := len(o.chunks) - 1
	o.len += len(tail) - len(o.chunks[last])
	o.chunks[last] = tail
}

// appendBytes appends data of any length.
func (o *outgoing) appendBytes(data []byte) {
	for len(data) > 0 {
		tail := o.reserve(1)
		n := min(len(data), cap(tail)-len(tail))
		o.commit(append(tail, data[:n]...))
		data = data[n:]
	}
}

// takeAll gives what there is for an empty list.
func (o *outgoing) takeAll(empty [][]byte) [][]byte {
	taken := o.chunks
	o.chunks, o.len = empty, 0
	return taken
}

// releaseChunk returns a chunk that is written.
func releaseChunk(chunk []byte) { chunks.Put((*[chunkSize]byte)(chunk[:chunkSize])) }
