// Package billing is a consumer, and its tests show how to test one.
package billing

import (
	"context"
	"errors"
	"log"
	"time"

	"github.com/rdyhq/nsq"
)

// ErrBusy means that the bank wants to be asked again later.
var ErrBusy = errors.New("the bank is busy")

// Handler charges for orders.
type Handler struct {
	Charge func(ctx context.Context, order string) error
}

// HandleMessage charges for one order.
func (h *Handler) HandleMessage(m *nsq.Message) error {
	err := h.Charge(m.Context(), string(m.Body))
	if errors.Is(err, ErrBusy) {
		return nsq.RetryAfter(5*time.Minute, err)
	}
	return err
}

// Consume charges for orders until ctx ends.
func Consume(ctx context.Context, cfg *nsq.Config, nsqd string, h *Handler) error {
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	consumer.AddHandler(h)
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(ctx)
}
