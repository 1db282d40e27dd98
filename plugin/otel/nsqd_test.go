package nsqotel

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
)

// TestTraceThroughNSQD publishes an order to a real nsqd. The handler of orders publishes an
// invoice. The handler of invoices fails once. All of this is one trace, which README.md shows.
func TestTraceThroughNSQD(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := broker.Start(ctx, broker.Options{NSQDs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	}()

	r := newRecorder(t, AsChild(), WithCarrier(JSONField("traceparent")))
	producer, err := nsq.NewProducer(b.NSQDs()[0].TCPAddr, nsq.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Stop()
	publisher, done := r.Publisher(producer), make(chan struct{})
	orders := r.consumer(t, producer.String(), "orders", func(ctx context.Context, _ *nsq.Message) error {
		return publisher.PublishContext(ctx, "invoices", []byte(`{"order":17,"amount":4}`))
	})
	defer stop(orders)
	invoices := r.consumer(t, producer.String(), "invoices", func(_ context.Context, m *nsq.Message) error {
		if m.Attempts == 1 {
			return nsq.NoBackoff(nsq.RetryAfter(100*time.Millisecond, errors.New("the bank is busy")))
		}
		close(done)
		return nil
	})
	defer stop(invoices)
	if err := publisher.PublishContext(ctx, "orders", []byte(`{"order":17}`)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("the invoice was not handled")
	}
	stop(orders) // its span has ended
	stop(invoices)

	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	got := traces(r.spans.GetSpans(), messageIDKey, "server.address", "server.port", "messaging.system",
		"messaging.operation.name", "messaging.operation.type", "messaging.destination.name", "exception.type")
	if !strings.Contains(string(readme), "```text\n"+got+"```") {
		t.Errorf("README.md does not show this trace:\n%s", got)
	}
	for _, s := range r.spans.GetSpans()[1:] {
		if s.SpanContext.TraceID() != r.spans.GetSpans()[0].SpanContext.TraceID() {
			t.Errorf("%s is in another trace", s.Name)
		}
	}
}

// consumer returns a connected Consumer of a topic's channel billing.
func (r *recorder) consumer(t *testing.T, nsqd, topic string, handler nsq.ContextHandlerFunc) *nsq.Consumer {
	t.Helper()
	c, err := nsq.NewConsumer(topic, "billing", nsq.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	c.Use(r.Middleware)
	c.AddHandler(handler)
	if err := c.ConnectToNSQD(nsqd); err != nil {
		t.Fatal(err)
	}
	return c
}
