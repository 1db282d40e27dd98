package nsqprom_test

import (
	"log"

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
