package dedupe_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/dedupe"
	"github.com/rdyhq/nsq/middleware/internal/scene"
)

// The shop has published an order twice. It is billed once.
func Example() {
	nsqd, stop := scene.StartNSQD("order 7", "order 7", "order 8")
	defer stop()

	store := dedupe.NewMemory(time.Hour, 100_000)
	defer store.Close()
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	consumer.Use(dedupe.New(store, func(m *nsq.Message) string { return string(m.Body) }))
	run, cancel := context.WithCancel(context.Background())
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		fmt.Printf("%s billed\n", m.Body)
		if string(m.Body) == "order 8" {
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
	// Output:
	// order 7 billed
	// order 8 billed
}

// A Store promises that of two messages with the same key one is handled. A claim
// for the other one shows that the first is being handled, or is done.
func ExampleStore() {
	memory := dedupe.NewMemory(time.Hour, 100_000)
	defer memory.Close()
	var store dedupe.Store = memory
	ctx := context.Background()
	claim := func(owner string) {
		state, left, err := store.Claim(ctx, "order 7", owner, time.Minute)
		fmt.Println(owner, state == dedupe.Claimed, state == dedupe.Busy && left > 0, state == dedupe.Done, err)
	}
	fmt.Println("message claimed busy done")
	claim("first")
	claim("second")
	if err := store.Commit(ctx, "order 7", "first"); err != nil {
		log.Fatal(err)
	}
	claim("second")
	// Output:
	// message claimed busy done
	// first true false false <nil>
	// second false true false <nil>
	// second false false true <nil>
}
