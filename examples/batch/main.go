// Batch is a consumer that stores messages in batches, as suits a database.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/rdyhq/nsq"
)

func main() {
	cfg := nsq.NewConfig()
	cfg.MaxInFlight = 200 // two batches: one fills while the other is stored
	cfg.AutoTouch = 15 * time.Minute
	store := func(ctx context.Context, batch []*nsq.Message) []error {
		log.Printf("storing %d messages", len(batch))
		return nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := consume(ctx, cfg, "127.0.0.1:4150", store); err != nil {
		log.Print(err)
	}
}

// storeFunc stores a batch, and returns nil or an error for each message.
type storeFunc func(ctx context.Context, batch []*nsq.Message) []error

// consume stores batches of at most 100 messages until ctx ends. It waits at most a second
// for a batch to fill. Messages that could not be stored are delivered again.
func consume(ctx context.Context, cfg *nsq.Config, addr string, store storeFunc) error {
	consumer, err := nsq.NewConsumer("orders", "archive", cfg)
	if err != nil {
		return err
	}
	handle := func(ctx context.Context, batch []*nsq.Message) error {
		for i, err := range store(ctx, batch) {
			batch[i].Answer(err)
		}
		return nil // the Consumer acks what is not answered yet
	}
	limits := nsq.BatchLimits{Messages: 100, Wait: time.Second}
	consumer.AddBatchHandler(nsq.BatchHandlerFunc(handle), limits, 2)
	if err := consumer.ConnectToNSQD(addr); err != nil {
		log.Print(err) // the consumer keeps trying
	}
	return consumer.Run(ctx)
}
