package nsq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"github.com/rdyhq/nsq"
)

// A consumer prints the messages of a channel, and stops after the last.
func ExampleConsumer() {
	nsqd, stop := startNSQD("pen", "ink", "paper")
	defer stop()

	cfg := nsq.NewConfig()
	cfg.MaxInFlight = 100
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // a program uses signal.NotifyContext
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		fmt.Printf("%s\n", m.Body)
		if string(m.Body) == "paper" {
			cancel()
		}
		return nil
	}))
	if err := consumer.ConnectToNSQDs([]string{nsqd.Addr()}); err != nil {
		log.Print(err) // the Consumer keeps trying the nsqds that failed
	}
	if err := consumer.Run(ctx); err != nil {
		log.Print(err)
	}
	// Output:
	// pen
	// ink
	// paper
}

func ExampleConsumer_Snapshot() {
	nsqd, stop := startNSQD("pen", "ink")
	defer stop()
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	handled := make(chan bool)
	consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error {
		handled <- true
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Fatal(err)
	}
	<-handled
	<-handled
	if err := consumer.Shutdown(context.Background()); err != nil {
		log.Print(err)
	}
	s := consumer.Snapshot()
	fmt.Println(s.Topic, s.Channel, "received", s.Received, "finished", s.Finished, "in flight", s.InFlight)
	// Output: orders billing received 2 finished 2 in flight 0
}

// A publish waits for nsqd's reply. Its error says whether nsqd may have the message.
func ExampleProducer() {
	nsqd, stop := startNSQD()
	defer stop()
	producer, err := nsq.NewProducer(nsqd.Addr(), nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()

	publish := func(topic, body string) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		switch err := producer.PublishContext(ctx, topic, []byte(body)); {
		case err == nil:
			fmt.Println("published")
		case errors.Is(err, nsq.ErrNotSent):
			fmt.Println("nsqd does not have it: it can be published again")
		case errors.Is(err, nsq.ErrUnknownOutcome):
			fmt.Println("nsqd may have it: publishing it again may make a duplicate")
		default:
			fmt.Println("refused:", err)
		}
	}
	publish("orders", "pen")
	publish("my orders", "ink")
	// Output:
	// published
	// refused: publish: invalid topic name "my orders"
}

func ExampleProducer_MultiPublish() {
	nsqd, stop := startNSQD()
	defer stop()
	producer, err := nsq.NewProducer(nsqd.Addr(), nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	if err := producer.MultiPublish("orders", [][]byte{[]byte("pen"), []byte("ink")}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(nsqd.Queued("orders", "billing"))
	// Output: [pen ink]
}

// The results of asynchronous publishes come on a channel, which must be received
// from.
func ExampleProducer_PublishAsync() {
	nsqd, stop := startNSQD()
	defer stop()
	producer, err := nsq.NewProducer(nsqd.Addr(), nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	done := make(chan *nsq.ProducerTransaction)
	for i, body := range []string{"pen", "ink"} {
		if err := producer.PublishAsync("orders", []byte(body), done, i); err != nil {
			log.Fatal(err)
		}
	}
	for range 2 {
		t := <-done
		fmt.Println(t.Args[0], t.Error)
	}
	// Output:
	// 0 <nil>
	// 1 <nil>
}

// A pool passes over an nsqd that is down.
func ExampleProducerPool() {
	one, stopOne := startNSQD()
	defer stopOne()
	two, stopTwo := startNSQD()
	defer stopTwo()
	pool, err := nsq.NewProducerPool([]string{one.Addr(), two.Addr()}, nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Stop()
	two.Kill()
	for _, body := range []string{"pen", "ink", "paper"} {
		if err := pool.Publish("orders", []byte(body)); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(one.Queued("orders", "billing"))
	// Output: [pen ink paper]
}

// A handler may leave acking to another goroutine.
func ExampleMessage_DisableAutoResponse() {
	nsqd, stop := startNSQD("pen")
	defer stop()
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	later := make(chan *nsq.Message)
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		m.DisableAutoResponse()
		later <- m
		return nil // acks nothing
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Fatal(err)
	}
	m := <-later
	m.Touch() // the msg-timeout starts again
	fmt.Printf("%s, attempt %d, acked: %v\n", m.Body, m.Attempts, m.HasResponded())
	m.Finish()
	if err := consumer.Shutdown(context.Background()); err != nil {
		log.Print(err)
	}
	fmt.Println("finished:", nsqd.Stats("orders", "billing").Finished)
	// Output:
	// pen, attempt 1, acked: false
	// finished: 1
}

// The context of a message ends with the message's lease. nsqd then delivers the
// message again, and this handler should give up its work.
func ExampleContextHandlerFunc() {
	nsqd, stop := startNSQD("pen")
	defer stop()
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan bool)
	consumer.AddHandler(nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		defer close(done)
		deadline, _ := ctx.Deadline()
		fmt.Printf("%s: a minute at most, %v\n", m.Body, time.Until(deadline) <= time.Minute)
		return nil // a real handler passes ctx to http.NewRequestWithContext, for instance
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Fatal(err)
	}
	<-done
	if err := consumer.Shutdown(context.Background()); err != nil {
		log.Print(err)
	}
	// Output: pen: a minute at most, true
}

// The error that a handler returns decides what becomes of the message.
func ExampleRetryAfter() {
	nsqd, stop := startNSQD("pen", "nothing")
	defer stop()
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		switch {
		case string(m.Body) == "nothing":
			fmt.Println("no order, and never will be")
			return nsq.Discard(errors.New("no order"))
		case m.Attempts == 1:
			fmt.Println("the bank is busy")
			return nsq.RetryAfter(10*time.Millisecond, errors.New("busy"))
		}
		fmt.Println("charged for a", string(m.Body))
		cancel()
		return nil
	}))
	if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
		log.Fatal(err)
	}
	if err := consumer.Run(ctx); err != nil {
		log.Print(err)
	}
	// Output:
	// the bank is busy
	// no order, and never will be
	// charged for a pen
}

