// Consumer prints the messages of one channel until it is interrupted. README shows
// it.
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
		return nil // finished; an error would have it delivered again
	}), 10)
	if err := c.ConnectToNSQDs([]string{"127.0.0.1:4150"}); err != nil {
		log.Print(err) // what failed is tried again
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := c.Run(ctx); err != nil {
		log.Print(err) // handlers that did not end in time
	}
}
