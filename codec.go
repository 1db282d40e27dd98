package nsq

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
)

// Codec turns values into message bodies, and bodies back into values. [JSON] is one. Both
// methods must be safe for concurrent use.
type Codec interface {
	// Marshal returns the body for a value, in memory that nothing else uses.
	Marshal(v any) ([]byte, error)
	// Unmarshal decodes a body into what v points to, and does not keep the body.
	Unmarshal(body []byte, v any) error
}

// JSON is the [Codec] of package encoding/json.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(body []byte, v any) error { return json.Unmarshal(body, v) }

// PublishTyped encodes a value and publishes it as one message. It returns the errors of
// p.PublishContext. If the codec fails, nothing is sent, and the error wraps the codec's.
func PublishTyped[T any](ctx context.Context, p Publisher, codec Codec, topic string, v T) error {
	body, err := codec.Marshal(v)
	if err != nil {
		return fmt.Errorf("publish to topic %s: encode %v: %w", topic, reflect.TypeFor[T](), err)
	}
	return p.PublishContext(ctx, topic, body)
}
