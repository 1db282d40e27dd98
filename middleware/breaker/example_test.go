package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/breaker"
	"github.com/rdyhq/nsq/middleware/internal/scene"
)

// The bank is down when the first payment comes. The Consumer takes no more messages until the
// breaker tries again.
func Example() {
	nsqd, stop := scene.StartNSQD("pen", "ink")
	defer stop()

	config := nsq.NewConfig()
	config.MaxBackoffDuration = 0 // slowing down is left to the breaker
	config.DefaultRequeueDelay = 0
	consumer, err := nsq.NewConsumer("orders", "billing", config)
	if err != nil {
		log.Fatal(err)
	}
	consumer.SetLogger(nil, nsq.LogLevelError)
	circuit := circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(1).
		WithDelay(50 * time.Millisecond).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) { fmt.Println("breaker is", e.NewState) }).
		Build()
	consumer.Use(breaker.New(circuit, consumer))
	run, cancel := context.WithCancel(context.Background())
	calls := 0
	consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error {
		switch calls++; calls {
		case 1:
			return errors.New("the bank is down")
		case 3:
			cancel()
		}
		fmt.Println("billed")
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(run); err != nil {
		log.Print(err)
	}
	// Output:
	// breaker is open
	// breaker is half-open
	// billed
	// breaker is closed
	// billed
}
