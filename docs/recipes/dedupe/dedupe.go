// Package dedupe mails a receipt for each order once, however often the order arrives.
package dedupe

import (
	"context"
	"log"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/dedupe"
)

// Consume mails receipts until ctx ends. The body of a message is the number of an order.
func Consume(ctx context.Context, cfg *nsq.Config, nsqd string, mail func(ctx context.Context, order string) error) error {
	cfg.MaxInFlight = 20 // 10 for the handlers, 10 prefetched
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	store := dedupe.NewMemory(24*time.Hour, 1_000_000)
	defer store.Close()
	consumer.Use(dedupe.New(store, func(m *nsq.Message) string { return string(m.Body) }))
	consumer.AddConcurrentHandlers(nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		return mail(ctx, string(m.Body))
	}), 10)
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(ctx)
}
