package retry_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/scene"
	"github.com/rdyhq/nsq/middleware/retry"
)

// The bank hangs up now and then. The handler is called again, and nsqd hears nothing of it.
func Example() {
	nsqd, stop := scene.StartNSQD("pen")
	defer stop()

	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	run, cancel := context.WithCancel(context.Background())
	consumer.Use(retry.New(retry.Tries(3)))
	calls := 0
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		if calls++; calls == 1 {
			return errors.New("the bank has hung up")
		}
		fmt.Printf("%s billed by call %d of delivery %d\n", m.Body, calls, m.Attempts)
		cancel()
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(run); err != nil {
		log.Print(err)
	}
	// Output: pen billed by call 2 of delivery 1
}
