package nsq_test

import (
	"context"
	"fmt"
	"log"

	"github.com/rdyhq/nsq"
)

type order struct{ Item string }

// The handler gets orders. What is no order never reaches it, and would become a dead letter
// if the Config had a DeadLetterPolicy.
func ExampleTyped() {
	nsqd, stop := startNSQD()
	defer stop()
	producer, err := nsq.NewProducer(nsqd.Addr(), nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	if err := nsq.PublishTyped(context.Background(), producer, nsq.JSON, "orders", order{Item: "pen"}); err != nil {
		log.Fatal(err)
	}

	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	run, cancel := context.WithCancel(context.Background())
	consumer.AddHandler(nsq.Typed(nsq.JSON, func(_ context.Context, o order, m *nsq.Message) error {
		fmt.Printf("%s, decoded from %s\n", o.Item, m.Body)
		cancel()
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := consumer.Run(run); err != nil {
		log.Print(err)
	}
	// Output: pen, decoded from {"Item":"pen"}
}
