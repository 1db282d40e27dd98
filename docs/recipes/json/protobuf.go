package json

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Protobuf is an nsq.Codec for Protocol Buffers.
type Protobuf struct{}

// Marshal encodes a proto.Message.
func (Protobuf) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no proto.Message", v)
	}
	return proto.Marshal(m)
}

// Unmarshal decodes into a proto.Message.
func (Protobuf) Unmarshal(data []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no proto.Message", v)
	}
	return proto.Unmarshal(data, m)
}
