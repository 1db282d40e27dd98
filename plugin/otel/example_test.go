package nsqotel_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
	nsqotel "github.com/rdyhq/nsq/plugin/otel"
)

// Publishing an order and handling it belong to one trace, whose context travels in an envelope.
func Example() {
	nsqd, stop := startNSQD() // a program connects to an nsqd that runs already
	defer stop()
	spans := tracetest.NewInMemoryExporter() // a program sets up an SDK that exports, and needs no WithTracerProvider
	telemetry, err := nsqotel.New(
		nsqotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))),
		nsqotel.WithPropagator(propagation.TraceContext{}),
		nsqotel.WithCarrier(nsqotel.Envelope()),
		nsqotel.AsChild(),
	)
	if err != nil {
		log.Fatal(err)
	}
	config := nsq.NewConfig()
	config.Logger = slog.New(slog.DiscardHandler)
	config.Hooks = append(config.Hooks, telemetry.Hooks()) // metrics

	producer, err := nsq.NewProducer(nsqd, config)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	publisher := telemetry.Publisher(producer) // a span for each publish
	if err := publisher.PublishContext(context.Background(), "orders", []byte("pen")); err != nil {
		log.Fatal(err)
	}

	consumer, err := nsq.NewConsumer("orders", "billing", config)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	consumer.Use(nsq.OpenEnvelopes(), telemetry.Middleware) // a span for each message
	telemetry.Consumer(consumer)                            // gauges
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		fmt.Printf("%s\n", m.Body)
		cancel()
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(ctx); err != nil {
		log.Print(err)
	}
	for _, span := range spans.GetSpans() {
		fmt.Println(span.SpanKind, span.Name, span.SpanContext.TraceID() == spans.GetSpans()[0].SpanContext.TraceID())
	}
	// Output:
	// pen
	// producer publish orders true
	// consumer process orders true
}

// Orders are JSON, so their trace context is a member of the object. The bodies of all other
// topics are put into envelopes.
func ExampleJSONField() {
	orders := nsqotel.JSONField("traceparent", "tracestate")
	options := []nsqotel.Option{
		nsqotel.WithPropagator(propagation.TraceContext{}),
		nsqotel.WithCarrier(orders, "orders"),
		nsqotel.WithCarrier(nsqotel.Envelope()),
	}
	if _, err := nsqotel.New(options...); err != nil {
		log.Fatal(err)
	}
	body := orders.Inject([]byte(`{"item":"pen"}`), propagation.MapCarrier{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	fmt.Println(strings.Contains(string(body), `"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`))
	// Output: true
}

// startNSQD starts an nsqd and returns its address.
func startNSQD() (addr string, stop func()) {
	b, err := broker.Start(context.Background(), broker.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return b.NSQDs()[0].TCPAddr, func() {
		if err := b.Stop(); err != nil {
			log.Fatal(err)
		}
	}
}
