package nsq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/rdyhq/nsq/internal/wire"
)

// VERSION is the version of go-nsq whose API this package has. It is not the
// version of this module.
const VERSION = "1.1.0"

// MsgIDLength is the number of bytes of a [MessageID].
const MsgIDLength = wire.IDLen

// The types of the frames that nsqd sends.
const (
	FrameTypeResponse int32 = int32(wire.FrameResponse)
	FrameTypeError    int32 = int32(wire.FrameError)
	FrameTypeMessage  int32 = int32(wire.FrameMessage)
)

// The states of a go-nsq Producer. They are kept for programs that name them;
// nothing here has or reports a state.
const (
	StateInit = iota
	StateDisconnected
	StateConnected
)

// MagicV1 opens a connection to nsqlookupd's TCP port.
var MagicV1 = []byte(wire.MagicV1)

// MagicV2 opens a connection to nsqd.
var MagicV2 = []byte(wire.MagicV2)

// IsValidTopicName tells whether name may name a topic: 1 to 64 bytes of
// letters, digits, '.', '_' and '-', with the suffix "#ephemeral" allowed and
// counted.
func IsValidTopicName(name string) bool { return wire.ValidName(name) }

// IsValidChannelName tells whether name may name a channel. The rule is that
// of [IsValidTopicName].
func IsValidChannelName(name string) bool { return wire.ValidName(name) }

// readStep is how much ReadResponse believes of a length before it sees bytes.
const readStep = 64 << 10

// ReadResponse reads what nsqd or nsqlookupd sent: a length in four bytes, most
// significant first, and as many bytes of data, which it returns. From nsqd that
// is a frame, for [UnpackResponse].
//
// io.EOF says that r ended before a length, io.ErrUnexpectedEOF that it ended
// within one or within the data. A length that is negative or, unless maxMsgSize
// is 0, above it is an error, and so is the beginning of an HTTP response: then r
// is nsqd's HTTP port. The memory used grows with what comes, not with what the
// length announces.
func ReadResponse(r io.Reader, maxMsgSize int32) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	if _, err := wire.ParseHeader(length[:]); errors.Is(err, wire.ErrHTTP) {
		return nil, err
	}
	size := int32(binary.BigEndian.Uint32(length[:])) // #nosec G115 -- the protocol's lengths have a sign
	switch {
	case size < 0:
		return nil, fmt.Errorf("response size %d is negative", size)
	case maxMsgSize > 0 && size > maxMsgSize:
		return nil, fmt.Errorf("response size %d exceeds the maximum of %d", size, maxMsgSize)
	}
	return readData(r, int(size))
}

func readData(r io.Reader, size int) ([]byte, error) {
	data := make([]byte, 0, min(size, readStep))
	for len(data) < size {
		from := len(data)
		to := min(size, max(2*from, readStep))
		data = append(data, make([]byte, to-from)...)
		if _, err := io.ReadFull(r, data[from:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return data, nil
}

// UnpackResponse splits a frame from nsqd into its type, FrameTypeResponse,
// FrameTypeError or FrameTypeMessage unless nsqd is newer than this package, and
// its data, which aliases response. With less than four bytes it returns -1 and
// an error.
func UnpackResponse(response []byte) (int32, []byte, error) {
	if len(response) < 4 {
		return -1, nil, fmt.Errorf("response of %d bytes is too short for a frame", len(response))
	}
	return int32(binary.BigEndian.Uint32(response)), response[4:], nil // #nosec G115 -- a type, whatever it is
}

// ReadUnpackedResponse reads a frame from nsqd and returns its type and data.
// See [ReadResponse], whose maximum is about data and type, and
// [UnpackResponse].
func ReadUnpackedResponse(r io.Reader, maxMsgSize int32) (int32, []byte, error) {
	response, err := ReadResponse(r, maxMsgSize)
	if err != nil {
		return -1, nil, err
	}
	return UnpackResponse(response)
}
