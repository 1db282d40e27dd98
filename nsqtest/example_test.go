package nsqtest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// A test in virtual time: the hour passes at once, and everything that is due within
// it has happened when Sleep returns.
func Example() {
	t := new(testing.T) // your test's

	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		d.Publish("topic", "hello")

		config := nsq.NewConfig()
		config.DialContext = network.DialContext
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil)) // shown if the test fails
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
	// Output:
}

// A test in real time, on a port of this machine.
func ExampleNsqd_WaitFor() {
	var t *testing.T // your test's

	d := nsqtest.NewNsqd(t, nsqtest.Options{})
	d.Publish("topic", "hello")
	// Connect your consumer of topic and channel to d.Addr().
	d.WaitFor(10*time.Second, func() bool { return d.Stats("topic", "channel").Finished == 1 })
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

// The publisher does not learn what became of its second message: nsqd stores it, but the
// connection breaks before the reply.
func ExampleFault() {
	t := new(testing.T) // your test's

	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		d.Inject(nsqtest.Fault{
			Command: "PUB",
			Match:   func(c nsqtest.Command) bool { return string(c.Body) == "ink" },
			Mute:    true,
			Close:   true,
		})

		config := nsq.NewConfig()
		config.DialContext = network.DialContext
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		producer, err := nsq.NewProducer(d.Addr(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer producer.Stop()
		for _, body := range []string{"pen", "ink"} {
			err := producer.PublishContext(t.Context(), "orders", []byte(body))
			fmt.Println(body, "unknown:", errors.Is(err, nsq.ErrUnknownOutcome))
		}
		fmt.Println("stored:", d.Queued("orders", ""))
	})
	// Output:
	// pen unknown: false
	// ink unknown: true
	// stored: [pen ink]
}

// nsqd is killed and restarted. The consumer connects again, and handles what was published
// in the meantime.
func ExampleNsqd_Kill() {
	t := new(testing.T) // your test's

	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		config := nsq.NewConfig()
		config.DialContext = network.DialContext
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		consumer, err := nsq.NewConsumer("orders", "billing", config)
		if err != nil {
			t.Fatal(err)
		}
		consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
			fmt.Printf("%s\n", m.Body)
			return nil
		}))
		if err := consumer.ConnectToNSQD(d.Addr()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // nothing is left to do
		for _, client := range d.Clients() {
			fmt.Println(client.Topic, client.Channel, "RDY", client.RDY)
		}

		d.Kill()
		d.Publish("orders", "pen")
		time.Sleep(time.Minute)
		d.Restart()
		time.Sleep(time.Minute)
		consumer.Stop()
		<-consumer.StopChan
	})
	// Output:
	// orders billing RDY 1
	// pen
}

// A consumer finds an nsqd through nsqlookupd. Then nsqlookupd hangs, and the consumer goes on
// working.
func ExampleLookupd() {
	t := new(testing.T) // your test's

	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		l := nsqtest.NewLookupd(t, nsqtest.LookupdOptions{Network: network})
		l.Register("orders", d.Addr())

		config := nsq.NewConfig()
		config.DialContext = network.DialContext
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		consumer, err := nsq.NewConsumer("orders", "billing", config)
		if err != nil {
			t.Fatal(err)
		}
		consumer.SetLookupdHttpClient(network.HTTPClient())
		consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
			fmt.Printf("%s\n", m.Body)
			return nil
		}))
		if err := consumer.ConnectToNSQLookupd(l.Addr()); err != nil {
			t.Fatal(err)
		}

		l.Hang()
		time.Sleep(time.Hour)
		d.Publish("orders", "pen")
		time.Sleep(time.Minute)
		consumer.Stop()
		<-consumer.StopChan
	})
	// Output: pen
}

// An nsqlookupd lists an nsqd of an old version that has an IPv6 address.
func ExampleLookupd_RegisterProducer() {
	var l *nsqtest.Lookupd // made with NewLookupd

	p := nsqtest.Producer{BroadcastAddress: "2001:db8::1", TCPPort: 4150, HTTPPort: 4151, Version: "1.1.0"}
	fmt.Println(p.Addr())
	l.RegisterProducer("topic", p)
}

// An nsqd with TLS, whose certificate only this test trusts.
func ExampleCA() {
	t := new(testing.T) // your test's

	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		ca := nsqtest.NewCA(t)
		d := nsqtest.NewNsqd(t, nsqtest.Options{
			Network:     network,
			Addr:        "nsqd-1:4150",
			TLSConfig:   &tls.Config{Certificates: []tls.Certificate{ca.Issue("nsqd-1")}},
			TLSRequired: true,
		})

		config := nsq.NewConfig()
		config.DialContext = network.DialContext
		config.TlsV1 = true
		config.TlsConfig = &tls.Config{RootCAs: ca.Roots()}
		info, err := nsq.CheckNSQD(t.Context(), d.Addr(), config)
		fmt.Println(info.TLS, err)
	})
	// Output: TLS 1.3 <nil>
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

// A test checks that a client closes each of its connections exactly once.
func ExampleConn() {
	network := nsqtest.NewNetwork()
	listener, err := network.Listen("nsqd1:4150")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = listener.Close() }()

	conn, err := network.DialContext(context.Background(), "tcp", "nsqd1:4150") // your client does that
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = conn.Write([]byte("  V2"))
	_ = conn.Close()

	for _, conn := range network.Conns() {
		fmt.Println(conn.RemoteAddr(), "writes:", conn.Writes(), "closes:", conn.Closes())
	}
	// Output: nsqd1:4150 writes: 1 closes: 1
}
