package nsq_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
)

// One middleware bounds the time of handlers, and another prints their results. The first
// one is the outermost.
func ExampleConsumer_Use() {
	nsqd, stop := startNSQD("pen")
	defer stop()

	timeout := func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			ctx, cancel := context.WithTimeout(m.Context(), time.Millisecond)
			defer cancel()
			return next.HandleMessage(m.WithContext(ctx))
		})
	}
	results := func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			err := next.HandleMessage(m)
			fmt.Printf("%s of %s/%s: %v\n", m.Body, m.Topic(), m.Channel(), err)
			return err
		})
	}

	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	consumer.SetLogger(nil, nsq.LogLevelError)
	run, cancel := context.WithCancel(context.Background())
	consumer.Use(results, timeout)
	consumer.AddHandler(nsq.ContextHandlerFunc(func(ctx context.Context, _ *nsq.Message) error {
		<-ctx.Done() // a bank that does not respond
		cancel()
		return ctx.Err()
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(run); err != nil {
		log.Print(err)
	}
	// Output: pen of orders/billing: context deadline exceeded
}

// A publisher names the customer of a message in an envelope, and the handler finds the name
// in its context. A message without an envelope is handled as well.
func ExampleSealPublisher() {
	nsqd, stop := startNSQD()
	defer stop()
	type customerKey struct{}

	producer, err := nsq.NewProducer(nsqd.Addr(), nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	publisher := nsq.SealPublisher(producer, func(ctx context.Context, _ string) envelope.Header {
		customer, _ := ctx.Value(customerKey{}).(string)
		return envelope.Header{"customer": customer}
	})
	ctx := context.WithValue(context.Background(), customerKey{}, "Ada")
	if err := publisher.PublishContext(ctx, "orders", []byte("pen")); err != nil {
		log.Fatal(err)
	}
	if err := producer.PublishContext(ctx, "orders", []byte("ink")); err != nil { // by another program
		log.Fatal(err)
	}
	fmt.Printf("%q\n", nsqd.Queued("orders", "billing"))

	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	run, cancel := context.WithCancel(context.Background())
	consumer.Use(nsq.OpenEnvelopes())
	consumer.AddHandler(nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		h, ok := envelope.FromContext(ctx)
		fmt.Printf("%s for %q, envelope: %v\n", m.Body, h.Get("customer"), ok)
		if string(m.Body) == "ink" {
			cancel()
		}
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(run); err != nil {
		log.Print(err)
	}
	// Output:
	// ["NSQ-Envelope: 1\ncustomer: Ada\n\npen" "ink"]
	// pen for "Ada", envelope: true
	// ink for "", envelope: false
}

// The lines that a handler logs name the message.
func ExampleContextLogger() {
	nsqd, stop := startNSQD("pen")
	defer stop()

	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { // leaves out what changes from run to run
			if a.Key == slog.TimeKey || a.Key == "id" || a.Key == "nsqd" {
				return slog.Attr{}
			}
			return a
		},
	}))
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	run, cancel := context.WithCancel(context.Background())
	consumer.Use(nsq.ContextLogger(logger))
	consumer.AddHandler(nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		nsq.LoggerFromContext(ctx).Info("billed", "order", string(m.Body))
		cancel()
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(run); err != nil {
		log.Print(err)
	}
	// Output: level=INFO msg=billed topic=orders channel=billing attempts=1 order=pen
}
