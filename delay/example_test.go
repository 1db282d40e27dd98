package delay_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/delay"
)

// A program publishes a reminder that is delivered in 12 hours.
func ExamplePublish() {
	producer, err := nsq.NewProducer("127.0.0.1:4150", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	at := time.Now().Add(12 * time.Hour)
	if err := delay.Publish(ctx, producer, "reminders", at, []byte(`{"order":17}`)); err != nil {
		log.Print(err)
	}
}

// A relay is a small program of its own, or part of one that consumes the topic anyway.
func ExampleNewRelay() {
	const lookupd = "127.0.0.1:4161"
	config := nsq.NewConfig()
	config.MaxInFlight = 20
	pool, err := nsq.NewDiscoveredProducerPool([]string{lookupd}, config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Stop()
	relay, err := delay.NewRelay("reminders", pool, config)
	if err != nil {
		log.Fatal(err)
	}
	if err := relay.ConnectToNSQLookupd(lookupd); err != nil {
		log.Print(err) // is retried
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := relay.Run(ctx); err != nil {
		log.Print(err)
	}
}
