package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// An idle link has a buffer of idleBuffer. When a read fills the space it was
	// given, the next one gets bufferGrowth times as much, up to busyBuffer: a read
	// call costs about the same for any size.
	idleBuffer   = 1 << 10
	busyBuffer   = 64 << 10
	bufferGrowth = 8

	// unseenBody is the most memory that a body gets before any of it has arrived.
	// nsqd's default max-msg-size is the same.
	unseenBody = 1 << 20
)

// input is the read side: a buffer in which frames are parsed in place. Large bodies
// are read into memory of their own.
type input struct {
	src      io.Reader
	maxBody  int // see Config.MaxBody
	ownAbove int // see Config.OwnAbove; 0 until the handshake is over

	// noMessages says that a message is an error, ErrUnexpectedMessage, as soon as its
	// frame's header is known. It is set in the handshake, and after it if the link does
	// not subscribe.
	noMessages bool

	buf   []byte
	r, w  int           // buf[r:w] is read and not yet parsed
	want  int           // how much to read at a time
	last  int           // how much the last read brought
	brief bool          // no read may bring more than busyBuffer
	skip  int           // bytes to drop before the next frame
	large *largeMessage // the one that is being read, if any
}

// oversizeMessage is a message whose body exceeds maxBody, without its body. nextFrame
// returns it once the frame's header and the message's fixed part have arrived. The
// body is skipped.
type oversizeMessage struct {
	message wire.Message
	size    int // of the body
}

func (o *oversizeMessage) Error() string { return "message too big" }

// largeMessage is a message whose body is longer than ownAbove, and gets memory of its
// own. What the buffer has of the body is copied there; the rest is read there
// directly. That saves the receiver a copy.
type largeMessage struct {
	message wire.Message // its Body is what has arrived
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

// readOnce reads once into the body. The body's memory at most doubles at a time, like
// the buffer's, so a length that a peer only announces does not claim memory.
func (m *largeMessage) readOnce(src io.Reader, brief bool) (int, error) {
	body := m.message.Body
	if len(body) == cap(body) {
		body = append(make([]byte, 0, len(body)+min(len(body), m.size-len(body))), body...)
	}
	free := body[len(body):min(cap(body), m.size)]
	if brief {
		free = free[:min(len(free), busyBuffer)]
	}
	n, err := src.Read(free)
	m.message.Body = body[:len(body)+n]
	return n, err
}

func (in *input) init(src io.Reader, maxBody int) {
	in.src, in.maxBody = src, maxBody
	in.buf, in.want = make([]byte, idleBuffer), idleBuffer
}

// nextFrame parses the next frame in the buffer. The error is [wire.ErrShort] if the
// buffer holds no whole frame: the caller calls fill and tries again. A message that is
// not parsed in place is returned as the error, an *oversizeMessage or a *largeMessage.
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

// outsized reports whether a message is too long to be parsed in place, or unwanted.
// dataLen is the length of its frame's data.
func (in *input) outsized(dataLen int) bool {
	size := dataLen - wire.MessageDataLen(0)
	return in.noMessages || in.tooBig(size) || in.ownAbove > 0 && size > in.ownAbove
}

func (in *input) tooBig(size int) bool { return in.maxBody > 0 && size > in.maxBody }

// checkSize handles a frame that is outsized or not whole yet. It returns ErrShort if
// more must be read, and an *oversizeMessage if the body will be skipped. If the body
// gets memory of its own, it returns what finishLarge returns.
func (in *input) checkSize() error {
	b := in.buf[in.r:in.w]
	h, err := wire.ParseHeader(b)
	if err != nil {
		return err
	}
	if h.Type == wire.FrameMessage && in.noMessages {
		return fmt.Errorf("%w: %d bytes", ErrUnexpectedMessage, h.BodyLen())
	}
	fixed := wire.HeaderLen + wire.MessageDataLen(0)
	if h.Type != wire.FrameMessage || !in.outsized(h.Len) || len(b) < fixed {
		return wire.ErrShort
	}
	m, err := wire.ParseMessage(b[wire.HeaderLen:fixed])
	if err != nil {
		return err
	}
	if !m.ID.Printable() {
		return oddID(m.ID)
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
		// The next message may be as large. What the buffer gets of it must be copied,
		// so the next read is small.
		in.want = idleBuffer
	}
	return in.finishLarge()
}

// oddID returns the error for a message whose ID is not printable. It would not survive
// in a FIN: a space or a newline in it would split the command, and what follows would
// reach nsqd as a command of its own.
func oddID(id wire.ID) error { return fmt.Errorf("%w: message ID %q", wire.ErrFrame, id[:]) }

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

// readFrame reads until the buffer holds a whole frame, and returns it.
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

// fill reads once. It invalidates the frames that were returned before.
func (in *input) fill() error {
	n, err := in.readOnce()
	in.last = n
	if n > 0 {
		return nil // the next read returns the error again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (in *input) readOnce() (int, error) {
	if in.large != nil {
		return in.large.readOnce(in.src, in.brief)
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

// makeRoom makes free space after in.w. The buffer grows to in.want, and doubles when
// one unfinished frame fills it: whatever length a peer announces, memory grows only
// with the bytes that have arrived.
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

// shrink replaces an empty buffer by a small one.
func (in *input) shrink() {
	if in.r == in.w && len(in.buf) > idleBuffer {
		in.buf, in.r, in.w, in.want = make([]byte, idleBuffer), 0, 0, idleBuffer
	}
}
