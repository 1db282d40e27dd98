// Package fetch takes the next messages when there is time for them, and no others.
package fetch

import (
	"context"
	"errors"
	"log"
	"time"

	"github.com/rdyhq/nsq"
)

// Reviewer takes orders for a review. Make one with New.
type Reviewer struct{ consumer *nsq.Consumer }

// New connects to an nsqd.
func New(ctx context.Context, cfg *nsq.Config, nsqd string) (*Reviewer, error) {
	cfg.MaxBackoffDuration = 0 // no backoff: the caller decides when to go on after a failure
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return nil, err
	}
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return &Reviewer{consumer}, nil
}

// Review reviews the next ten orders, or fewer if there are fewer, and returns how many.
func (r *Reviewer) Review(ctx context.Context, review func(context.Context, []byte) error) (int, error) {
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	orders, err := r.consumer.Fetch(wait, nsq.BatchLimits{Messages: 10, Wait: time.Second})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return 0, nil // there is none
	}
	for _, m := range orders {
		m.Answer(review(m.Context(), m.Body)) // nil acks the message, an error requeues it
	}
	return len(orders), err
}

// Close disconnects.
func (r *Reviewer) Close(ctx context.Context) error { return r.consumer.Shutdown(ctx) }
