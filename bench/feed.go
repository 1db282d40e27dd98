package main

import (
	"bytes"
	"compress/flate"
	"fmt"
	"math/rand/v2"

	"github.com/klauspost/compress/snappy"

	"github.com/rdyhq/nsq/internal/wire"
)

// feed is what a fake sends, encoded beforehand: a ring of messages of one size.
type feed struct {
	ok, closeWait []byte // replies

	frames   []byte // for a transport without compression
	frameLen int    // length of each frame
	count    int    // number of frames

	segments []segment // for a transport with compression; the longest first
}

// segment is a compressed piece of a stream. It can be sent at any point of the
// stream.
type segment struct {
	messages int
	data     []byte
}

// ringBytes is the approximate length of the ring: more than fits into a client's
// socket buffers, and little enough for the CPU's caches.
const ringBytes = 2 << 20

func newFeed(body int, transport string) *feed {
	f := &feed{
		ok:        okFrame,
		closeWait: wire.AppendFrame(nil, wire.FrameResponse, []byte(wire.CloseWait)),
		count:     max(ringBytes/max(body, 1), 64),
	}
	for i := range f.count {
		f.frames = wire.AppendMessage(f.frames, &wire.Message{ID: wireID(i), Attempts: 1, Timestamp: 1, Body: text(body)})
	}
	f.frameLen = len(f.frames) / f.count
	compress := map[string]func([]byte) []byte{"snappy": compressSnappy, "deflate": compressDeflate}[transport]
	if compress == nil {
		return f
	}
	f.ok, f.closeWait = compress(f.ok), compress(f.closeWait)
	for _, n := range []int{64, 16, 1} {
		f.segments = append(f.segments, segment{n, compress(f.frames[:n*f.frameLen])})
	}
	return f
}

func (f *feed) len() int { return f.count }

// atOnce is how many messages are sent at once: no more of large ones than what fits into
// ringBytes, since a real nsqd sends them one by one and sees a lower RDY in between.
func (f *feed) atOnce() int { return max(ringBytes/f.frameLen, 1) }

// cut returns the encoding of up to n messages, from index at on, and their
// number.
func (f *feed) cut(at, n int) ([]byte, int) {
	for _, s := range f.segments {
		if s.messages <= n {
			return s.data, s.messages
		}
	}
	return f.frames[at*f.frameLen : (at+n)*f.frameLen], n
}

func compressSnappy(b []byte) []byte {
	var out bytes.Buffer
	w := snappy.NewBufferedWriter(&out)
	_, _ = w.Write(b) // into memory
	_ = w.Flush()
	return out.Bytes()
}

func compressDeflate(b []byte) []byte {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 6)
	if err != nil {
		panic(err) // the level is a constant
	}
	_, _ = w.Write(b) // into memory
	_ = w.Flush()
	return out.Bytes()
}

func wireID(i int) wire.ID { return wire.ID([]byte(fmt.Sprintf("%016x", i))) }

// text returns a body that compresses about as well as JSON with identifiers.
func text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[rand.IntN(16)] // #nosec G404 -- filling
	}
	return b
}
