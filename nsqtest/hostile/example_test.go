package hostile_test

import (
	"testing"
	"testing/synctest"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
	"github.com/rdyhq/nsq/nsqtest/hostile"
)

// An nsqd that subscribes the consumer and then announces a response of 1 GiB.
func Example() {
	var t *testing.T // your test's

	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := hostile.NewNsqd(t, hostile.Options{Network: network}, func(p *hostile.Peer) {
			if p.Subscribe() && p.Send(hostile.Header(hostile.Response, 1<<30)) {
				p.Hang()
			}
		})

		config := nsq.NewConfig()
		config.DialContext = network.DialContext
		consumer, err := nsq.NewConsumer("topic", "channel", config)
		if err != nil {
			t.Fatal(err)
		}
		consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error { return nil }))
		if err := consumer.ConnectToNSQD(d.Addr()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if network.OpenConns() != 0 {
			t.Error("the connection is open")
		}
		consumer.Stop()
		<-consumer.StopChan
	})
}
