// Invoices consumes orders and publishes an invoice for each, until it is
// interrupted. It does what ../switched does, but uses what this package adds to
// go-nsq's API.
package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rdyhq/nsq"
)

var errTooEarly = errors.New("too early")

type handler struct {
	producer *nsq.Producer
}

// handle gets a context that ends when nsqd no longer waits for the message. What
// it returns decides what becomes of the message.
func (h *handler) handle(ctx context.Context, m *nsq.Message) error {
	switch {
	case bytes.HasPrefix(m.Body, []byte("later:")) && m.Attempts == 1:
		return nsq.RetryAfter(10*time.Second, errTooEarly)
	case len(m.Body) < 2:
		return nsq.Discard(errors.New("no order")) // a retry would not help
	}
	return h.producer.PublishContext(ctx, "invoices", append([]byte("invoice for "), m.Body...))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	cfg := nsq.NewConfig()
	cfg.MaxInFlight = 50
	cfg.Logger = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	err := run(ctx, cfg, "127.0.0.1:4150")
	stop()
	if err != nil {
		slog.Error("stopped", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg *nsq.Config, addr string) error {
	producer, err := nsq.NewProducer(addr, cfg)
	if err != nil {
		return err
	}
	defer producer.Stop()
	consumer, err := nsq.NewConsumer("orders", "invoices", cfg)
	if err != nil {
		return err
	}
	consumer.AddConcurrentHandlers(nsq.ContextHandlerFunc((&handler{producer}).handle), 10)
	if err := consumer.ConnectToNSQD(addr); err != nil {
		slog.Warn("not connected yet, will retry", "err", err)
	}
	return consumer.Run(ctx) // an error says what the stop left unfinished
}
