package main

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// The clients that are observed count each message. Otherwise they would be measured doing
// nothing.
func TestObserved(t *testing.T) {
	c := Case{Kind: latency, Body: 200, InFlight: 100, Handlers: 4, Conns: 1, Rate: 1000} // few messages, for it is never stopped
	where, _, err := startFakes(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	counted, prom := prometheus.NewRegistry(), prometheus.NewRegistry()
	reader, spans := metric.NewManualReader(), tracetest.NewSpanRecorder()
	for _, o := range []struct {
		name string
		lib  library
		seen func() float64
	}{
		{goNSQCounted, goNSQLibrary{counts: newCounts(counted)}, func() float64 { return counter(t, counted, "messages_total") }},
		{
			rdyProm, rdyLibrary{observe: func() (observer, error) { return observeWithProm(prom) }},
			func() float64 { return counter(t, prom, "nsq_consumer_handled_messages_total") },
		},
		{
			rdyOTel, rdyLibrary{observe: func() (observer, error) { return observeWithOTel(reader, spans) }},
			func() float64 { return consumed(t, reader) },
		},
	} {
		var handled counters
		if _, err := o.lib.consume(c, where, func(id byte, _ []byte) { handled.add(id) }); err != nil {
			t.Fatalf("%s: %v", o.name, err)
		}
		if err := waitUntil(func() bool { return handled.sum() >= 100 }); err != nil {
			t.Fatalf("%s: %v", o.name, err)
		}
		// A message counts after it is handled, and before the handler takes the next one.
		if want, seen := handled.sum()-c.Handlers, o.seen(); seen < float64(want) {
			t.Errorf("%s: counted %v messages, want %d or more", o.name, seen, want)
		}
	}
	if err := waitUntil(func() bool { return len(spans.Ended()) > 0 }); err != nil {
		t.Errorf("no span is recorded: %v", err)
	}
}

// Publishes of single messages are counted, each once.
func TestObservedPublishes(t *testing.T) {
	c := Case{Kind: observe, Body: 200, Mode: "sync", Handlers: 1}
	where, _, err := startFakes(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	counted, prom := prometheus.NewRegistry(), prometheus.NewRegistry()
	for _, o := range []struct {
		name string
		lib  library
		seen func() float64
	}{
		{goNSQCounted, goNSQLibrary{counts: newCounts(counted)}, func() float64 { return counter(t, counted, "messages_total") }},
		{
			rdyProm, rdyLibrary{observe: func() (observer, error) { return observeWithProm(prom) }},
			func() float64 { return counter(t, prom, "nsq_producer_published_messages_total") },
		},
	} {
		p, err := o.lib.publisher(c, where.NSQDs[0])
		if err != nil {
			t.Fatalf("%s: %v", o.name, err)
		}
		for range 10 {
			if err := p.one(text(c.Body)); err != nil {
				t.Fatalf("%s: %v", o.name, err)
			}
		}
		if seen := o.seen(); seen != 10 {
			t.Errorf("%s: counted %v publishes, want 10", o.name, seen)
		}
	}
}

// counter returns the sum of a counter's series.
func counter(t *testing.T, from prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// consumed returns how many messages plugin/otel has counted.
func consumed(t *testing.T, reader metric.Reader) (sum float64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if data, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "messaging.client.consumed.messages" {
				for _, point := range data.DataPoints {
					sum += float64(point.Value)
				}
			}
		}
	}
	return sum
}
