package nsq_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
)

// An order that cannot be billed becomes a dead letter. When the cause is fixed, the same
// handler bills it.
func ExampleFromDeadLetters() {
	nsqd, stop := startNSQD("abacus")
	defer stop()
	producer, err := nsq.NewProducer(nsqd.Addr(), nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	run, cancel := context.WithCancel(context.Background())
	mended := false
	bill := nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		if !mended {
			return nsq.DeadLetter(errors.New("unknown item"))
		}
		origin, _ := envelope.FromContext(ctx)
		fmt.Printf("%s of %s billed, after: %s\n", m.Body, origin[nsq.HeaderOriginTopic], origin[nsq.HeaderFailedError])
		cancel()
		return nil
	})

	cfg := nsq.NewConfig()
	buried := make(chan nsq.BuriedEvent, 1)
	cfg.Hooks = []nsq.Hooks{{Buried: func(e nsq.BuriedEvent) { buried <- e }}}
	cfg.DeadLetter = &nsq.DeadLetterPolicy{To: producer}
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		log.Fatal(err)
	}
	consumer.SetLogger(nil, nsq.LogLevelError)
	consumer.AddHandler(bill)
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	e := <-buried
	fmt.Printf("to %s: %v\n", e.DeadTopic, e.Err)
	if err := consumer.Shutdown(context.Background()); err != nil {
		log.Print(err)
	}

	mended = true
	cfg = nsq.NewConfig()
	cfg.MaxAttempts = 0
	replay, err := nsq.NewConsumer("orders.billing.dead", "replay", cfg)
	if err != nil {
		log.Fatal(err)
	}
	replay.AddHandler(nsq.FromDeadLetters(bill))
	if err := replay.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	if err := replay.Run(run); err != nil {
		log.Print(err)
	}
	// Output:
	// to orders.billing.dead: unknown item
	// abacus of orders billed, after: unknown item
}
