// Package poison keeps messages that cannot be handled as dead letters.
package poison

import (
	"context"
	"fmt"
	"log"
	"strconv"

	"github.com/rdyhq/nsq"
)

// Consume bills orders until ctx ends. The body of a message is the number of an order.
func Consume(ctx context.Context, cfg *nsq.Config, nsqd string, bill func(ctx context.Context, order int) error) error {
	producer, err := nsq.NewProducer(nsqd, cfg)
	if err != nil {
		return err
	}
	defer producer.Stop() // after the consumer, which publishes dead letters
	cfg.MaxInFlight = 20  // 10 for the handlers, 10 prefetched
	cfg.MaxAttempts = 3
	cfg.DeadLetter = &nsq.DeadLetterPolicy{To: producer} // to topic orders.billing.dead
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	consumer.AddConcurrentHandlers(nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		order, err := strconv.Atoi(string(m.Body))
		if err != nil {
			return nsq.DeadLetter(fmt.Errorf("number of an order: %w", err)) // at once: no retry helps
		}
		return bill(ctx, order) // after three errors or panics: it may be the message's fault
	}), 10)
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(ctx)
}
