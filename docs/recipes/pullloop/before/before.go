// Package before is a hand-written pull loop as in programs for go-nsq. Do not copy it.
package before

import (
	"context"
	"time"

	"github.com/rdyhq/nsq"
)

// Consume bills orders one after the other, until ctx ends.
func Consume(ctx context.Context, cfg *nsq.Config, nsqd string, bill func([]byte) error) error {
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	messages := make(chan *nsq.Message)
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		m.DisableAutoResponse()
		select {
		case messages <- m:
		case <-ctx.Done(): // nsqd delivers it again after its msg-timeout
		}
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd); err != nil {
		return err
	}
	defer func() {
		consumer.Stop()
		<-consumer.StopChan
	}()
	for {
		select {
		case m := <-messages:
			finish(m, bill)
		case <-ctx.Done():
			return nil
		}
	}
}

// finish touches a message while it is handled, and acks or requeues it.
func finish(m *nsq.Message, bill func([]byte) error) {
	billed := make(chan error, 1)
	go func() { billed <- bill(m.Body) }()
	touch := time.NewTicker(20 * time.Second)
	defer touch.Stop()
	for {
		select {
		case <-touch.C:
			m.Touch()
		case err := <-billed:
			if err != nil {
				m.Requeue(-1)
			} else {
				m.Finish()
			}
			return
		}
	}
}
