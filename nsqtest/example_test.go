package nsqtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// A test in virtual time: the hour passes at once, and everything that is due within
// it has happened when Sleep returns.
func Example() {
	var t *testing.T // your test's

	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		d.Publish("topic", "hello")

		config := nsq.NewConfig()
		config.DialContext = network.DialContext
		consumer, err := nsq.NewConsumer("topic", "channel", config)
		if err != nil {
			t.Fatal(err)
		}
		consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
			if m.Attempts == 1 {
				return nsq.RetryAfter(30*time.Minute, errors.New("later"))
			}
			return nil
		}))
		if err := consumer.ConnectToNSQD(d.Addr()); err != nil {
			t.Fatal(err)
		}

		time.Sleep(time.Hour)
		if got := d.Stats("topic", "channel"); got.Requeued != 1 || got.Finished != 1 {
			t.Errorf("%+v", got)
		}
		consumer.Stop()
		<-consumer.StopChan
	})
}

// The first two SUBs fail. The third succeeds, but nsqd delays its reply.
func ExampleNsqd_Inject() {
	var d *nsqtest.Nsqd // made with NewNsqd

	d.Inject(nsqtest.Fault{
		Command: "SUB",
		Times:   2,
		Reply:   nsqtest.ErrorFrame("E_SUB_FAILED", "SUB failed to deleted topic/channel"),
		Close:   true,
	})
	d.Inject(nsqtest.Fault{Command: "SUB", Delay: 5 * time.Second})
}

// A consumer discovers an nsqd through nsqlookupd.
func ExampleLookupd() {
	var t *testing.T // your test's

	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		l := nsqtest.NewLookupd(t, nsqtest.LookupdOptions{Network: network})
		l.Register("topic", d.Addr())

		// Your consumer: config.DialContext = network.DialContext,
		// SetLookupdHttpClient(network.HTTPClient()), ConnectToNSQLookupd(l.Addr()).

		l.Hang() // from now on nsqlookupd does not respond
	})
}

func ExampleNetwork() {
	network := nsqtest.NewNetwork()
	listener, err := network.Listen("nsqd1:4150")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = listener.Close() }()

	conn, err := network.DialContext(context.Background(), "tcp", "nsqd1:4150")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("dials:", network.Dials(), "open:", network.OpenConns())
	_ = conn.Close()
	fmt.Println("dials:", network.Dials(), "open:", network.OpenConns())

	_, err = network.DialContext(context.Background(), "tcp", "nsqd2:4150")
	fmt.Println(err)
	// Output:
	// dials: 1 open: 1
	// dials: 1 open: 0
	// dial tcp nsqd2:4150: connection refused
}
