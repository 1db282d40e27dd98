package nsq_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/rdyhq/nsq"
)

// A handler gets up to a thousand orders at a time, and no order waits longer than half a second
// for others. If the handler returns an error, all of them are delivered again; Message.Answer
// acks or requeues a single one. examples/batch stores batches in a database.
func ExampleBatchHandler() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen", "ink", "paper")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.MaxInFlight = 2000
		consumer, err := nsq.NewConsumer("orders", "billing", cfg)
		if err != nil {
			log.Fatal(err)
		}
		defer consumer.Stop()
		insert := func(_ context.Context, batch []*nsq.Message) error {
			fmt.Printf("insert %d rows: %s …\n", len(batch), batch[0].Body)
			return nil
		}
		limits := nsq.BatchLimits{Messages: 1000, Bytes: 4 << 20, Wait: 500 * time.Millisecond}
		consumer.AddBatchHandler(nsq.BatchHandlerFunc(insert), limits, 1)
		if err := consumer.ConnectToNSQD(c.nsqd.Addr()); err != nil {
			log.Print(err) // the Consumer keeps trying
		}
		time.Sleep(time.Second)
	})
	// Output: insert 3 rows: pen …
}

// A program takes messages in a loop of its own.
func ExampleConsumer_Messages() {
	nsqd, stop := startNSQD("pen", "ink")
	defer stop()
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer consumer.Stop()
	ctx, cancel := context.WithCancel(context.Background()) // a program uses signal.NotifyContext
	defer cancel()
	if err := consumer.Connect(ctx, nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	for m := range consumer.Messages(ctx) {
		fmt.Printf("%s\n", m.Body)
		m.Answer(nil) // as if a handler had returned this error
		if string(m.Body) == "ink" {
			cancel()
		}
	}
	// Output:
	// pen
	// ink
}

// A program that runs once an hour takes the messages that wait, up to a hundred.
func ExampleConsumer_Fetch() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen", "ink")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		consumer, err := nsq.NewConsumer("orders", "billing", cfg)
		if err != nil {
			log.Fatal(err)
		}
		defer consumer.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := consumer.Connect(ctx, c.nsqd.Addr()); err != nil {
			log.Print(err) // the Consumer keeps trying
		}
		messages, err := consumer.Fetch(ctx, nsq.BatchLimits{Messages: 100, Wait: time.Second})
		if err != nil {
			log.Fatal(err)
		}
		for _, m := range messages {
			fmt.Printf("%s\n", m.Body)
			m.Answer(nil) // as if a handler had returned this error
		}
	})
	// Output:
	// pen
	// ink
}

// Three goroutines publish at the same time. The Batcher may send their messages together. Each
// goroutine gets the result of its own message.
func ExampleBatcher() {
	nsqd, stop := startNSQD()
	defer stop()
	producer, err := nsq.NewProducer(nsqd.Addr(), nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	batcher, err := nsq.NewBatcher(producer, nsq.BatchOptions{}) // the zero value suits most programs
	if err != nil {
		log.Fatal(err)
	}
	defer batcher.Stop() // before the Producer

	results := make(chan error)
	for _, order := range []string{"pen", "ink", "paper"} {
		go func() { results <- batcher.PublishContext(context.Background(), "orders", []byte(order)) }()
	}
	for range 3 {
		if err := <-results; err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(len(nsqd.Queued("orders", "billing")), "orders")
	// Output: 3 orders
}
