package link

import (
	"bufio"
	"bytes"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/s2"

	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// maxSnappyBlock is the most that one chunk of a snappy stream may hold.
	maxSnappyBlock = 64 << 10
	// snappyBlock is the most that the encoder puts into one chunk. The encoder keeps
	// a buffer of that size.
	snappyBlock = 16 << 10
	// maxSpare is the size above which an encoder drops its output buffer after use.
	maxSpare = 2 * chunkSize
	// compressedBuffer is the size of the buffer from which a decoder reads. By
	// default nsqd writes no more at a time.
	compressedBuffer = 16 << 10
)

// output is where the link writes: the socket, or a layer above it.
type output interface {
	io.Writer
	// CloseWrite ends the stream. The error is errors.ErrUnsupported if the
	// transport cannot tell the peer.
	CloseWrite() error
}

// An encoder compresses what is written. It flushes at the end of each Write, so that
// nsqd sees the commands at once. However many there are, it calls Write on the layer
// below once.
type encoder struct {
	below output
	out   bytes.Buffer // compressed and not yet written; empty between calls
	to    interface {  // compresses into out; a write to out cannot fail
		io.WriteCloser
		Flush() error
	}
}

func newEncoder(below output, compression string, level int) (*encoder, error) {
	e := &encoder{below: below}
	if compression == OpSnappy {
		// With a concurrency of 1 the writer starts no goroutines.
		e.to = s2.NewWriter(&e.out, s2.WriterSnappyCompat(), s2.WriterConcurrency(1), s2.WriterBlockSize(snappyBlock))
		return e, nil
	}
	if level <= 0 {
		level = flate.DefaultCompression
	}
	w, err := flate.NewWriter(&e.out, level)
	e.to = w
	return e, err
}

// Write returns how much of p the peer may have seen: all of p as soon as any byte was
// sent, since it is unknown how much a part of a compressed stream reveals.
func (e *encoder) Write(p []byte) (int, error) {
	if _, err := e.to.Write(p); err != nil {
		return 0, err
	}
	if err := e.to.Flush(); err != nil {
		return 0, err
	}
	n, err := e.below.Write(e.out.Bytes())
	idle := len(p) == len(wire.CmdNop+"\n") // an idle link writes single NOPs
	if idle || e.out.Cap() > maxSpare {
		e.out = bytes.Buffer{}
	}
	e.out.Reset()
	if err != nil && n == 0 {
		return 0, err
	}
	return len(p), err
}

// CloseWrite ends the compressed stream, so that nsqd reads an EOF. The end marker of a
// deflate stream is one, and is the last that the link sends:
//
//  1. nsqd decompresses the marker, reads no more, and closes its socket.
//  2. If TLS sent a close_notify after the marker, nobody would read it, and nsqd's kernel
//     would reset the connection.
//  3. The link would report the clean end as a lost connection.
//
// A snappy stream has no marker.
func (e *encoder) CloseWrite() error {
	if err := e.to.Close(); err != nil {
		return err
	}
	if e.out.Len() == 0 {
		return e.below.CloseWrite()
	}
	_, err := e.below.Write(e.out.Bytes())
	return err
}

// A decoder decompresses what is read.
type decoder struct {
	src  errorKeeper
	from io.Reader // decompresses what it reads from src
}

func newDecoder(src io.Reader, compression string) *decoder {
	d := &decoder{src: errorKeeper{Reader: src}}
	in := bufio.NewReaderSize(&d.src, compressedBuffer)
	if compression == OpSnappy {
		// The reader's buffer starts small and grows with the chunks that come.
		d.from = s2.NewReader(in, s2.ReaderMaxBlockSize(maxSnappyBlock), s2.ReaderAllocBlock(1<<10))
	} else {
		d.from = flate.NewReader(in)
	}
	return d
}

// Read returns the source's own error if the source failed: a decompressor would report
// the loss of the connection as a corrupt stream.
func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.from.Read(p)
	if err != nil && d.src.err != nil {
		err = d.src.err
	}
	return n, err
}

// errorKeeper is a reader that keeps the error of its last Read.
type errorKeeper struct {
	io.Reader
	err error
}

func (k *errorKeeper) Read(p []byte) (n int, err error) {
	n, err = k.Reader.Read(p)
	k.err = err
	return n, err
}
