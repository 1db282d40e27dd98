package link

import (
	"bytes"
	"errors"
	"io"

	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// An idle link keeps a small buffer. One that a read filled gets a large
	// one, since a read call costs the same for either.
	idleBuffer = 4 << 10
	busyBuffer = 64 << 10
)

// input is the read side: a buffer that frames are parsed in, in place.
type input struct {
	src     io.Reader
	maxBody int
	buf     []byte
	r, w    int // buf[r:w] is read and not yet parsed
	skip    int // bytes to drop before the next frame
	full    bool
}

// oversize is a message whose body exceeds maxBody. It is known from the
// frame's header and the first bytes of its data; the rest is skipped.
type oversize struct {
	message wire.Message
	size    int
}

func (o *oversize) Error() string { return "message too big" }

func (in *input) init(src io.Reader, maxBody int) {
	in.src, in.maxBody, in.buf = src, maxBody, make([]byte, idleBuffer)
}

// next parses the next frame out of the buffer. [wire.ErrShort] says that
// there is none whole, and that fill must be called.
func (in *input) next() (wire.Frame, error) {
	if in.skip > 0 {
		n := min(in.skip, in.w-in.r)
		in.r += n
		in.skip -= n
		if in.skip > 0 {
			return wire.Frame{}, wire.ErrShort
		}
	}
	f, n, err := wire.ParseFrame(in.buf[in.r:in.w])
	switch {
	case err == nil && (f.Type != wire.FrameMessage || !in.tooBig(len(f.Data))):
		in.r += n
	case err == nil || errors.Is(err, wire.ErrShort):
		return f, in.checkSize()
	}
	return f, err
}

func (in *input) tooBig(dataLen int) bool {
	return in.maxBody > 0 && dataLen-wire.MessageDataLen(0) > in.maxBody
}

// checkSize looks at a frame that is not whole yet, or whole and too big. It
// returns ErrShort to have it read on, and an *oversize to pass it over.
func (in *input) checkSize() error {
	b := in.buf[in.r:in.w]
	h, err := wire.ParseHeader(b)
	if err != nil {
		return err
	}
	fixed := wire.HeaderLen + wire.MessageDataLen(0)
	if h.Type != wire.FrameMessage || !in.tooBig(h.Len) || len(b) < fixed {
		return wire.ErrShort
	}
	m, err := wire.ParseMessage(b[wire.HeaderLen:fixed])
	if err != nil {
		return err
	}
	m.Body = nil
	in.r += fixed
	in.skip = h.BodyLen()
	return &oversize{message: m, size: h.BodyLen()}
}

// takeAhead gives away what was read and not parsed.
func (in *input) takeAhead() []byte {
	ahead := bytes.Clone(in.buf[in.r:in.w])
	in.r, in.w, in.full = 0, 0, false
	return ahead
}

// frame reads until there is a whole frame.
func (in *input) frame() (wire.Frame, error) {
	for {
		f, err := in.next()
		if !errors.Is(err, wire.ErrShort) {
			return f, err
		}
		if err := in.fill(); err != nil {
			return wire.Frame{}, err
		}
	}
}

// fill reads once. Frames returned before are invalid afterwards.
func (in *input) fill() error {
	in.makeRoom()
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	in.full = in.w == len(in.buf)
	if n > 0 {
		return nil // an error, if any, comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// makeRoom leaves free space behind in.w. The buffer grows only when it is
// full of one unfinished frame, and then by doubling: whatever length a peer
// announces, memory follows the bytes that came.
func (in *input) makeRoom() {
	rest := in.buf[in.r:in.w]
	size := len(in.buf)
	switch {
	case len(rest) == size:
		size *= 2
	case len(rest) == 0 && size > busyBuffer:
		size = busyBuffer
	case in.full && size < busyBuffer:
		size = busyBuffer
	}
	if size != len(in.buf) {
		buf := make([]byte, size)
		copy(buf, rest)
		in.buf = buf
	} else if in.r > 0 {
		copy(in.buf, rest)
	}
	in.r, in.w = 0, len(rest)
}

// rest gives back a large buffer that holds nothing. The reader calls it when
// a heartbeat was all that came.
func (in *input) rest() {
	if in.r == in.w && len(in.buf) > idleBuffer {
		in.buf, in.r, in.w, in.full = make([]byte, idleBuffer), 0, 0, false
	}
}
