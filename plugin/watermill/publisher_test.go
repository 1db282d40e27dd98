package nsqwatermill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// recorder is an nsq.Publisher that records its calls. It fails after a number of them.
type recorder struct {
	calls    []string // context's value, topic, number of bodies
	failFrom int      // 0: never
}

var errFailed = errors.New("failed")

func (r *recorder) PublishContext(ctx context.Context, topic string, body []byte) error {
	return r.record("PUB", ctx, topic, body)
}

func (r *recorder) MultiPublishContext(ctx context.Context, topic string, bodies [][]byte) error {
	return r.record("MPUB", ctx, topic, bodies...)
}

func (r *recorder) record(command string, ctx context.Context, topic string, bodies ...[]byte) error {
	r.calls = append(r.calls, fmt.Sprint(command, " ", topic, " ", len(bodies), " ", ctx.Value(key("name"))))
	if r.failFrom > 0 && len(r.calls) >= r.failFrom {
		return errFailed
	}
	return nil
}

func text(payload string) *message.Message { return message.NewMessage("uuid", []byte(payload)) }

func named(name string) *message.Message {
	m := text("x")
	m.SetContext(context.WithValue(context.Background(), key("name"), name))
	return m
}

// odd is a context of a type that is not comparable.
type odd struct {
	context.Context
	_ []int
}

func TestPublishInBatches(t *testing.T) {
	big := strings.Repeat("x", maxBatch/2)
	a, b := named("a"), named("b")
	c := text("x")
	c.SetContext(a.Context())
	odd1, odd2 := text("x"), text("x")
	odd1.SetContext(odd{Context: context.Background()})
	odd2.SetContext(odd1.Context())
	for name, test := range map[string]struct {
		messages []*message.Message
		want     []string
	}{
		"none":           {nil, nil},
		"one":            {[]*message.Message{text("a")}, []string{"PUB orders 1 <nil>"}},
		"three":          {[]*message.Message{text("a"), text("b"), text("c")}, []string{"MPUB orders 3 <nil>"}},
		"contexts":       {[]*message.Message{a, c, b, text("x")}, []string{"MPUB orders 2 a", "PUB orders 1 b", "PUB orders 1 <nil>"}},
		"not comparable": {[]*message.Message{odd1, odd2}, []string{"PUB orders 1 <nil>", "PUB orders 1 <nil>"}},
		"big": {[]*message.Message{text(big), text("a"), text(big), text(big + big), text("b"), text("c")},
			[]string{"MPUB orders 2 <nil>", "PUB orders 1 <nil>", "PUB orders 1 <nil>", "MPUB orders 2 <nil>"}},
	} {
		r := &recorder{}
		if err := NewPublisher(r, PublisherConfig{}).Publish("orders", test.messages...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(r.calls, test.want) {
			t.Errorf("%s: %q, want %q", name, r.calls, test.want)
		}
	}
}

// The rest is not published after a failure.
func TestPublishFails(t *testing.T) {
	r := &recorder{failFrom: 2}
	err := NewPublisher(r, PublisherConfig{}).Publish("orders", named("a"), named("b"), named("c"))
	if !errors.Is(err, errFailed) || !strings.Contains(err.Error(), "1 of 3 messages were published to topic orders") {
		t.Error(err)
	}
	if len(r.calls) != 2 {
		t.Errorf("calls %q, want 2", r.calls)
	}
}

func TestPublishBadInput(t *testing.T) {
	r := &recorder{}
	p := NewPublisher(r, PublisherConfig{})
	bad := text("x")
	bad.Metadata.Set("", "x")
	for want, err := range map[string]error{
		"of 65 bytes: NSQ allows 1 to 64":                         p.Publish(strings.Repeat("x", 65), text("x")),
		`invalid topic name "a:b"`:                                p.Publish("a:b", text("x")),
		`publish to topic orders: marshal message "uuid": metada`: p.Publish("orders", text("x"), bad),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := p.Publish("orders", text("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if r.calls != nil {
		t.Errorf("published %q", r.calls)
	}
}

func TestNilPublisher(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("NewPublisher takes nil")
		}
	}()
	NewPublisher(nil, PublisherConfig{})
}

// A message's context bounds its publish, and the error tells what nsqd may have.
func TestPublishErrors(t *testing.T) {
	inScene(t, func(s *scene) {
		p := s.publisher()
		m := text("x")
		ctx, cancel := context.WithCancel(s.Context())
		m.SetContext(ctx)
		cancel()
		if err := p.Publish("orders", m); !errors.Is(err, nsq.ErrNotSent) || !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
		s.nsqd.Reject("PUB", "E_PUB_FAILED", "disk full")
		err := p.Publish("orders", text("x"))
		if refused, ok := errors.AsType[*nsq.ProtocolError](err); !ok || refused.Code != "E_PUB_FAILED" {
			t.Errorf("refused: %v", err)
		}
	})
}

// Other consumers find the metadata in an envelope, and other publishers need none.
func TestPlainBodiesAndEnvelopes(t *testing.T) {
	inScene(t, func(s *scene) {
		m := text("pay")
		m.Metadata.Set("trace", "t1")
		if err := s.publisher().Publish("orders", m); err != nil {
			t.Fatal(err)
		}
		const sealed = "NSQ-Envelope: 1\n_watermill_message_uuid: uuid\ntrace: t1\n\npay"
		if got := s.nsqd.Queued("orders", ""); !slices.Equal(got, []string{sealed}) {
			t.Errorf("nsqd has %q", got)
		}
		_, messages := s.subscribe(s.Context())
		receive(t, messages).Ack()
		ids := s.nsqd.Publish("orders", "plain")
		plain := receive(t, messages)
		if string(plain.Payload) != "plain" || plain.UUID != ids[0] || plain.Metadata == nil || len(plain.Metadata) != 0 {
			t.Errorf("received %+v", plain)
		}
		plain.Ack()
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 2, Finished: 2})
	})
}
