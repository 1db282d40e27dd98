package throttle_test

import (
	"context"
	"fmt"
	"log"

	"golang.org/x/time/rate"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/scene"
	"github.com/rdyhq/nsq/middleware/throttle"
)

// The bank takes ten payments a second.
func Example() {
	nsqd, stop := scene.StartNSQD("pen", "ink", "paper")
	defer stop()

	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	run, cancel := context.WithCancel(context.Background())
	consumer.Use(throttle.New(rate.NewLimiter(10, 1)))
	billed := 0
	consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error {
		if billed++; billed == 3 {
			cancel()
		}
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(run); err != nil {
		log.Print(err)
	}
	fmt.Println(billed, "billed, a tenth of a second apart")
	// Output: 3 billed, a tenth of a second apart
}
