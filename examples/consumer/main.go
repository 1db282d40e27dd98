// Consumer prints the messages of one channel until it is interrupted. README.md
// shows it.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/rdyhq/nsq"
)

func main() {
	cfg := nsq.NewConfig()
	cfg.MaxInFlight = 100
	c, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		log.Fatal(err)
	}
	c.AddConcurrentHandlers(nsq.HandlerFunc(func(m *nsq.Message) error {
		log.Printf("%s", m.Body)
		return nil // done; after an error nsqd delivers it again
	}), 10)
	if err := c.ConnectToNSQDs([]string{"127.0.0.1:4150"}); err != nil {
		log.Print(err) // failed addresses are retried
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := c.Run(ctx); err != nil {
		log.Print(err) // names the handlers that did not return in time
	}
}
