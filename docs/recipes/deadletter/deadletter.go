// Package deadletter replays dead letters once their cause is fixed.
package deadletter

import (
	"context"
	"errors"
	"time"

	"github.com/rdyhq/nsq"
)

// quiet is how long Replay waits for another dead letter.
const quiet = 5 * time.Second

// Replay calls a handler for the dead letters of topic orders and channel billing. It returns
// when none is left, or when ctx ends. Those that cannot be handled now stay dead letters.
func Replay(ctx context.Context, cfg *nsq.Config, nsqd string, bill nsq.Handler) error {
	cfg.MaxAttempts = 0                                                 // give none up
	cfg.DefaultRequeueDelay, cfg.MaxRequeueDelay = time.Hour, time.Hour // leave failures for the next time
	cfg.MaxBackoffDuration = 0                                          // and go on after them
	consumer, err := nsq.NewConsumer("orders.billing.dead", "replay", cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(quiet, cancel)
	defer idle.Stop()
	consumer.AddHandler(nsq.FromDeadLetters(nsq.HandlerFunc(func(m *nsq.Message) error {
		idle.Stop()
		defer idle.Reset(quiet)
		return bill.HandleMessage(m) // m has the body and, in its context, the headers of the original
	})))
	if err := consumer.Connect(ctx, nsqd); err != nil {
		return errors.Join(err, consumer.Shutdown(ctx))
	}
	return consumer.Run(ctx)
}
