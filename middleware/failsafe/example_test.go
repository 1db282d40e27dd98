package failsafe_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/failsafe"
	"github.com/rdyhq/nsq/middleware/internal/scene"
)

// The bank sometimes forgets a request. If there is no answer after a while, the handler is
// called once more, and the first one to succeed wins.
func Example() {
	nsqd, stop := scene.StartNSQD("pen")
	defer stop()

	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	consumer.Use(failsafe.New(
		bulkhead.New[any](10),
		hedgepolicy.NewWithDelay[any](20*time.Millisecond),
	))
	run, cancel := context.WithCancel(context.Background())
	calls := make(chan int, 2)
	calls <- 1
	consumer.AddHandler(nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		if n := <-calls; n == 1 {
			calls <- 2
			<-ctx.Done() // ends when the other call has won
			return ctx.Err()
		}
		fmt.Printf("%s billed by the second call\n", m.Body)
		cancel()
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(run); err != nil {
		log.Print(err)
	}
	// Output: pen billed by the second call
}
