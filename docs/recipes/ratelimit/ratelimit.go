// Package ratelimit handles no more messages a second than another service allows.
package ratelimit

import (
	"context"
	"log"

	"golang.org/x/time/rate"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/throttle"
)

// Consume charges for ten orders a second, until ctx ends.
func Consume(ctx context.Context, cfg *nsq.Config, nsqd string, charge func(context.Context, []byte) error) error {
	cfg.MaxInFlight = 100 // less than half a msg-timeout, 30 s, times the rate
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	consumer.Use(throttle.New(rate.NewLimiter(10, 1)))
	consumer.AddConcurrentHandlers(nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		return charge(ctx, m.Body)
	}), 5) // calls at the same time, if one takes longer than a tenth of a second
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(ctx)
}
