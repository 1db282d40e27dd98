package nsq_test

import (
	"fmt"
	"log"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// startNSQD starts a fake nsqd on a free port of this machine, with these messages in
// topic orders. stop stops the fake.
func startNSQD(messages ...string) (d *nsqtest.Nsqd, stop func()) {
	tb := &exampleTB{}
	d = nsqtest.NewNsqd(tb, nsqtest.Options{})
	d.CreateChannel("orders", "billing")
	d.Publish("orders", messages...)
	return d, tb.stop
}

// startListedNSQD starts an nsqd, and an nsqlookupd that lists it for these topics.
func startListedNSQD(topics ...string) (d *nsqtest.Nsqd, l *nsqtest.Lookupd, stop func()) {
	tb := &exampleTB{}
	d, l = nsqtest.NewNsqd(tb, nsqtest.Options{}), nsqtest.NewLookupd(tb, nsqtest.LookupdOptions{})
	for _, topic := range topics {
		l.Register(topic, d.Addr())
	}
	return d, l, tb.stop
}

// A cluster is what an example in virtual time runs against.
type cluster struct {
	tb      *exampleTB
	network *nsqtest.Network
	nsqd    *nsqtest.Nsqd // has topic orders with channel billing
	addrs   []string      // of nsqd, and of what start has started

	consumers []*nsq.Consumer
}

// inVirtualTime runs an example in a testing/synctest bubble, in which an hour passes at once.
func inVirtualTime(example func(c *cluster)) {
	synctest.Test(new(testing.T), func(*testing.T) { // an example has no testing.T, and needs none
		c := &cluster{tb: &exampleTB{}, network: nsqtest.NewNetwork()}
		c.nsqd = c.start(nsqtest.Options{Addr: "nsqd-1:4150"})
		c.nsqd.CreateChannel("orders", "billing")
		example(c)
		for _, consumer := range c.consumers {
			consumer.Stop()
		}
		time.Sleep(time.Hour) // for handlers that a stop does not wait for
		c.tb.stop()
	})
}

// start starts another fake nsqd.
func (c *cluster) start(o nsqtest.Options) *nsqtest.Nsqd {
	o.Network = c.network
	d := nsqtest.NewNsqd(c.tb, o)
	c.addrs = append(c.addrs, d.Addr())
	return d
}

// newConfig is nsq.NewConfig, for Consumers and Producers of the cluster.
func (c *cluster) newConfig() *nsq.Config {
	cfg := nsq.NewConfig()
	cfg.DialContext = c.network.DialContext
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

// consume starts a Consumer of channel billing of topic orders, with n handlers. It stops at
// the end of the example.
func (c *cluster) consume(cfg *nsq.Config, n int, handler nsq.HandlerFunc) *nsq.Consumer {
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		log.Fatal(err)
	}
	consumer.AddConcurrentHandlers(handler, n)
	c.consumers = append(c.consumers, consumer)
	if err := consumer.ConnectToNSQDs(c.addrs); err != nil {
		log.Fatal(err)
	}
	return consumer
}

// exampleTB is the testing.TB that nsqtest asks for: an example has none.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (*exampleTB) Helper()                      {}
func (*exampleTB) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (*exampleTB) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (tb *exampleTB) Cleanup(f func())          { tb.cleanups = append(tb.cleanups, f) }
func (tb *exampleTB) stop() {
	for _, f := range tb.cleanups {
		f()
	}
}
