package nsqotel

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/rdyhq/nsq"
)

// recorded is a Publisher that keeps what is published.
type recorded struct {
	bodies []string
	err    error
}

func (r *recorded) PublishContext(_ context.Context, _ string, body []byte) error {
	return r.MultiPublishContext(context.Background(), "", [][]byte{body})
}

func (r *recorded) MultiPublishContext(_ context.Context, _ string, bodies [][]byte) error {
	for _, b := range bodies {
		r.bodies = append(r.bodies, string(b))
	}
	return r.err
}

// publishes has the ways to publish that the tests go through.
var publishes = map[string]func(p *Publisher) error{
	"one": func(p *Publisher) error {
		return p.PublishContext(context.Background(), "orders", []byte(`{"n":1}`))
	},
	"two": func(p *Publisher) error {
		return p.MultiPublishContext(context.Background(), "orders", [][]byte{[]byte(`{"n":1}`), []byte(`plain`)})
	},
}

func TestPublishSpans(t *testing.T) {
	carrier := WithCarrier(JSONField("traceparent"))
	for name, tt := range map[string]struct {
		publish string
		opts    []Option
		err     error
		want    string
	}{
		"one": {publish: "one", opts: []Option{carrier}, want: `
			publish orders PRODUCER
			    messaging.destination.name=orders
			    messaging.message.body.size=79
			    messaging.operation.name=publish
			    messaging.operation.type=send
			    messaging.system=nsq`},
		"without a carrier": {publish: "one", want: `
			publish orders CLIENT
			    messaging.destination.name=orders
			    messaging.message.body.size=7
			    messaging.operation.name=publish
			    messaging.operation.type=send
			    messaging.system=nsq`},
		"refused": {publish: "one", err: &nsq.ProtocolError{Code: "E_BAD_TOPIC", Desc: "no"}, want: `
			publish orders CLIENT
			    error.type=E_BAD_TOPIC
			    messaging.destination.name=orders
			    messaging.message.body.size=7
			    messaging.operation.name=publish
			    messaging.operation.type=send
			    messaging.system=nsq
			    event exception exception.message=E_BAD_TOPIC no exception.type=*nsq.ProtocolError
			    status Error: E_BAD_TOPIC no`},
		"two": {publish: "two", opts: []Option{carrier}, want: `
			create orders PRODUCER
			    messaging.destination.name=orders
			    messaging.message.body.size=79
			    messaging.operation.name=create
			    messaging.operation.type=create
			    messaging.system=nsq
			create orders PRODUCER
			    messaging.destination.name=orders
			    messaging.message.body.size=5
			    messaging.operation.name=create
			    messaging.operation.type=create
			    messaging.system=nsq
			publish orders CLIENT
			    messaging.batch.message_count=2
			    messaging.destination.name=orders
			    messaging.operation.name=publish
			    messaging.operation.type=send
			    messaging.system=nsq
			    link to create orders
			    link to create orders`},
		"two, one span": {publish: "two", opts: []Option{carrier, WithoutCreateSpans()}, want: `
			publish orders PRODUCER
			    messaging.batch.message_count=2
			    messaging.destination.name=orders
			    messaging.operation.name=publish
			    messaging.operation.type=send
			    messaging.system=nsq`},
		"two, without a carrier": {publish: "two", want: `
			publish orders CLIENT
			    messaging.batch.message_count=2
			    messaging.destination.name=orders
			    messaging.operation.name=publish
			    messaging.operation.type=send
			    messaging.system=nsq`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t, tt.opts...)
			if err := publishes[tt.publish](r.Publisher(&recorded{err: tt.err})); !errors.Is(err, tt.err) {
				t.Errorf("err %v", err)
			}
			equal(t, traces(r.spans.GetSpans()), tt.want)
		})
	}
}

