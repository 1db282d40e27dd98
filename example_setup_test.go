package nsq_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// A program takes options from its command line.
func ExampleConfigFlag() {
	cfg := nsq.NewConfig()
	flags := flag.NewFlagSet("billing", flag.ContinueOnError)
	flags.Var(&nsq.ConfigFlag{Config: cfg}, "consumer-opt", "option,value (may be given several times)")
	if err := flags.Parse([]string{"-consumer-opt=max_in_flight,200", "-consumer-opt=snappy"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(cfg.MaxInFlight, cfg.Snappy)
	// Output: 200 true
}

// Lines in go-nsq's format go to any Logger, such as a *log.Logger. For structured records set
// Config.Logger.
func ExampleLogger() {
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer consumer.Stop()
	var lines nsq.Logger = log.New(os.Stderr, "billing: ", log.LstdFlags)
	consumer.SetLogger(lines, nsq.LogLevelWarning) // and errors
}

// Structured records, without the lines about each connection.
func ExampleConfig_logger() {
	cfg := nsq.NewConfig()
	cfg.Logger = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	producer, err := nsq.NewProducer("127.0.0.1:4150", cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
}

// A pool publishes to any of the nsqds that nsqlookupds list. It first asks the nsqlookupds when
// something is published.
func ExampleNewDiscoveredProducerPool() {
	nsqd, lookupd, stop := startListedNSQD("orders") // fakes
	defer stop()
	pool, err := nsq.NewDiscoveredProducerPool([]string{lookupd.Addr()}, nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Stop()
	if err := pool.PublishContext(context.Background(), "orders", []byte("pen")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(nsqd.Queued("orders", ""))
	// Output: [pen]
}

// A program that speaks the protocol itself sends AUTH.
func ExampleAuthResponse() {
	inVirtualTime(func(c *cluster) {
		nsqd := c.start(nsqtest.Options{Addr: "nsqd-2:4150", AuthSecret: "s3cret"})
		socket, err := c.network.DialContext(context.Background(), "tcp", nsqd.Addr())
		if err != nil {
			log.Fatal(err)
		}
		defer func() { _ = socket.Close() }()
		auth, _ := nsq.Auth("s3cret") // the error is always nil
		hello := bytes.NewBuffer(bytes.Clone(nsq.MagicV2))
		_, _ = auth.WriteTo(hello) // a write to a bytes.Buffer does not fail
		if _, err := hello.WriteTo(socket); err != nil {
			log.Fatal(err)
		}
		_, data, err := nsq.ReadUnpackedResponse(socket, 0)
		if err != nil {
			log.Fatal(err)
		}
		var granted nsq.AuthResponse
		if err := json.Unmarshal(data, &granted); err != nil {
			log.Fatal(err)
		}
		fmt.Println("permissions:", granted.PermissionCount)
	})
	// Output: permissions: 1
}
