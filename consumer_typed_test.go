package nsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

type order struct{ Item string }

// A value that PublishTyped publishes reaches the handler of Typed, whether T is a pointer or
// not, with the message and its context.
func TestTyped(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		p := s.producer("a:1")
		defer p.Stop()
		for _, err := range []error{
			PublishTyped(context.Background(), p, JSON, "t", order{"pen"}),
			PublishTyped(context.Background(), p, JSON, "t", &order{"ink"}),
		} {
			if err != nil {
				s.Fatal(err)
			}
		}
		if got := fmt.Sprint(d.Queued("t", "")); got != `[{"Item":"pen"} {"Item":"ink"}]` {
			s.Errorf("published %s", got)
		}
		var got []string
		pointers := Typed(JSON, func(_ context.Context, v *order, _ *Message) error {
			got = append(got, "*"+v.Item)
			return nil
		})
		values := Typed(JSON, func(ctx context.Context, v order, m *Message) error {
			if ctx.Value(testKey("from")) != "middleware" || !strings.Contains(string(m.Body), v.Item) {
				s.Errorf("context %v, message %q", ctx, m.Body)
			}
			got = append(got, v.Item)
			return pointers.HandleMessage(m)
		})
		s.consumer(0, nil)
		s.c.AddHandler(values)
		s.c.Use(func(next Handler) Handler {
			return HandlerFunc(func(m *Message) error {
				return next.HandleMessage(m.WithContext(context.WithValue(m.Context(), testKey("from"), "middleware")))
			})
		})
		s.connect(d)
		synctest.Wait()
		if want := "[pen *pen ink *ink]"; fmt.Sprint(got) != want {
			s.Errorf("handled %v, want %s", got, want)
		}
	})
}

// A body that cannot be decoded never reaches the handler. The error names the type, wraps
// the codec's error, and asks for a dead letter.
func TestTypedCannotDecode(t *testing.T) {
	for name, h := range map[string]Handler{
		"decode nsq.order: invalid character 'p' looking for beginning of value": Typed(JSON, func(context.Context, order, *Message) error {
			t.Error("handled")
			return nil
		}),
		"decode *nsq.order: invalid character 'p' looking for beginning of value": Typed(JSON, func(context.Context, *order, *Message) error {
			t.Error("handled")
			return nil
		}),
	} {
		err := h.HandleMessage(NewMessage(MessageID{}, []byte("pen")))
		if failed, ok := errors.AsType[*DecodeError](err); !ok || failed.Error() != name || err.Error() != name {
			t.Errorf("error %v, want %s", err, name)
		}
		if _, ok := errors.AsType[*json.SyntaxError](err); !ok {
			t.Errorf("%v does not wrap the codec's error", err)
		}
		if got := resultOf(err); !got.deadLetter || got.discard {
			t.Errorf("%v asks for %+v", err, got)
		}
	}
}

// Nothing is sent for a value that cannot be encoded.
func TestPublishTypedCannotEncode(t *testing.T) {
	inScene(t, func(s *scene) {
		s.nsqd("a:1")
		p := s.producer("a:1")
		defer p.Stop()
		err := PublishTyped(context.Background(), p, JSON, "t", func() {})
		if _, ok := errors.AsType[*json.UnsupportedTypeError](err); !ok || !strings.HasPrefix(err.Error(), "publish to topic t: encode func(): ") {
			s.Error(err)
		}
		if n := s.net.Dials(); n != 0 {
			s.Errorf("%d dials", n)
		}
	})
}

func TestTypedOfNothingPanics(t *testing.T) {
	h := func(context.Context, order, *Message) error { return nil }
	for name, f := range map[string]func(){
		"no codec":   func() { Typed(nil, h) },
		"no handler": func() { Typed[order](JSON, nil) },
	} {
		if panicOf(f) == nil {
			t.Errorf("%s: no panic", name)
		}
	}
}
