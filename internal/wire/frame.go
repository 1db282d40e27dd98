package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Magic opens a connection: the four bytes a client writes before its first
// command. Clients and nsqd speak V2; nsqd and nsqlookupd speak V1.
const (
	MagicV1 = "  V1"
	MagicV2 = "  V2"
)

// Data of the response frames that are not JSON.
const (
	OK        = "OK"
	CloseWait = "CLOSE_WAIT"
	Heartbeat = "_heartbeat_"
)

// FrameType says what a frame from nsqd carries.
type FrameType int32

// The frame types of NSQ's protocol.
const (
	FrameResponse FrameType = 0
	FrameError    FrameType = 1
	FrameMessage  FrameType = 2
)

const (
	// HeaderLen is the size of a frame's header: length and type, 4 bytes each.
	HeaderLen = 8
	// MaxControl is the largest data of a response or error frame that is
	// accepted. nsqd's own are a few hundred bytes.
	MaxControl = 64 << 10

	httpSize = 0x48545450 // "HTTP" read as a frame's size
	maxSize  = 1<<31 - 1
)

var (
	// ErrShort says that the input ends before the frame or command does.
	ErrShort = errors.New("wire: more bytes needed")
	// ErrHTTP says that the peer answered in HTTP: it is nsqd's HTTP port.
	ErrHTTP = errors.New("wire: peer speaks HTTP, an nsqd TCP address is required")
	// ErrFrame says that what was read is not a frame of NSQ's protocol.
	ErrFrame = errors.New("wire: malformed frame")
)

// A Header is the first eight bytes of a frame, checked.
type Header struct {
	Type FrameType
	Len  int // bytes of data behind the header
}

// A Frame is one frame from nsqd. Data aliases what was parsed.
type Frame struct {
	Type FrameType
	Data []byte
}

// IsHeartbeat tells whether the frame asks for a NOP.
func (f Frame) IsHeartbeat() bool {
	return f.Type == FrameResponse && string(f.Data) == Heartbeat
}

// ParseHeader reads the header at the front of b. It refuses what nsqd would
// never send: an unknown type, a control frame over [MaxControl], a message
// shorter than its fixed part, an HTTP reply.
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
	h := Header{Type: FrameType(binary.BigEndian.Uint32(b[4:])), Len: int(size) - 4} // checked above
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
// took.
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

// AppendFrame adds a frame with the given data.
func AppendFrame(dst []byte, t FrameType, data []byte) []byte {
	dst = appendFrameHeader(dst, t, len(data))
	return append(dst, data...)
}

// AppendResponse adds a response frame.
func AppendResponse(dst []byte, data string) []byte {
	dst = appendFrameHeader(dst, FrameResponse, len(data))
	return append(dst, data...)
}

func appendFrameHeader(dst []byte, t FrameType, n int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(n+4)) // a frame is far below 2 GiB
	return binary.BigEndian.AppendUint32(dst, uint32(t))  // 0, 1 or 2
}
