package nsq_test

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strings"

	"github.com/rdyhq/nsq"
)

// local is a DiscoveryFilter that keeps the nsqds of this machine.
type local struct{}

var _ nsq.DiscoveryFilter = local{}

func (local) Filter(addrs []string) []string {
	return slices.DeleteFunc(addrs, func(addr string) bool { return !strings.HasPrefix(addr, "127.0.0.1:") })
}

// A consumer connects to some of the nsqds that nsqlookupd lists.
func ExampleDiscoveryFilter() {
	nsqd, lookupd, stop := startListedNSQD("orders") // fakes
	defer stop()
	lookupd.Register("orders", "192.0.2.7:4150")
	nsqd.Publish("orders", "pen")

	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	consumer.SetBehaviorDelegate(local{})
	ctx, cancel := context.WithCancel(context.Background())
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		fmt.Printf("%s, from %d nsqd\n", m.Body, len(consumer.Snapshot().Connections))
		cancel()
		return nil
	}))
	if err := consumer.ConnectToNSQLookupd(lookupd.Addr()); err != nil {
		log.Fatal(err)
	}
	if err := consumer.Run(ctx); err != nil {
		log.Print(err)
	}
	// Output: pen, from 1 nsqd
}
