package link

import "sync"

// chunkSize is how much one Write sends at most. It is enough to be worth a system
// call, and while the kernel copies it the next chunk fills.
const chunkSize = 64 << 10

// chunks lends memory to links that have something to write: an idle link holds
// none, and no buffer grows by copying.
var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// outgoing holds the commands that wait to be written.
type outgoing struct {
	chunks [][]byte
	len    int // of all chunks together
}

// reserve returns the last chunk, with room for at least n more bytes. The caller
// appends up to n bytes, at most chunkSize, and gives the result to commit.
func (o *outgoing) reserve(n int) []byte {
	if last := len(o.chunks) - 1; last >= 0 && cap(o.chunks[last])-len(o.chunks[last]) >= n {
		return o.chunks[last]
	}
	chunk := chunks.Get().(*[chunkSize]byte)
	o.chunks = append(o.chunks, chunk[:0])
	return chunk[:0]
}

// commit takes back the chunk that reserve returned, with what was appended to it.
func (o *outgoing) commit(chunk []byte) {
	last := len(o.chunks) - 1
	o.len += len(chunk) - len(o.chunks[last])
	o.chunks[last] = chunk
}

// appendBytes appends data of any length.
func (o *outgoing) appendBytes(data []byte) {
	for len(data) > 0 {
		chunk := o.reserve(1)
		n := min(len(data), cap(chunk)-len(chunk))
		o.commit(append(chunk, data[:n]...))
		data = data[n:]
	}
}

// takeAll returns the chunks and goes on with empty in their place.
func (o *outgoing) takeAll(empty [][]byte) [][]byte {
	taken := o.chunks
	o.chunks, o.len = empty, 0
	return taken
}

// releaseChunk gives back a chunk that was written.
func releaseChunk(chunk []byte) { chunks.Put((*[chunkSize]byte)(chunk[:chunkSize])) }
