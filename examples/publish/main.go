// Publish publishes one message. README.md shows its function publish.
package main

import (
	"context"
	"errors"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/rdyhq/nsq"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := publish(ctx); err != nil {
		log.Print(err)
	}
}

func publish(ctx context.Context) error {
	producer, err := nsq.NewProducer("127.0.0.1:4150", nsq.NewConfig())
	if err != nil {
		return err
	}
	defer producer.Stop()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = producer.PublishContext(ctx, "orders", []byte("order 1"))
	if errors.Is(err, nsq.ErrNotSent) {
		log.Print("nsqd does not have it: it can be published again")
	}
	return err // an ErrUnknownOutcome says that nsqd may have it
}
