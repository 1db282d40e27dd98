package nsq_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// A program prints the state of its Consumer, for example once a minute.
func ExampleSnapshot() {
	inVirtualTime(func(c *cluster) {
		lookupd := nsqtest.NewLookupd(c.tb, nsqtest.LookupdOptions{Network: c.network, Addr: "lookupd-1:4161"})
		lookupd.Register("orders", c.nsqd.Addr(), "nsqd-2:4150") // nsqd-2 is down
		c.nsqd.Publish("orders", "pen", "ink", "paper")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.MaxInFlight = 2
		consumer, err := nsq.NewConsumer("orders", "billing", cfg)
		if err != nil {
			log.Fatal(err)
		}
		defer consumer.Stop()
		consumer.SetLookupdHttpClient(c.network.HTTPClient())
		consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error {
			time.Sleep(10 * time.Second)
			return nil
		}))
		if err := consumer.ConnectToNSQLookupd(lookupd.Addr()); err != nil {
			log.Fatal(err)
		}
		time.Sleep(15 * time.Second)

		s := consumer.Snapshot()
		fmt.Println(s.State, "busy", s.Busy, "in flight", s.InFlight, "received", s.Received, "finished", s.Finished)
		for _, conn := range s.Connections {
			fmt.Println(conn.Addr, conn.State == nsq.ConnectionUp, "RDY", conn.RDY)
		}
		for _, l := range s.Lookupds {
			fmt.Println(l.Addr, "lists", l.NSQDs, "nsqds")
		}
	})
	// Output:
	// running busy 1 in flight 2 received 3 finished 1
	// nsqd-1:4150 true RDY 2
	// nsqd-2:4150 false RDY 0
	// http://lookupd-1:4161/lookup lists 2 nsqds
}

// Stats has the counts of go-nsq. Snapshot has more.
func ExampleConsumerStats() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen", "ink")
		consumer := c.consume(c.newConfig(), 1, func(*nsq.Message) error { return nil })
		time.Sleep(time.Second)
		stats := consumer.Stats()
		fmt.Println(stats.MessagesReceived, stats.MessagesFinished, stats.MessagesRequeued, stats.Connections)
	})
	// Output: 2 2 0 1
}

// A Producer counts the results of its publishes.
func ExampleProducerSnapshot() {
	nsqd, stop := startNSQD()
	defer stop()
	producer, err := nsq.NewProducer(nsqd.Addr(), nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	fmt.Println(producer.Snapshot().State == nsq.ProducerDisconnected) // until the first publish
	if err := producer.PublishContext(context.Background(), "orders", []byte("pen")); err != nil {
		log.Fatal(err)
	}
	nsqd.Reject("PUB", "E_PUB_FAILED", "disk full")
	if err := producer.PublishContext(context.Background(), "orders", []byte("ink")); err == nil {
		log.Fatal("stored")
	}
	s := producer.Snapshot()
	fmt.Println("published", s.Published, "refused", s.Refused, "unknown", s.Unknown, "pending", s.Pending)
	// Output:
	// true
	// published 1 refused 1 unknown 0 pending 0
}

// A pool shows which of its nsqds are healthy, and counts the results over all of them.
func ExamplePoolMember() {
	inVirtualTime(func(c *cluster) {
		c.start(nsqtest.Options{Addr: "nsqd-2:4150"})
		pool, err := nsq.NewProducerPool(c.addrs, c.newConfig())
		if err != nil {
			log.Fatal(err)
		}
		defer pool.Stop()
		c.nsqd.Kill()
		for range 2 {
			if err := pool.Publish("orders", []byte("pen")); err != nil {
				log.Fatal(err)
			}
		}
		for _, member := range pool.Snapshot() {
			fmt.Println(member.Addr, "healthy:", member.Healthy, "published:", member.Published)
		}
		counts := pool.Counts()
		fmt.Println("published:", counts.Published, "unknown:", counts.Unknown)
	})
	// Output:
	// nsqd-1:4150 healthy: false published: 0
	// nsqd-2:4150 healthy: true published: 2
	// published: 2 unknown: 0
}
