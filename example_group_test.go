package nsq_test

import (
	"context"
	"fmt"
	"log"
	"regexp"
	"sync/atomic"

	"github.com/rdyhq/nsq"
)

// A Group consumes two topics. Orders come before newsletters: while both have more messages
// than the ten that may be in flight, nine of them are orders.
func ExampleGroup() {
	nsqd, stop := startNSQD("pen", "ink") // a fake, with two orders
	defer stop()
	nsqd.Publish("newsletters", "spring")

	cfg := nsq.NewConfig()
	cfg.MaxInFlight = 10
	group, err := nsq.NewGroup(cfg)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // a program uses signal.NotifyContext
	var handled atomic.Int32
	show := nsq.HandlerFunc(func(m *nsq.Message) error {
		fmt.Printf("%s: %s\n", m.Topic(), m.Body)
		if handled.Add(1) == 3 {
			cancel()
		}
		return nil
	})
	if err := group.Handle("orders", "billing", show, nsq.HandleOptions{Concurrency: 5, Weight: 9}); err != nil {
		log.Fatal(err)
	}
	if err := group.Handle("newsletters", "mailer", show, nsq.HandleOptions{Concurrency: 5, Weight: 1}); err != nil {
		log.Fatal(err)
	}
	if err := group.Connect(ctx, nsqd.Addr()); err != nil {
		log.Fatal(err)
	}
	if err := group.Run(ctx); err != nil {
		log.Print(err) // handlers that did not return in time
	}
	// Unordered output:
	// orders: pen
	// orders: ink
	// newsletters: spring
}

// A Group archives all topics whose names begin with "audit.", those of later as well.
func ExampleGroup_HandleMatching() {
	nsqd, lookupd, stop := startListedNSQD("audit.logins", "orders") // fakes
	defer stop()
	nsqd.Publish("audit.logins", "ann")
	nsqd.Publish("orders", "pen")

	group, err := nsq.NewGroup(nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // a program uses signal.NotifyContext
	archive := func(topic string) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			fmt.Printf("%s: %s\n", topic, m.Body)
			cancel()
			return nil
		})
	}
	if err := group.HandleMatching(regexp.MustCompile(`^audit\.`), "archive", archive, nsq.HandleOptions{}); err != nil {
		log.Fatal(err)
	}
	if err := group.Discover(ctx, lookupd.Addr()); err != nil {
		log.Fatal(err)
	}
	if err := group.Run(ctx); err != nil {
		log.Print(err) // handlers that did not return in time
	}
	// Output:
	// audit.logins: ann
}
