package nsqotel

import (
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
)

func TestOptionsThatContradict(t *testing.T) {
	fields := WithPropagator(propagation.TraceContext{})
	for _, tt := range []struct {
		opts []Option
		want string
	}{
		{[]Option{WithCarrier(Envelope())}, "nsqotel: a carrier, but no propagator: " +
			"call otel.SetTextMapPropagator first, or pass WithPropagator"},
		{[]Option{fields, WithCarrier(nil)}, `nsqotel: nil carrier for topic ""`},
		{[]Option{fields, WithCarrier(Envelope(), "a"), WithCarrier(Envelope(), "b", "a")}, `nsqotel: a second carrier for topic "a"`},
		{[]Option{fields, WithCarrier(JSONField("trace.parent"))}, `nsqotel: JSON field "trace.parent": ` +
			"want letters, digits, '-' and '_', with at least one letter or '_'"},
		{[]Option{fields, WithCarrier(JSONField("traceparent", "-1"))}, `nsqotel: JSON field "-1": ` +
			"want letters, digits, '-' and '_', with at least one letter or '_'"},
		{[]Option{WithTracerProvider(nil)}, "nsqotel: nil tracer provider, meter provider or propagator"},
	} {
		if _, err := New(tt.opts...); err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

// TestGlobals checks that New without options uses otel's globals.
func TestGlobals(t *testing.T) {
	otel.SetTextMapPropagator(propagation.TraceContext{})
	defer otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator())
	telemetry, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if got := telemetry.propagator.Fields(); len(got) == 0 {
		t.Error("no propagator")
	}
}

func TestCarrierOfTopic(t *testing.T) {
	r := newRecorder(t, WithCarrier(Envelope()), WithCarrier(JSONField("traceparent"), "orders", "invoices"))
	for topic, want := range map[string]bool{"orders": true, "invoices": true, "": false, "others": false} {
		if _, isJSON := r.carrier(topic).(jsonFields); isJSON != want {
			t.Errorf("topic %q has %T", topic, r.carrier(topic))
		}
	}
}
