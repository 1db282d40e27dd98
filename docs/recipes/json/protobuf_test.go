package json

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rdyhq/nsq"
)

// recorded is a Publisher that keeps the last body.
type recorded struct {
	nsq.Publisher
	body []byte
}

func (r *recorded) PublishContext(_ context.Context, _ string, body []byte) error {
	r.body = body
	return nil
}

// A message of Protocol Buffers arrives as it was published. Anything else is an error.
func TestProtobuf(t *testing.T) {
	p := &recorded{}
	if err := nsq.PublishTyped(t.Context(), p, Protobuf{}, "waits", durationpb.New(90*time.Second)); err != nil {
		t.Fatal(err)
	}
	var got time.Duration
	h := nsq.Typed(Protobuf{}, func(_ context.Context, d *durationpb.Duration, _ *nsq.Message) error {
		got = d.AsDuration()
		return nil
	})
	if err := h.HandleMessage(nsq.NewMessage(nsq.MessageID{}, p.body)); err != nil || got != 90*time.Second {
		t.Errorf("got %v, error %v", got, err)
	}
	err := h.HandleMessage(nsq.NewMessage(nsq.MessageID{}, []byte("no duration")))
	if _, ok := errors.AsType[*nsq.DecodeError](err); !ok {
		t.Errorf("error %v for another body", err)
	}
	if err := nsq.PublishTyped(t.Context(), p, Protobuf{}, "waits", 90); err == nil {
		t.Error("a number was published")
	}
}
