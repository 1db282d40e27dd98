// Consumer prints the messages of one channel until it is interrupted. README.md
// shows its function consume.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/rdyhq/nsq"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := consume(ctx); err != nil {
		log.Print(err)
	}
}

func consume(ctx context.Context) error {
	cfg := nsq.NewConfig()
	cfg.MaxInFlight = 100
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	consumer.AddConcurrentHandlers(nsq.HandlerFunc(func(m *nsq.Message) error {
		return bill(m.Body) // nil: done. An error: nsqd delivers it again, later.
	}), 10)
	if err := consumer.ConnectToNSQDs([]string{"127.0.0.1:4150"}); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(ctx) // until ctx ends; its error names handlers that did not return in time
}

func bill(order []byte) error {
	log.Printf("billed %s", order)
	return nil
}
