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
	// maxSnappyBlock is the most that one chunk of a snappy stream holds.
	maxSnappyBlock = 64 << 10
	// snappyBlock is the most that goes into one chunk of ours. The encoder
	// keeps a buffer of that size.
	snappyBlock = 16 << 10
	// maxSpare is the largest buffer for what is compressed that is kept.
	maxSpare = 2 * chunkSize
	// compressedBuffer holds what was read and not yet decompressed. nsqd
	// writes no more at a time unless it is told to.
	compressedBuffer = 16 << 10
)

// output is where the link writes: the socket, or a layer on top of it.
type output interface {
	io.Writer
	// CloseWrite ends the stream; errors.ErrUnsupported says that the peer
	// cannot be told.
	CloseWrite() error
}

// An encoder compresses what is written. Each Write is flushed, since nsqd is
// to see it at once, and is one Write below, however many commands it holds.
type encoder struct {
	below output
	out   bytes.Buffer // compressed and not yet written
	to    interface {  // compresses into out, which cannot fail
		io.WriteCloser
		Flush() error
	}
}

func newEncoder(below output, compression string, level int) (*encoder, error) {
	e := &encoder{below: below}
	if compression == OpSnappy {
		// Without concurrency it has no goroutines.
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

// Write returns how much of p the peer may have seen, which is all of it once
// any byte left: what a part of a compressed stream tells is not known.
func (e *encoder) Write(p []byte) (int, error) {
	if _, err := e.to.Write(p); err != nil {
		return 0, err
	}
	if err := e.to.Flush(); err != nil {
		return 0, err
	}
	n, err := e.below.Write(e.out.Bytes())
	if e.out.Cap() > maxSpare || len(p) == len(wire.CmdNop+"\n") { // the latter is what an idle link writes
		e.out = bytes.Buffer{}
	}
	e.out.Reset()
	if err != nil && n == 0 {
		return 0, err
	}
	return len(p), err
}

// CloseWrite ends the compressed stream, too: the end of a deflate stream is
// part of it, and nsqd would complain of an unexpected EOF.
func (e *encoder) CloseWrite() error {
	if err := e.to.Close(); err != nil {
		return err
	}
	if e.out.Len() > 0 {
		if _, err := e.below.Write(e.out.Bytes()); err != nil {
			return err
		}
	}
	return e.below.CloseWrite()
}

// A decoder decompresses what is read.
type decoder struct {
	src  errorKeeper
	from io.Reader
}

func newDecoder(src io.Reader, compression string) *decoder {
	d := &decoder{src: errorKeeper{Reader: src}}
	in := bufio.NewReaderSize(&d.src, compressedBuffer)
	if compression == OpSnappy {
		// Its buffer starts small and grows with the chunks that come.
		d.from = s2.NewReader(in, s2.ReaderMaxBlockSize(maxSnappyBlock), s2.ReaderAllocBlock(1<<10))
	} else {
		d.from = flate.NewReader(in)
	}
	return d
}

// Read returns the error of the source itself, if it failed: a decompressor
// takes the loss of the connection for a fault of the stream.
func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.from.Read(p)
	if err != nil && d.src.err != nil {
		err = d.src.err
	}
	return n, err
}

// errorKeeper is a reader that remembers its error.
type errorKeeper struct {
	io.Reader
	err error
}

func (f *errorKeeper) Read(p []byte) (n int, err error) {
	n, err = f.Reader.Read(p)
	f.err = err
	return n, err
}
