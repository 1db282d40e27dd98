package nsqwatermill_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
	nsqwatermill "github.com/rdyhq/nsq/plugin/watermill"
)

// A Router bills orders and publishes an invoice for each.
func Example() {
	nsqd, stop := startNSQD() // a program connects to an nsqd that runs already
	defer stop()
	logger := slog.New(slog.DiscardHandler)
	bill := func(m *message.Message) ([]*message.Message, error) {
		invoice := message.NewMessage(watermill.NewUUID(), append(message.Payload("invoice for "), m.Payload...))
		invoice.Metadata.Set("customer", m.Metadata.Get("customer"))
		return message.Messages{invoice}, nil
	}

	config := nsq.NewConfig()
	config.Logger = logger
	producer, err := nsq.NewProducer(nsqd, config)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	publisher := nsqwatermill.NewPublisher(producer, nsqwatermill.PublisherConfig{})
	subscriber, err := nsqwatermill.NewSubscriber(nsqwatermill.SubscriberConfig{
		NSQDs: []string{nsqd}, Channel: "billing", Config: config,
	})
	if err != nil {
		log.Fatal(err)
	}
	router := message.NewDefaultRouter(watermill.NewSlogLogger(logger))
	router.AddHandler("bill", "orders", subscriber, "invoices", publisher, bill)
	go func() {
		if err := router.Run(context.Background()); err != nil {
			log.Print(err)
		}
	}()

	invoices, err := subscriber.Subscribe(context.Background(), "invoices")
	if err != nil {
		log.Fatal(err)
	}
	order := message.NewMessage(watermill.NewUUID(), message.Payload("a pen"))
	order.Metadata.Set("customer", "ada")
	if err := publisher.Publish("orders", order); err != nil {
		log.Fatal(err)
	}
	invoice := <-invoices
	fmt.Printf("%s, to %s\n", invoice.Payload, invoice.Metadata.Get("customer"))
	invoice.Ack()
	if err := router.Close(); err != nil {
		log.Fatal(err)
	}
	// Output: invoice for a pen, to ada
}

// The UUID and the metadata travel as headers in front of the body.
func ExampleEnvelope() {
	order := message.NewMessage("17", message.Payload("a pen"))
	order.Metadata.Set("customer", "ada")
	body, err := nsqwatermill.Envelope{}.Marshal("orders", order)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", body)
	// Output:
	// NSQ-Envelope: 1
	// _watermill_message_uuid: 17
	// customer: ada
	//
	// a pen
}

// plain is a Marshaler for topics whose other consumers open no envelopes: the body is the
// payload, and neither UUID nor metadata is published.
type plain struct{}

func (plain) Marshal(_ string, m *message.Message) ([]byte, error) { return m.Payload, nil }

func (plain) Unmarshal(m *nsq.Message) (*message.Message, error) {
	return message.NewMessage(string(m.ID[:]), m.Body), nil
}

func ExampleMarshaler() {
	nsqd, stop := startNSQD()
	defer stop()
	config := nsq.NewConfig()
	config.Logger = slog.New(slog.DiscardHandler)
	producer, err := nsq.NewProducer(nsqd, config)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	publisher := nsqwatermill.NewPublisher(producer, nsqwatermill.PublisherConfig{Marshaler: plain{}})
	if err := publisher.Publish("orders", message.NewMessage("", message.Payload("a pen"))); err != nil {
		log.Fatal(err)
	}

	consumer, err := nsq.NewConsumer("orders", "billing", config)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		fmt.Printf("%s\n", m.Body)
		cancel()
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd); err != nil {
		log.Fatal(err)
	}
	if err := consumer.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: a pen
}

// startNSQD starts an nsqd and returns its address.
func startNSQD() (addr string, stop func()) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := broker.Start(ctx, broker.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return b.NSQDs()[0].TCPAddr, func() {
		if err := b.Stop(); err != nil {
			log.Fatal(err)
		}
	}
}
