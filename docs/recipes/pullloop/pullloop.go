// Package pullloop handles messages in a loop of its own. Package before, below it, is the
// same loop as programs for go-nsq write it.
package pullloop

import (
	"context"
	"log"
	"time"

	"github.com/rdyhq/nsq"
)

// Consume bills orders one after the other, until ctx ends.
func Consume(ctx context.Context, cfg *nsq.Config, nsqd string, bill func(context.Context, []byte) error) error {
	cfg.AutoTouch = 10 * time.Minute // a bill may take this long
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	for m := range consumer.Messages(ctx) {
		m.Answer(bill(m.Context(), m.Body)) // nil acks the message, an error requeues it
	}
	return consumer.Run(ctx) // ctx has ended: stops, and waits for the last ack
}
