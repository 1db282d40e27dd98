package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rdyhq/nsq"
	nsqotel "github.com/rdyhq/nsq/plugin/otel"
	nsqprom "github.com/rdyhq/nsq/plugin/prom"
)

// observer is what a program adds to this project's client to see what the client does.
type observer struct {
	hooks    nsq.Hooks
	consumer func(*nsq.Consumer) // called before the Consumer connects; nil for nothing
}

// emptyHook observes with hooks that do nothing: what calling them costs.
func emptyHook() (observer, error) {
	return observer{hooks: nsq.Hooks{
		Handled:   func(nsq.HandledEvent) {},
		Published: func(nsq.PublishedEvent) {},
	}}, nil
}

// newProm observes with plugin/prom. Nothing scrapes it.
func newProm() (observer, error) { return observeWithProm(prometheus.NewRegistry()) }

func observeWithProm(reg prometheus.Registerer) (observer, error) {
	metrics, err := nsqprom.New(reg)
	if err != nil {
		return observer{}, err
	}
	return observer{metrics.Hooks(), metrics.Consumer}, nil
}

// newOTel observes with plugin/otel, and drops the metrics and spans.
func newOTel() (observer, error) {
	return observeWithOTel(metric.NewManualReader(), trace.NewBatchSpanProcessor(tracetest.NewNoopExporter()))
}

// sampled is the fraction of messages whose spans are recorded.
const sampled = 0.01

func observeWithOTel(reader metric.Reader, spans trace.SpanProcessor) (observer, error) {
	telemetry, err := nsqotel.New(
		nsqotel.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))),
		nsqotel.WithTracerProvider(trace.NewTracerProvider(
			trace.WithSampler(trace.ParentBased(trace.TraceIDRatioBased(sampled))), trace.WithSpanProcessor(spans))),
		nsqotel.WithPropagator(propagation.TraceContext{}),
	)
	if err != nil {
		return observer{}, err
	}
	return observer{telemetry.Hooks(), func(c *nsq.Consumer) {
		c.Use(telemetry.Middleware)
		telemetry.Consumer(c)
	}}, nil
}
