package wire

import (
	"encoding/binary"
	"fmt"
)

// IDLen is the length of a message ID.
const IDLen = 16

// messageHeaderLen is what precedes the body in a message frame's data:
// timestamp, attempts, ID.
const messageHeaderLen = 8 + 2 + IDLen

// ID names a message within a topic of one nsqd: 16 opaque bytes, printable
// as nsqd makes them.
type ID [IDLen]byte

// A Message is the data of a message frame.
type Message struct {
	Timestamp int64  // nanoseconds since the epoch, set when it was published
	Attempts  uint16 // 1 on the first delivery
	ID        ID
	Body      []byte
}

// ParseMessage reads a message frame's data. The body aliases it.
func ParseMessage(data []byte) (Message, error) {
	if len(data) < messageHeaderLen {
		return Message{}, fmt.Errorf("%w: message of %d bytes", ErrFrame, len(data))
	}
	return Message{
		Timestamp: int64(binary.BigEndian.Uint64(data)), // two's complement on the wire
		Attempts:  binary.BigEndian.Uint16(data[8:]),
		ID:        ID(data[10:messageHeaderLen]),
		Body:      data[messageHeaderLen:len(data):len(data)], // an append must not reach a neighbour
	}, nil
}

// MessageDataLen is the length of a message frame's data for a body of n bytes.
func MessageDataLen(n int) int { return messageHeaderLen + n }

// BodyLen is the length of the body in a message frame with this header.
func (h Header) BodyLen() int { return h.Len - messageHeaderLen }

// AppendMessageData adds a message as it stands in a frame's data.
func AppendMessageData(dst []byte, m *Message) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Timestamp)) // two's complement on the wire
	dst = binary.BigEndian.AppendUint16(dst, m.Attempts)
	dst = append(dst, m.ID[:]...)
	return append(dst, m.Body...)
}

// AppendMessage adds a message frame.
func AppendMessage(dst []byte, m *Message) []byte {
	dst = appendFrameHeader(dst, FrameMessage, messageHeaderLen+len(m.Body))
	return AppendMessageData(dst, m)
}
