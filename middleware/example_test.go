package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware"
	"github.com/rdyhq/nsq/middleware/internal/scene"
)

// The handler of an order has a second, if the order is for the shop in Bonn. Orders of one
// customer are not handled at the same time.
func Example() {
	nsqd, stop := scene.StartNSQD("bonn ada pen", "kiel bob ink", "bonn ada ink")
	defer stop()

	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	run, cancel := context.WithCancel(context.Background())
	field := func(m *nsq.Message, i int) string { return strings.Fields(string(m.Body))[i] }
	consumer.Use(
		middleware.Only(func(m *nsq.Message) bool { return field(m, 0) == "bonn" }),
		middleware.ByKey(1, func(m *nsq.Message) string { return field(m, 1) }),
		middleware.Timeout(time.Second),
	)
	handler := nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		end, _ := ctx.Deadline()
		fmt.Printf("%s for %s, within a second: %v\n", field(m, 2), field(m, 1), time.Until(end) <= time.Second)
		if field(m, 2) == "ink" {
			cancel()
		}
		return nil
	})
	consumer.AddHandler(handler)
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(run); err != nil {
		log.Print(err)
	}
	// Output:
	// pen for ada, within a second: true
	// ink for ada, within a second: true
}

// A handler learns from the cause of its context whether its own time is over, or the lease of
// the message.
func ExampleTimeoutError() {
	handler := middleware.Timeout(time.Millisecond)(nsq.ContextHandlerFunc(func(ctx context.Context, _ *nsq.Message) error {
		<-ctx.Done() // a bank that does not respond
		return context.Cause(ctx)
	}))
	err := handler.HandleMessage(nsq.NewMessage(nsq.MessageID{}, []byte("pen")))
	var timeout *middleware.TimeoutError
	if errors.As(err, &timeout) {
		fmt.Println("over:", timeout.Timeout)
	}
	// Output: over: 1ms
}
