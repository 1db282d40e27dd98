package wire

import (
	"encoding/binary"
	"fmt"
)

// IDLen is the length of a message ID.
const IDLen = 16

// messageHeaderLen is the length of the fixed part of a message frame's data:
// timestamp, attempts and ID. The body follows it.
const messageHeaderLen = 8 + 2 + IDLen

// ID names a message within one topic of one nsqd. Its 16 bytes are opaque; nsqd
// uses lower-case hex digits.
type ID [IDLen]byte

// Printable reports whether all bytes of the ID are printable ASCII and none is a space.
// An ID with others may not be readable in a command.
func (id *ID) Printable() bool { return printable8(id[:8]) && printable8(id[8:]) }

// printable8 reports whether each of 8 bytes is between '!' and '~'. It looks at all of
// them at once: the highest bit of a byte that is not gets set.
func printable8(b []byte) bool {
	const each = 0x0101010101010101
	x := binary.LittleEndian.Uint64(b)
	above := x | (x + (0x7f-'~')*each) // a byte after '~' has the bit, or gets it
	below := x - '!'*each              // a byte before '!' borrows it
	return (above|below)&(0x80*each) == 0
}

// A Message is the data of a message frame.
type Message struct {
	Timestamp int64  // when it was published, by nsqd's clock, in Unix nanoseconds
	Attempts  uint16 // 1 on the first delivery
	ID        ID
	Body      []byte
}

// ParseMessage reads the data of a message frame. The body aliases data, but has no
// spare capacity: an append to it cannot overwrite what follows.
func ParseMessage(data []byte) (Message, error) {
	if len(data) < messageHeaderLen {
		return Message{}, fmt.Errorf("%w: message of %d bytes", ErrFrame, len(data))
	}
	return Message{
		Timestamp: int64(binary.BigEndian.Uint64(data)), // two's complement on the wire
		Attempts:  binary.BigEndian.Uint16(data[8:]),
		ID:        ID(data[10:messageHeaderLen]),
		Body:      data[messageHeaderLen:len(data):len(data)],
	}, nil
}

// MessageDataLen returns the length of a message frame's data for a body of n
// bytes.
func MessageDataLen(n int) int { return messageHeaderLen + n }

// BodyLen returns the length of the body in a message frame with this header.
func (h Header) BodyLen() int { return h.Len - messageHeaderLen }

// AppendMessageData appends the data of a message frame, without the header.
func AppendMessageData(dst []byte, m *Message) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Timestamp)) // two's complement on the wire
	dst = binary.BigEndian.AppendUint16(dst, m.Attempts)
	dst = append(dst, m.ID[:]...)
	return append(dst, m.Body...)
}

// AppendMessage appends a message frame.
func AppendMessage(dst []byte, m *Message) []byte {
	dst = appendFrameHeader(dst, FrameMessage, messageHeaderLen+len(m.Body))
	return AppendMessageData(dst, m)
}
