package nsqprom_test

import (
	"log"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rdyhq/nsq"
	nsqprom "github.com/rdyhq/nsq/plugin/prom"
)

// A Consumer with metrics, and a Producer that shares them.
func Example() {
	metrics, err := nsqprom.New(prometheus.DefaultRegisterer)
	if err != nil {
		log.Fatal(err)
	}
	config := nsq.NewConfig()
	config.Hooks = append(config.Hooks, metrics.Hooks())

	consumer, err := nsq.NewConsumer("orders", "billing", config)
	if err != nil {
		log.Fatal(err)
	}
	metrics.Consumer(consumer)

	producer, err := nsq.NewProducer("127.0.0.1:4150", config)
	if err != nil {
		log.Fatal(err)
	}
	metrics.Producer(producer)
}

// Metrics for a program with many nsqds and topics: without a label for the nsqd, with one label
// for all topics of a customer, and with buckets for slow handlers.
func ExampleNew() {
	options := []nsqprom.Option{
		nsqprom.PerNSQD(false),
		nsqprom.TopicLabel(func(name string) string {
			if strings.HasPrefix(name, "customer.") {
				return "customer.*"
			}
			return nsqprom.FoldEphemeral(name) // the default
		}),
		nsqprom.Buckets(0.1, 1, 10, 60, 300),
	}
	metrics, err := nsqprom.New(prometheus.DefaultRegisterer, options...)
	if err != nil {
		log.Fatal(err)
	}
	config := nsq.NewConfig()
	config.Hooks = append(config.Hooks, metrics.Hooks())
}
