package link

import "sync"

// chunkSize is the most that one Write sends. It is enough to be worth a system call,
// and the next chunk can fill while the kernel copies this one.
const chunkSize = 64 << 10

// chunks lends memory to links that have something to write. So an idle link holds
// none, and no buffer has to be copied to grow.
var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// outgoing holds the commands that wait to be written.
type outgoing struct {
	chunks  [][]byte
	len     int // of all chunks together, without what is written
	written int // how much of the first chunk is written
}

// reserve returns the last chunk, with room for at least n more bytes; n is at most
// chunkSize. The caller appends up to n bytes and passes the result to commit.
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

// takeAll returns the chunks, and how much of the first is written, and leaves empty in
// their place.
func (o *outgoing) takeAll(empty [][]byte) (taken [][]byte, written int) {
	taken, written = o.chunks, o.written
	o.chunks, o.len, o.written = empty, 0, 0
	return taken, written
}

// drop notes that n bytes of the first chunk were written.
func (o *outgoing) drop(n int) {
	o.written += n
	o.len -= n
	if o.len == 0 {
		releaseChunk(o.chunks[0])
		o.chunks[0] = nil
		o.chunks, o.written = o.chunks[:0], 0
	}
}

// releaseChunk returns a written chunk to the pool.
func releaseChunk(chunk []byte) { chunks.Put((*[chunkSize]byte)(chunk[:chunkSize])) }
