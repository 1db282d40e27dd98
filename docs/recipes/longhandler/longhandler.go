// Package longhandler handles messages that take longer than nsqd's msg-timeout.
package longhandler

import (
	"context"
	"log"
	"time"

	"github.com/rdyhq/nsq"
)

// Consume encodes videos until ctx ends.
func Consume(ctx context.Context, cfg *nsq.Config, nsqd string, encode func(ctx context.Context, file string) error) error {
	cfg.MsgTimeout = 30 * time.Second // so soon after a crash another process gets the message
	cfg.AutoTouch = 10 * time.Minute  // as long as this process lives, a video may take this long
	cfg.StopTimeout = time.Minute     // when the process stops it may take this long
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	consumer.AddHandler(nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		return encode(ctx, string(m.Body)) // such as exec.CommandContext(ctx, "ffmpeg", …).Run()
	}))
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(ctx)
}