// When a program starts, it checks that its nsqd can be reached and accepts the options.
func ExampleCheckNSQD() {
	nsqd, stop := startNSQD()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cfg := nsq.NewConfig()
	info, err := nsq.CheckNSQD(ctx, nsqd.Addr(), cfg)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("nsqd", info.Version, "gives a handler", info.MsgTimeout)

	cfg.TlsV1 = true
	_, err = nsq.CheckNSQD(ctx, nsqd.Addr(), cfg)
	fmt.Println("with TLS:", errors.Is(err, nsq.ErrTLSRefused))
	// Output:
	// nsqd 1.3.0 gives a handler 1m0s
	// with TLS: true
}

// SetMap sets all options of a configuration file, or none.
func ExampleConfig_SetMap() {
	file := map[string]any{"max_in_flight": 200, "msg-timeout": "2m", "max_attempt": 3}
	cfg := nsq.NewConfig()
	fmt.Println(cfg.SetMap(file), cfg.MaxInFlight)
	delete(file, "max_attempt")
	fmt.Println(cfg.SetMap(file), cfg.MaxInFlight)
	// Output:
	// invalid option max_attempt 1
	// <nil> 200
}

// SetEnv finds a typo in the name of an environment variable.
func ExampleConfig_SetEnv() {
	if err := os.Setenv("BILLING_MAX_ATTEMPT", "3"); err != nil {
		log.Fatal(err)
	}
	cfg := nsq.NewConfig()
	fmt.Println(cfg.SetEnv("BILLING"))
	// Output: BILLING_MAX_ATTEMPT: no option has this name: set BILLING_MAX_ATTEMPTS, or rename the variable
}

// A program lists its options, without the secret.
func ExampleConfig_Get() {
	cfg := nsq.NewConfig()
	cfg.AuthSecret, cfg.MaxInFlight = "s3cret", 200
	for name := range nsq.OptionNames() {
		if value, _ := cfg.Get(name); name == "auth_secret" || name == "max_in_flight" {
			fmt.Println(name, value)
		}
	}
	// Output:
	// auth_secret [redacted]
	// max_in_flight 200
}

func ExampleConfig_Set() {
	cfg := nsq.NewConfig()
	for option, value := range map[string]any{"max_in_flight": "200", "msg-timeout": "2m", "snappy": true} {
		if err := cfg.Set(option, value); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(cfg.MaxInFlight, cfg.MsgTimeout, cfg.Snappy)
	fmt.Println(cfg.Set("max_in_flight", -1))
	// Output:
	// 200 2m0s true
	// invalid max_in_flight ! -1 < 0
}

func ExampleCommand_WriteTo() {
	var b bytes.Buffer
	if _, err := nsq.Publish("orders", []byte("pen")).WriteTo(&b); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q\n", b.String())
	// Output: "PUB orders\n\x00\x00\x00\x03pen"
}

// A program may speak the protocol over its own connection, without a Conn.
func ExampleReadUnpackedResponse() {
	nsqd, stop := startNSQD("pen")
	defer stop()
	socket, err := net.Dial("tcp", nsqd.Addr())
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = socket.Close() }()

	hello := bytes.NewBuffer(bytes.Clone(nsq.MagicV2))
	_, _ = nsq.Subscribe("orders", "billing").WriteTo(hello) // a write to a bytes.Buffer does not fail
	_, _ = nsq.Ready(1).WriteTo(hello)
	if _, err := hello.WriteTo(socket); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		frame, data, err := nsq.ReadUnpackedResponse(socket, 1<<20)
		switch {
		case err != nil:
			log.Fatal(err)
		case frame == nsq.FrameTypeResponse:
			fmt.Printf("response %s\n", data)
		case frame == nsq.FrameTypeMessage:
			m, err := nsq.DecodeMessage(data)
			if err != nil {
				log.Fatal(err)
			}
			fmt.Printf("message %s\n", m.Body)
		}
	}
	// Output:
	// response OK
	// message pen
}
