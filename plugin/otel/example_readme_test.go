package nsqotel_test

import (
	"context"
	"log"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"github.com/rdyhq/nsq"
	nsqotel "github.com/rdyhq/nsq/plugin/otel"
)

// A handler that bills orders and publishes an invoice for each, with metrics and traces.
func ExampleTelemetry() {
	otel.SetTextMapPropagator(propagation.TraceContext{})
	if err := run(nsq.NewConfig()); err != nil {
		log.Print(err)
	}
}

func run(config *nsq.Config) error {
	telemetry, err := nsqotel.New(nsqotel.WithCarrier(nsqotel.JSONField("traceparent")))
	if err != nil {
		return err
	}
	config.Hooks = append(config.Hooks, telemetry.Hooks()) // metrics, of Consumers and Producers

	producer, err := nsq.NewProducer("127.0.0.1:4150", config)
	if err != nil {
		return err
	}
	defer producer.Stop()
	consumer, err := nsq.NewConsumer("orders", "billing", config)
	if err != nil {
		return err
	}
	consumer.Use(telemetry.Middleware)         // a span for each message
	telemetry.Consumer(consumer)               // gauges
	publisher := telemetry.Publisher(producer) // a span for each publish
	consumer.AddHandler(nsq.ContextHandlerFunc(func(ctx context.Context, _ *nsq.Message) error {
		return publisher.PublishContext(ctx, "invoices", []byte(`{"cents":100}`))
	}))
	if err := consumer.ConnectToNSQD("127.0.0.1:4150"); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(context.Background())
}
