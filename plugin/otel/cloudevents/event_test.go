package cloudevents

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	event "github.com/cloudevents/sdk-go/v2"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
	nsqotel "github.com/rdyhq/nsq/plugin/otel"
)

// TestMain fails if the test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// orderEvent returns an event in CloudEvents' JSON format.
func orderEvent() ([]byte, error) {
	e := event.NewEvent()
	e.SetID("1")
	e.SetSource("shop")
	e.SetType("com.example.order")
	if err := e.SetData(event.ApplicationJSON, map[string]int{"order": 17}); err != nil {
		return nil, err
	}
	return json.Marshal(e)
}

// TestEvent publishes an event to a fake nsqd. The consumer's span is linked to the
// publish, and the event that its handler gets has the extension.
func TestEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		telemetry, err := nsqotel.New(
			nsqotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))),
			nsqotel.WithPropagator(propagation.TraceContext{}),
			nsqotel.WithCarrier(nsqotel.JSONField("traceparent", "tracestate")))
		if err != nil {
			t.Fatal(err)
		}
		network := nsqtest.NewNetwork()
		nsqd := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		cfg := nsq.NewConfig()
		cfg.DialContext = network.DialContext
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))

		consumer, err := nsq.NewConsumer("orders", "billing", cfg)
		if err != nil {
			t.Fatal(err)
		}
		consumer.Use(telemetry.Middleware)
		received := make(chan event.Event, 1)
		consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
			var e event.Event
			if err := json.Unmarshal(m.Body, &e); err != nil {
				return nsq.Discard(err)
			}
			received <- e
			return nil
		}))
		if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			consumer.Stop()
			<-consumer.StopChan
		}()

		producer, err := nsq.NewProducer(nsqd.Addr(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer producer.Stop()
		body, err := orderEvent()
		if err != nil {
			t.Fatal(err)
		}
		if err := telemetry.Publisher(producer).PublishContext(t.Context(), "orders", body); err != nil {
			t.Fatal(err)
		}

		e := <-received
		time.Sleep(time.Second) //nolint:forbidigo // inside a synctest bubble
		publish, process := spans.GetSpans()[0], spans.GetSpans()[1]
		if publish.Name != "publish orders" { // the handler may return before the publish does
			publish, process = process, publish
		}
		if len(process.Links) != 1 || process.Links[0].SpanContext.SpanID() != publish.SpanContext.SpanID() {
			t.Errorf("%s has links %v", process.Name, process.Links)
		}
		parent, _ := e.Extensions()["traceparent"].(string)
		if !strings.Contains(parent, publish.SpanContext.SpanID().String()) {
			t.Errorf("the event has traceparent %q", parent)
		}
		if err := e.Validate(); err != nil || string(e.Data()) != `{"order":17}` {
			t.Errorf("the event became %v: %v", e, err)
		}
	})
}
