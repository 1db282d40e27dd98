package nsq_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/rdyhq/nsq"
)

// A producer publishes two orders. A consumer bills them: the first attempt at the
// pen fails, so nsqd delivers the pen again. The consumer stops when both are billed.
func Example() {
	nsqd, stop := startNSQD() // a fake; a program connects to a real nsqd
	defer stop()

	producer, err := nsq.NewProducer(nsqd.Addr(), nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	for _, order := range []string{"pen", "ink"} {
		if err := producer.PublishContext(context.Background(), "orders", []byte(order)); err != nil {
			log.Fatal(err)
		}
	}

	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // a program uses signal.NotifyContext
	billed := 0
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		if string(m.Body) == "pen" && m.Attempts == 1 {
			fmt.Println("the bank is busy: the pen comes again")
			return nsq.RetryAfter(time.Millisecond, errors.New("busy"))
		}
		fmt.Printf("billed: %s, attempt %d\n", m.Body, m.Attempts)
		if billed++; billed == 2 {
			cancel()
		}
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(ctx); err != nil {
		log.Print(err) // handlers that did not return in time
	}
	// Unordered output:
	// the bank is busy: the pen comes again
	// billed: ink, attempt 1
	// billed: pen, attempt 2
}
