package nsqpubsub_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"time"

	"gocloud.dev/pubsub"
	"gocloud.dev/pubsub/batcher"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
	nsqpubsub "github.com/rdyhq/nsq/plugin/gocloud"
)

// A program sends an order, and receives it.
func Example() {
	nsqd, stop := startNSQD() // a program connects to an nsqd that runs already
	defer stop()
	ctx := context.Background()
	config := nsq.NewConfig()
	config.Logger = slog.New(slog.DiscardHandler)

	pool, err := nsq.NewProducerPool([]string{nsqd}, config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Stop()
	topic, err := nsqpubsub.OpenTopic(pool, "orders", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = topic.Shutdown(ctx) }()
	order := &pubsub.Message{Body: []byte("a pen"), Metadata: map[string]string{"customer": "ada"}}
	if err := topic.Send(ctx, order); err != nil {
		log.Fatal(err)
	}

	sub, err := nsqpubsub.OpenSubscription(ctx, config, "orders", "billing",
		&nsqpubsub.SubscriptionOptions{NSQDs: []string{nsqd}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = sub.Shutdown(ctx) }()
	m, err := sub.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s for %s\n", m.Body, m.Metadata["customer"])
	m.Ack()
	// Output: a pen for ada
}

// The same with URLs. The packages that open them need only import this one for its scheme.
func Example_urls() {
	nsqd, stop := startNSQD()
	defer stop()
	ctx := context.Background()

	sub, err := pubsub.OpenSubscription(ctx, "nsq://orders?channel=billing&nsqd="+nsqd)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = sub.Shutdown(ctx) }()
	topic, err := pubsub.OpenTopic(ctx, "nsq://orders?nsqd="+nsqd)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = topic.Shutdown(ctx) }()
	if err := topic.Send(ctx, &pubsub.Message{Body: []byte("a pen")}); err != nil {
		log.Fatal(err)
	}
	m, err := sub.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", m.Body)
	m.Ack()
	// Output: a pen
}

// A program opens URLs with its own Config, here for TLS.
func ExampleURLOpener() {
	config := nsq.NewConfig()
	config.TlsV1 = true
	opener := &nsqpubsub.URLOpener{
		Config: config,
		TopicOptions: nsqpubsub.TopicOptions{ // one command for up to 100 messages
			BatcherOptions: batcher.Options{MaxBatchSize: 100, MaxBatchByteSize: 4 << 20},
		},
	}
	mux := new(pubsub.URLMux)
	mux.RegisterTopic(nsqpubsub.Scheme, opener)
	mux.RegisterSubscription(nsqpubsub.Scheme, opener)

	ctx := context.Background()
	topic, err := mux.OpenTopic(ctx, "nsq://orders?lookupd=10.0.0.1:4161") // connects with the first Send
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = topic.Shutdown(ctx) }()
	// Output:
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
