package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The magic is the four bytes that open a connection, before the first command.
// A client of nsqd writes V2; nsqd, as a client of nsqlookupd, writes V1.
const (
	MagicV1 = "  V1"
	MagicV2 = "  V2"
)

// The data of response frames, when it is not JSON.
const (
	OK        = "OK"
	CloseWait = "CLOSE_WAIT"
	Heartbeat = "_heartbeat_"
)

// FrameType is the kind of data in a frame from nsqd.
type FrameType int32

// The frame types of NSQ's protocol.
const (
	FrameResponse FrameType = 0
	FrameError    FrameType = 1
	FrameMessage  FrameType = 2
)

const (
	// HeaderLen is the length of a frame's header: size and type, 4 bytes each.
	HeaderLen = 8
	// MaxControl is the longest data of a response or error frame, in bytes, that
	// [ParseHeader] accepts. nsqd usually sends a few hundred bytes.
	MaxControl = 64 << 10

	httpSize = 0x48545450 // "HTTP", read as the size of a frame
	maxSize  = 1<<31 - 1
)

var (
	// ErrShort means that the input ends before the frame or command does.
	ErrShort = errors.New("wire: more bytes needed")
	// ErrHTTP means that the peer speaks HTTP, as nsqd does on its HTTP port.
	ErrHTTP = errors.New("wire: peer speaks HTTP, an nsqd TCP address is required")
	// ErrFrame means that the bytes are not a frame of the NSQ protocol.
	ErrFrame = errors.New("wire: malformed frame")
)

// A Header is the first eight bytes of a frame, decoded and checked.
type Header struct {
	Type FrameType
	Len  int // length of the data after the header
}

// A Frame is one frame from nsqd. Data aliases the parsed input.
type Frame struct {
	Type FrameType
	Data []byte
}

// IsHeartbeat reports whether the frame is a heartbeat, which asks for a NOP.
func (f Frame) IsHeartbeat() bool {
	return f.Type == FrameResponse && string(f.Data) == Heartbeat
}

// ParseHeader reads the header at the front of b. It refuses what nsqd never
// sends: an unknown type, a response or an error over [MaxControl], a message
// shorter than its fixed part, and HTTP.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < 4 {
		return Header{}, ErrShort
	}
	size := binary.BigEndian.Uint32(b)
	switch {
	case size == httpSize:
		return Header{}, ErrHTTP
	case size < 4 || size > maxSize:
		return Header{}, fmt.Errorf("%w: size %d", ErrFrame, size)
	case len(b) < HeaderLen:
		return Header{}, ErrShort
	}
	// size was checked above, so it fits an int.
	h := Header{Type: FrameType(binary.BigEndian.Uint32(b[4:])), Len: int(size) - 4}
	switch h.Type {
	case FrameResponse, FrameError:
		if h.Len > MaxControl {
			return Header{}, fmt.Errorf("%w: control frame of %d bytes", ErrFrame, h.Len)
		}
	case FrameMessage:
		if h.Len < messageHeaderLen {
			return Header{}, fmt.Errorf("%w: message of %d bytes", ErrFrame, h.Len)
		}
	default:
		return Header{}, fmt.Errorf("%w: type %d", ErrFrame, h.Type)
	}
	return h, nil
}

// ParseFrame reads the frame at the front of b and returns how many bytes it
// takes.
func ParseFrame(b []byte) (Frame, int, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Frame{}, 0, err
	}
	if len(b)-HeaderLen < h.Len {
		return Frame{}, 0, ErrShort
	}
	n := HeaderLen + h.Len
	return Frame{Type: h.Type, Data: b[HeaderLen:n:n]}, n, nil
}

// AppendFrame appends a frame with the given data.
func AppendFrame(dst []byte, t FrameType, data []byte) []byte {
	dst = appendFrameHeader(dst, t, len(data))
	return append(dst, data...)
}

// AppendResponse appends a response frame.
func AppendResponse(dst []byte, data string) []byte {
	dst = appendFrameHeader(dst, FrameResponse, len(data))
	return append(dst, data...)
}

func appendFrameHeader(dst []byte, t FrameType, n int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(n+4)) // callers keep frames below 2 GiB
	return binary.BigEndian.AppendUint32(dst, uint32(t))  // 0, 1 or 2
}
