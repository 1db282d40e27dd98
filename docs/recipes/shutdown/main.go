// Shutdown is a consumer that Ctrl-C or SIGTERM stops gracefully, and a second one at once.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rdyhq/nsq"
)

func main() {
	err := run(nsq.NewConfig(), "127.0.0.1:4150", func(_ context.Context, m *nsq.Message) error {
		log.Printf("%s", m.Body)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
}

// run handles messages until a signal tells the process to end.
func run(cfg *nsq.Config, nsqd string, h nsq.ContextHandlerFunc) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // after the first signal, a second one ends the process
	return consume(ctx, cfg, nsqd, h)
}

// consume handles messages until ctx ends. Its error says what the stop left unfinished.
func consume(ctx context.Context, cfg *nsq.Config, nsqd string, h nsq.ContextHandlerFunc) error {
	cfg.MaxInFlight = 20               // 10 for the handlers, 10 prefetched
	cfg.StopTimeout = 20 * time.Second // less than the 30 seconds that Kubernetes allows
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	consumer.AddConcurrentHandlers(h, 10)
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(ctx)
}