// TestInjected checks which span's context each message carries.
func TestInjected(t *testing.T) {
	for name, tt := range map[string]struct {
		publish string
		opts    []Option
		spans   []int // that the messages carry, in the order in which they ended
	}{
		"one":           {"one", nil, []int{0}},
		"two":           {"two", nil, []int{0, -1}},
		"two, one span": {"two", []Option{WithoutCreateSpans()}, []int{0, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t, append(tt.opts, WithCarrier(JSONField("traceparent"), "orders"))...)
			to := &recorded{}
			if err := publishes[tt.publish](r.Publisher(to)); err != nil {
				t.Fatal(err)
			}
			for i, span := range tt.spans {
				want := "plain"
				if span >= 0 {
					sc := r.spans.GetSpans()[span].SpanContext
					want = `{"n":1,"traceparent":"00-` + sc.TraceID().String() + `-` + sc.SpanID().String() + `-01"}`
				}
				if to.bodies[i] != want {
					t.Errorf("message %d: %s, want %s", i, to.bodies[i], want)
				}
			}
		})
	}
}

// TestBodiesStay checks that neither the caller's bodies nor the slice of them are changed.
func TestBodiesStay(t *testing.T) {
	for _, c := range []Carrier{JSONField("traceparent"), Envelope()} {
		r := newRecorder(t, WithCarrier(c))
		bodies := [][]byte{[]byte(withContext), []byte(`{}   `)[:2]}
		if err := r.Publisher(&recorded{}).MultiPublishContext(context.Background(), "orders", bodies); err != nil {
			t.Fatal(err)
		}
		if string(bodies[0]) != withContext || string(bodies[1][:5]) != "{}   " {
			t.Errorf("%T changed the bodies to %q", c, bodies)
		}
	}
}

// TestUnsampled checks that a span that is not sampled passes this decision on.
func TestUnsampled(t *testing.T) {
	r := newRecorder(t, WithCarrier(JSONField("traceparent")), WithTracerProvider(never))
	to := &recorded{}
	if err := publishes["one"](r.Publisher(to)); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(to.bodies[0], `-00"}`) {
		t.Errorf("published %s", to.bodies[0])
	}
}

// TestProducer publishes to an nsqd in each way, and checks that the spans name the nsqd.
func TestProducer(t *testing.T) {
	inScene(t, func(s *scene) {
		p := s.Publisher(s.produce())
		for _, publish := range publishes {
			if err := publish(p); err != nil {
				t.Error(err)
			}
		}
		if err := p.DeferredPublishContext(context.Background(), "orders", time.Second, []byte("later")); err != nil {
			t.Error(err)
		}
		if got := s.nsqd.Queued("orders", ""); len(got) != 4 {
			t.Errorf("nsqd has %q", got)
		}
		for _, span := range s.spans.GetSpans() {
			texts := pairs(span.Attributes, nil)
			if !slices.Contains(texts, "server.address=nsqd1") || !slices.Contains(texts, "server.port=4150") {
				t.Errorf("%s: %s", span.Name, texts)
			}
		}
	})
}

func TestCannotDefer(t *testing.T) {
	r := newRecorder(t)
	err := r.Publisher(&recorded{}).DeferredPublishContext(context.Background(), "orders", time.Second, nil)
	if err == nil || err.Error() != "publish to topic orders: *nsqotel.recorded has no method DeferredPublishContext" {
		t.Error(err)
	}
}

var _ nsq.Publisher = (*Publisher)(nil)

// panicking is a Carrier that panics.
type panicking struct{ Carrier }

func (panicking) Inject([]byte, propagation.MapCarrier) []byte { panic("carrier") }

// TestSpansEndInAPanic of the user's code.
func TestSpansEndInAPanic(t *testing.T) {
	for name, publish := range publishes {
		r := newRecorder(t, WithCarrier(panicking{}))
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			_ = publish(r.Publisher(&recorded{}))
		}()
		if n := len(r.spans.GetSpans()); n != 1 {
			t.Errorf("%s: %d spans have ended, want 1", name, n)
		}
	}
}
