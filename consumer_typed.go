package nsq

import (
	"context"
	"fmt"
	"reflect"
)

// Typed returns a [Handler] that decodes each body and calls h with the value. ctx is the
// message's context. m is the message itself, with its Body.
//
// If T is a pointer type, the codec's Unmarshal gets a T that points to a new zero value.
// That suits generated types, such as those of Protocol Buffers. For any other T it gets a
// *T.
//
// If a body cannot be decoded, h is not called. The handler returns [DeadLetter] of a
// [*DecodeError]: with Config.DeadLetter the message becomes a dead letter at once, and
// without it the message is requeued, as after any other error.
//
// Middleware sees the message and not the value. Typed panics if codec or h is nil.
func Typed[T any](codec Codec, h func(ctx context.Context, v T, m *Message) error) Handler {
	if codec == nil || h == nil {
		panic("nil codec or handler")
	}
	return HandlerFunc(func(m *Message) error {
		v, err := decode[T](codec, m.Body)
		if err != nil {
			return DeadLetter(&DecodeError{Type: reflect.TypeFor[T]().String(), Err: err})
		}
		return h(m.Context(), v, m)
	})
}

func decode[T any](codec Codec, body []byte) (T, error) {
	var v T
	target := any(&v)
	if t := reflect.TypeFor[T](); t.Kind() == reflect.Pointer {
		reflect.ValueOf(&v).Elem().Set(reflect.New(t.Elem()))
		target = v
	}
	err := codec.Unmarshal(body, target)
	return v, err
}

// DecodeError is the error of a [Typed] handler for a body that cannot be decoded. It is
// wrapped in the error of [DeadLetter]: use errors.As.
type DecodeError struct {
	Type string // the Go type that was wanted, such as "orders.Order"
	Err  error  // the codec's error
}

// Error returns the type and the codec's error.
func (e *DecodeError) Error() string { return fmt.Sprintf("decode %s: %v", e.Type, e.Err) }

// Unwrap returns the codec's error.
func (e *DecodeError) Unwrap() error { return e.Err }
