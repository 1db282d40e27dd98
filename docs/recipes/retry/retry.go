// Package retry handles orders, some of which have to be tried again.
package retry

import (
	"context"
	"errors"
	"log"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/retry"
)

// Errors of the bank.
var (
	ErrBusy   = errors.New("ask again in five minutes")
	ErrClosed = errors.New("the account is closed")
)

// Consume charges for orders until ctx ends.
func Consume(ctx context.Context, cfg *nsq.Config, nsqd string, charge func(context.Context, []byte) error) error {
	cfg.DefaultRequeueDelay = time.Minute // times the attempts so far:
	cfg.MaxRequeueDelay = 10 * time.Minute
	cfg.MaxAttempts = 20 // a minute, two, three …
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	consumer.Use(retry.New()) // a blip: tries twice more within half a second
	consumer.AddHandler(nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		err := charge(ctx, m.Body)
		switch {
		case errors.Is(err, ErrBusy): // the bank says when
			return nsq.RetryAfter(5*time.Minute, err)
		case errors.Is(err, ErrClosed): // no retry helps
			return nsq.Discard(err)
		}
		return err
	}))
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(ctx)
}
