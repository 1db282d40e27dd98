// Package json publishes and handles messages in JSON.
package json

import (
	"context"
	"log"

	"github.com/rdyhq/nsq"
)

// Order is the payload of a message in topic orders.
type Order struct {
	Number string `json:"number"`
	Cents  int    `json:"cents"`
}

// Publish publishes an order.
func Publish(ctx context.Context, p nsq.Publisher, o Order) error {
	return nsq.PublishTyped(ctx, p, nsq.JSON, "orders", o)
}

// Consume bills orders until ctx ends. What is no order goes to the dead letters.
func Consume(ctx context.Context, cfg *nsq.Config, nsqd string, dead nsq.Publisher, bill func(context.Context, Order) error) error {
	cfg.DeadLetter = &nsq.DeadLetterPolicy{To: dead}
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	consumer.AddHandler(nsq.Typed(nsq.JSON, func(ctx context.Context, o Order, _ *nsq.Message) error {
		return bill(ctx, o)
	}))
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(ctx)
}
