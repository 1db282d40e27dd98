package nsq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/rdyhq/nsq/internal/wire"
)

// VERSION is the version of go-nsq whose API this package has, not the version of
// this module.
const VERSION = "1.1.0"

// The types of the frames that nsqd sends.
const (
	FrameTypeResponse int32 = int32(wire.FrameResponse)
	FrameTypeError    int32 = int32(wire.FrameError)
	FrameTypeMessage  int32 = int32(wire.FrameMessage)
)

// The states of a go-nsq Producer. They exist for programs that name them; this
// package does not use them.
const (
	StateInit = iota
	StateDisconnected
	StateConnected
)

// MagicV1 is the first thing that a client sends to nsqlookupd's TCP port.
var MagicV1 = []byte(wire.MagicV1)

// MagicV2 is the first thing that a client sends to nsqd.
var MagicV2 = []byte(wire.MagicV2)

// IsValidTopicName reports whether name is a valid name of a topic: ASCII letters,
// digits, '.', '_' and '-', with an optional "#ephemeral" at the end; at most 64 bytes
// in all.
func IsValidTopicName(name string) bool { return wire.ValidName(name) }

// IsValidChannelName reports whether name is a valid name of a channel. The rules are
// those of [IsValidTopicName].
func IsValidChannelName(name string) bool { return wire.ValidName(name) }

// readStep is the most that ReadResponse allocates before any data has arrived,
// whatever length was announced.
const readStep = 64 << 10

// ReadResponse reads one response of nsqd or nsqlookupd and returns its data, without
// the length of four bytes, big-endian, that precedes it. Data from nsqd is a frame:
// see [UnpackResponse].
//
// The error is io.EOF if r ends before the length, and io.ErrUnexpectedEOF if r ends
// within the length or the data. A negative length is an error, and so is a length
// over maxMsgSize, unless maxMsgSize is 0. The beginning of an HTTP response is also an
// error: r is then nsqd's HTTP port. Memory use grows with the data that arrives, not
// with the announced length.
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

// UnpackResponse splits a frame from nsqd into its type and its data, which aliases
// response. The type is FrameTypeResponse, FrameTypeError, FrameTypeMessage, or one
// that is newer than this package. If response has less than four bytes,
// UnpackResponse returns -1 and an error.
func UnpackResponse(response []byte) (int32, []byte, error) {
	if len(response) < 4 {
		return -1, nil, fmt.Errorf("response of %d bytes is too short for a frame", len(response))
	}
	return int32(binary.BigEndian.Uint32(response)), response[4:], nil // #nosec G115 -- any value is a type
}

// ReadUnpackedResponse reads a frame from nsqd with [ReadResponse] and returns its
// type and data as [UnpackResponse] does. maxMsgSize bounds type and data together.
func ReadUnpackedResponse(r io.Reader, maxMsgSize int32) (int32, []byte, error) {
	response, err := ReadResponse(r, maxMsgSize)
	if err != nil {
		return -1, nil, err
	}
	return UnpackResponse(response)
}
