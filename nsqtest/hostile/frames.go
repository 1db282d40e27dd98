package hostile

import (
	"encoding/binary"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// The types of frames. The protocol has no others.
const (
	Response = uint32(wire.FrameResponse)
	Error    = uint32(wire.FrameError)
	Message  = uint32(wire.FrameMessage)
)

// Heartbeat is a heartbeat's frame.
var Heartbeat = nsqtest.ResponseFrame(wire.Heartbeat)

// Header returns the header of a frame of any type whose data is said to be n bytes. What
// follows is up to the script, even nothing. A message's data begins with 26 bytes that
// [MessageData] returns.
func Header(kind uint32, n uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, n+4)
	return binary.BigEndian.AppendUint32(b, kind)
}

// MessageData returns the data of a message frame. The ID may have any bytes: it is cut or
// filled up with '0' to 16.
func MessageData(id string, body []byte) []byte {
	m := wire.Message{Timestamp: 1, Attempts: 1, Body: body}
	for i := range m.ID {
		m.ID[i] = '0'
	}
	copy(m.ID[:], id)
	return wire.AppendMessageData(nil, &m)
}

// MessageFrame returns a message frame with an ID as of [MessageData].
func MessageFrame(id string, body []byte) []byte {
	return wire.AppendFrame(nil, wire.FrameMessage, MessageData(id, body))
}
