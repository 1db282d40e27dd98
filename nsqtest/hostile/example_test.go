package hostile_test

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
	"github.com/rdyhq/nsq/nsqtest/hostile"
)

// An nsqd that subscribes the consumer and then announces a response of 1 GiB.
func Example() {
	t := new(testing.T) // your test's

	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := hostile.NewNsqd(t, hostile.Options{Network: network}, func(p *hostile.Peer) {
			if p.Subscribe() && p.Send(hostile.Header(hostile.Response, 1<<30)) {
				p.Hang()
			}
		})

		config := nsq.NewConfig()
		config.DialContext = network.DialContext
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil)) // shown if the test fails
		consumer, err := nsq.NewConsumer("topic", "channel", config)
		if err != nil {
			t.Fatal(err)
		}
		consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error { return nil }))
		if err := consumer.ConnectToNSQD(d.Addr()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		fmt.Println("open connections:", network.OpenConns())
		consumer.Stop()
		<-consumer.StopChan
	})
	// Output: open connections: 0
}

// An nsqlookupd that sends its response byte by byte, one a second.
func ExampleDrip() {
	t := new(testing.T) // your test's

	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		l := nsqtest.NewLookupd(t, nsqtest.LookupdOptions{Network: network})
		l.Handle(hostile.Drip(`{"producers":[]}`, time.Second))

		start := time.Now()
		response, err := network.HTTPClient().Get(l.URL() + "/lookup?topic=orders") // your client does that
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		fmt.Println(len(body), "bytes after", time.Since(start), err)
	})
	// Output: 16 bytes after 16s <nil>
}
