package link

import (
	"bytes"
	"errors"
	"io"

	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// An idle link has a buffer of idleBuffer. Whenever a read fills what it was
	// given, the next one is given bufferGrowth times as much, up to busyBuffer: a
	// read call costs the same for either.
	idleBuffer   = 1 << 10
	busyBuffer   = 64 << 10
	bufferGrowth = 8

	// unseenBody is the most memory that a body gets before any of it came. nsqd's
	// default of max-msg-size is the same.
	unseenBody = 1 << 20
)

// input is the read side: a buffer in which frames are parsed in place. Large bodies
// are read into memory of their own.
type input struct {
	src      io.Reader
	maxBody  int // see Config.MaxBody
	ownAbove int // see Config.OwnAbove; 0 until the handshake is over
	buf      []byte
	r, w     int           // buf[r:w] is read and not yet parsed
	want     int           // how much to read at a time
	skip     int           // bytes to drop before the next frame
	large    *largeMessage // the one that is being read, if any
}

// oversizeMessage is a message whose body exceeds maxBody, without its body. nextFrame
// returns it when the frame's header and the message's fixed part have come. The body
// is skipped.
type oversizeMessage struct {
	message wire.Message
	size    int // of the body
}

func (o *oversizeMessage) Error() string { return "message too big" }

// largeMessage is a message whose body is longer than ownAbove. What the buffer has of
// the body is copied to memory of its own, and the rest is read there: that saves the
// receiver a copy.
type largeMessage struct {
	message wire.Message // its Body is what has come
	size    int          // of the whole body
}

func (m *largeMessage) Error() string { return "message with a body in memory of its own" }

func newLargeMessage(m wire.Message, size int) *largeMessage {
	m.Body = make([]byte, 0, min(size, unseenBody))
	return &largeMessage{m, size}
}

// copyFrom copies what belongs to the body from the front of b, and returns how much
// that is.
func (m *largeMessage) copyFrom(b []byte) int {
	n := min(len(b), m.size-len(m.message.Body))
	m.message.Body = append(m.message.Body, b[:n]...)
	return n
}

// readOnce reads once into the body. Its memory at most doubles at a time, as the
// buffer's does, and so follows the bytes that came.
func (m *largeMessage) readOnce(src io.Reader) (int, error) {
	body := m.message.Body
	if len(body) == cap(body) {
		body = append(make([]byte, 0, len(body)+min(len(body), m.size-len(body))), body...)
	}
	n, err := src.Read(body[len(body):min(cap(body), m.size)])
	m.message.Body = body[:len(body)+n]
	return n, err
}

func (in *input) init(src io.Reader, maxBody int) {
	in.src, in.maxBody = src, maxBody
	in.buf, in.want = make([]byte, idleBuffer), idleBuffer
}

// nextFrame parses the next frame in the buffer. The error is [wire.ErrShort] if no
// whole frame is there: the caller calls fill and tries again. A message that is not
// parsed in place is returned as an error, an *oversizeMessage or a *largeMessage.
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

// outsized reports whether a message with that much data is not parsed in place.
func (in *input) outsized(dataLen int) bool {
	size := dataLen - wire.MessageDataLen(0)
	return in.tooBig(size) || in.ownAbove > 0 && size > in.ownAbove
}

func (in *input) tooBig(size int) bool { return in.maxBody > 0 && size > in.maxBody }

// checkSize looks at a frame that is outsized or not whole yet. It returns ErrShort if
// more is to be read, an *oversizeMessage to skip the body, and what finishLarge says
// of a large one.
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
		return &oversizeMessage{message: m, size: h.BodyLen()}
	}
	in.large = newLargeMessage(m, h.BodyLen())
	in.r += in.large.copyFrom(in.buf[in.r:in.w])
	if h.BodyLen() >= busyBuffer {
		// The next message may be as large. What the buffer gets of it must be copied, so
		// the next read is small.
		in.want = idleBuffer
	}
	return in.finishLarge()
}

// finishLarge returns the large message if it is whole, and otherwise ErrShort.
func (in *input) finishLarge() error {
	m := in.large
	if len(m.message.Body) < m.size {
		return wire.ErrShort
	}
	in.large = nil
	return m
}

// takeUnparsed removes what was read and not parsed, and returns a copy.
func (in *input) takeUnparsed() []byte {
	unparsed := bytes.Clone(in.buf[in.r:in.w])
	in.r, in.w = 0, 0
	return unparsed
}

// readFrame reads until a whole frame is there, and returns it.
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

// fill reads once. Frames that were returned before are invalid afterwards.
func (in *input) fill() error {
	n, err := in.readOnce()
	if n > 0 {
		return nil // an error comes again with the next read
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
	free := in.buf[in.w:min(in.w+in.want, len(in.buf))]
	n, err := in.src.Read(free)
	in.w += n
	if n == len(free) {
		in.want = min(in.want*bufferGrowth, busyBuffer)
	}
	return n, err
}

// makeRoom leaves free space behind in.w. The buffer grows to what reads want, and
// doubles when it is full with one unfinished frame: whatever length a peer announces,
// memory follows the bytes that came.
func (in *input) makeRoom() {
	unparsed := in.buf[in.r:in.w]
	size := max(len(in.buf), in.want)
	switch {
	case len(unparsed) == size:
		size *= 2
	case len(unparsed) == 0 && size > busyBuffer:
		size = busyBuffer
	}
	if size != len(in.buf) {
		buf := make([]byte, size)
		copy(buf, unparsed)
		in.buf = buf
	} else if in.r > 0 {
		copy(in.buf, unparsed)
	}
	in.r, in.w = 0, len(unparsed)
}

// shrink returns to a small buffer if the buffer holds nothing.
func (in *input) shrink() {
	if in.r == in.w && len(in.buf) > idleBuffer {
		in.buf, in.r, in.w, in.want = make([]byte, idleBuffer), 0, 0, idleBuffer
	}
}
