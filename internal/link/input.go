package link

import (
	"bytes"
	"errors"
	"io"

	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// An idle link keeps a small buffer. One that a read filled gets a larger
	// one, since a read call costs the same for either.
	idleBuffer = 1 << 10
	busyBuffer = 64 << 10
	// bufferGrowth is by how much it is larger.
	bufferGrowth = 8

	// unseenBody is how much memory a body gets for its announcement alone.
	// nsqd's default of max-msg-size is the same.
	unseenBody = 1 << 20
)

// input is the read side: a buffer that frames are parsed in, in place, except
// for large bodies.
type input struct {
	src      io.Reader
	maxBody  int
	ownAbove int // see Config.OwnAbove; 0 until the handshake is over
	buf      []byte
	r, w     int    // buf[r:w] is read and not yet parsed
	want     int    // how much to read at a time
	skip     int    // bytes to drop before the next frame
	large    *large // what is read now, if it is one
}

// oversize is a message whose body exceeds maxBody. It is known from the
// frame's header and the first bytes of its data; the rest is skipped.
type oversize struct {
	message wire.Message
	size    int
}

func (o *oversize) Error() string { return "message too big" }

// large is a message whose body is longer than ownAbove. It is copied once less:
// what the buffer has of it is copied to memory of its own, the rest is read there.
type large struct {
	message wire.Message // its Body is what has come
	size    int          // of the body
}

func (l *large) Error() string { return "message with a body in memory of its own" }

func newLarge(m wire.Message, size int) *large {
	m.Body = make([]byte, 0, min(size, unseenBody))
	return &large{m, size}
}

// copyFrom copies of b what belongs to the body, and returns how much that is.
func (l *large) copyFrom(b []byte) int {
	n := min(len(b), l.size-len(l.message.Body))
	l.message.Body = append(l.message.Body, b[:n]...)
	return n
}

// readOnce reads once. As with the buffer, memory follows the bytes that came.
func (l *large) readOnce(src io.Reader) (int, error) {
	body := l.message.Body
	if len(body) == cap(body) {
		body = append(make([]byte, 0, len(body)+min(len(body), l.size-len(body))), body...)
	}
	n, err := src.Read(body[len(body):min(cap(body), l.size)])
	l.message.Body = body[:len(body)+n]
	return n, err
}

func (in *input) init(src io.Reader, maxBody int) {
	in.src, in.maxBody = src, maxBody
	in.buf, in.want = make([]byte, idleBuffer), idleBuffer
}

// nextFrame parses the nextFrame frame out of the buffer. [wire.ErrShort] says that
// there is none whole, and that fill must be called. A message that is not taken,
// or whose body is not in the buffer, comes as an *oversize or a *large.
func (in *input) nextFrame() (wire.Frame, error) {
	if in.skip > 0 {
		n := min(in.skip, in.w-in.r)
		in.r += n
		in.skip -= n
		if in.skip > 0 {
			return wire.Frame{}, wire.ErrShort
		}
	}
	if in.large != nil {
		return wire.Frame{}, in.finishLarge()
	}
	f, n, err := wire.ParseFrame(in.buf[in.r:in.w])
	switch {
	case err == nil && (f.Type != wire.FrameMessage || !in.outsized(len(f.Data))):
		in.r += n
	case err == nil || errors.Is(err, wire.ErrShort):
		return f, in.checkSize()
	}
	return f, err
}

// outsized tells whether a message's size makes it one that is not parsed in
// place.
func (in *input) outsized(dataLen int) bool {
	size := dataLen - wire.MessageDataLen(0)
	return in.tooBig(size) || in.ownAbove > 0 && size > in.ownAbove
}

func (in *input) tooBig(size int) bool { return in.maxBody > 0 && size > in.maxBody }

// checkSize looks at a frame that is not whole yet, or that is special. It
// returns ErrShort to have it read on, an *oversize to pass it over, and what
// completed says of one that is read elsewhere.
func (in *input) checkSize() error {
	b := in.buf[in.r:in.w]
	h, err := wire.ParseHeader(b)
	if err != nil {
		return err
	}
	fixed := wire.HeaderLen + wire.MessageDataLen(0)
	if h.Type != wire.FrameMessage || !in.outsized(h.Len) || len(b) < fixed {
		return wire.ErrShort
	}
	m, err := wire.ParseMessage(b[wire.HeaderLen:fixed])
	if err != nil {
		return err
	}
	in.r += fixed
	if in.tooBig(h.BodyLen()) {
		m.Body = nil
		in.skip = h.BodyLen()
		return &oversize{message: m, size: h.BodyLen()}
	}
	in.large = newLarge(m, h.BodyLen())
	in.r += in.large.copyFrom(in.buf[in.r:in.w])
	if h.BodyLen() >= busyBuffer {
		// The next message may be as large. Of that the buffer is to get little.
		in.want = idleBuffer
	}
	return in.finishLarge()
}

// finishLarge returns the large message that is being read, or ErrShort as long as
// it is not whole.
func (in *input) finishLarge() error {
	l := in.large
	if len(l.message.Body) < l.size {
		return wire.ErrShort
	}
	in.large = nil
	return l
}

// takeUnparsed gives away what was read and not parsed.
func (in *input) takeUnparsed() []byte {
	ahead := bytes.Clone(in.buf[in.r:in.w])
	in.r, in.w = 0, 0
	return ahead
}

// readOnce reads until there is a whole readOnce.
func (in *input) readFrame() (wire.Frame, error) {
	for {
		f, err := in.nextFrame()
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
	n, err := in.readOnce()
	if n > 0 {
		return nil // an error, if any, comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (in *input) readOnce() (int, error) {
	if in.large != nil {
		return in.large.readOnce(in.src)
	}
	in.makeRoom()
	room := in.buf[in.w:min(in.w+in.want, len(in.buf))]
	n, err := in.src.Read(room)
	in.w += n
	if n == len(room) {
		in.want = min(in.want*bufferGrowth, busyBuffer)
	}
	return n, err
}

// makeRoom leaves free space behind in.w. The buffer grows when reads fill what
// they are given, or when it is full of one unfinished frame, and then by
// doubling: whatever length a peer announces, memory follows the bytes that came.
func (in *input) makeRoom() {
	rest := in.buf[in.r:in.w]
	size := max(len(in.buf), in.want)
	switch {
	case len(rest) == size:
		size *= 2
	case len(rest) == 0 && size > busyBuffer:
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

// shrink gives back a large buffer that holds nothing. The reader calls it when
// a heartbeat was all that came.
func (in *input) shrink() {
	if in.r == in.w && len(in.buf) > idleBuffer {
		in.buf, in.r, in.w, in.want = make([]byte, idleBuffer), 0, 0, idleBuffer
	}
}
