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
	b := &batcher{
		size: 100, wait: time.Second, touchEvery: 20 * time.Second,
		store: func(batch []*nsq.Message) []error {
			log.Printf("storing %d messages", len(batch))
			return nil
		},
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := consume(ctx, cfg, "127.0.0.1:4150", b); err != nil {
		log.Print(err)
	}
}

// consume passes messages to the batcher until ctx ends. Before it returns, the
// batcher stores the messages that it still has.
func consume(ctx context.Context, cfg *nsq.Config, addr string, b *batcher) error {
	consumer, err := nsq.NewConsumer("orders", "archive", cfg)
	if err != nil {
		return err
	}
	stop := b.start(ctx)
	defer stop()
	consumer.AddHandler(b)
	if err := consumer.ConnectToNSQD(addr); err != nil {
		log.Print(err) // the consumer keeps trying
	}
	return consumer.Run(ctx)
}
