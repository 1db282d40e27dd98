package nsqotel

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/rdyhq/nsq"
)

// BenchmarkHandler measures the cost of a handler that does nothing: alone, with metrics, and
// with traces that sample no message, one in a hundred, or all. The messages carry trace
// context as JSON.
func BenchmarkHandler(b *testing.B) {
	bare := nsq.HandlerFunc(func(*nsq.Message) error { return nil })
	b.Run("unset", func(b *testing.B) { benchmark(b, bare) })
	b.Run("metrics", func(b *testing.B) {
		hooks := benchmarked(b, 0).Hooks()
		e := handled(nsq.OutcomeFinished, time.Millisecond, nil)
		benchmark(b, nsq.HandlerFunc(func(m *nsq.Message) error {
			e.Message = m
			hooks.Handled(e)
			return nil
		}))
	})
	for name, ratio := range map[string]float64{"0%": 0, "1%": 0.01, "100%": 1} {
		b.Run("sampled="+name, func(b *testing.B) { benchmark(b, benchmarked(b, ratio).Middleware(bare)) })
	}
}

// benchmarked returns a Telemetry that drops its metrics and spans.
func benchmarked(b *testing.B, ratio float64) *Telemetry {
	b.Helper()
	t, err := New(WithCarrier(JSONField("traceparent")), WithPropagator(propagation.TraceContext{}),
		WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))),
		WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.TraceIDRatioBased(ratio)))))
	if err != nil {
		b.Fatal(err)
	}
	return t
}

func benchmark(b *testing.B, h nsq.Handler) {
	b.Helper()
	m := nsq.NewMessage(nsq.MessageID{}, []byte(withContext))
	b.ReportAllocs()
	for b.Loop() {
		if err := h.HandleMessage(m); err != nil {
			b.Fatal(err)
		}
	}
}
