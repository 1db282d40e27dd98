package nsq_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// nsqd refuses a publish, and says why. Then it closes the connection. The publishes of other
// callers are not lost: the Producer sends them again.
func ExampleErrProtocol() {
	nsqd, stop := startNSQD()
	defer stop()
	producer, err := nsq.NewProducer(nsqd.Addr(), nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Stop()
	err = producer.PublishContext(context.Background(), "orders", make([]byte, 2<<20))
	var refused nsq.ErrProtocol
	var code *nsq.ProtocolError // the same, taken apart
	if errors.As(err, &refused) && errors.As(err, &code) {
		fmt.Println(refused.Reason)
		fmt.Println(code.Code)
	}
	// Output:
	// E_BAD_MESSAGE PUB message too big 2097152 > 1048576
	// E_BAD_MESSAGE
}

// A Consumer cannot connect because nsqd refuses an option. The Consumer keeps trying.
func ExampleErrIdentify() {
	nsqd, stop := startNSQD()
	defer stop()
	cfg := nsq.NewConfig()
	cfg.MsgTimeout = time.Hour // over nsqd's max-msg-timeout
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer consumer.Stop()
	consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error { return nil }))
	err = consumer.ConnectToNSQD(nsqd.Addr())
	var handshake nsq.ErrIdentify
	if errors.As(err, &handshake) {
		fmt.Println(handshake.Reason)
	}
	// Output: E_BAD_BODY IDENTIFY msg timeout (3600000) is invalid
}

// The time for the stop is over, but one handler still works, and another one has left its
// message to be acked later. nsqd delivers both messages again.
func ExampleStopError() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen", "ink")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.MaxInFlight = 2
		consumer := c.consume(cfg, 2, func(m *nsq.Message) error { // a Consumer with two handlers
			if string(m.Body) == "ink" {
				m.DisableAutoResponse()
				return nil
			}
			time.Sleep(time.Minute)
			return nil
		})
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var left *nsq.StopError
		if err := consumer.Shutdown(ctx); errors.As(err, &left) {
			for _, m := range left.Running {
				fmt.Println("a handler was at work on a message of", m.NSQDAddress)
			}
			for _, m := range left.Unanswered {
				fmt.Println("not acked: a message of", m.NSQDAddress)
			}
			fmt.Println("why:", errors.Is(left, context.DeadlineExceeded))
		}
	})
	// Output:
	// a handler was at work on a message of nsqd-1:4150
	// not acked: a message of nsqd-1:4150
	// why: true
}

// A program finds out whether a restart would help its Consumer. Package health serves this to
// the probes of an orchestrator.
func ExampleHealthError() {
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer consumer.Stop()
	var sick *nsq.HealthError
	if err := consumer.Health(); errors.As(err, &sick) {
		fmt.Println(sick)
		fmt.Println(sick.Cause == nsq.CauseNotConnected, "restart:", sick.Cause.NeedsRestart())
	}
	// Output:
	// consumer of orders/billing: connected to no nsqd
	// true restart: false
}

// A handler's panic does not end the program: it counts as an error.
func ExamplePanicError() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.MaxAttempts = 1
		cfg.Hooks = []nsq.Hooks{{Handled: func(e nsq.HandledEvent) {
			var p *nsq.PanicError
			if errors.As(e.Err, &p) {
				fmt.Println(p.Value)
				fmt.Println("with a stack:", len(p.Stack) > 0)
			}
		}}}
		c.consume(cfg, 1, func(m *nsq.Message) error { // a Consumer with one handler
			customer := strings.Split(string(m.Body), ",")[1] // some orders have none
			fmt.Println("billed to", customer)
			return nil
		})
		time.Sleep(time.Second)
	})
	// Output:
	// runtime error: index out of range [1] with length 1
	// with a stack: true
}

// A message whose body is no order becomes a dead letter. Middleware can tell its error from
// others.
func ExampleDecodeError() {
	type order struct{ Item string }
	handler := nsq.Typed(nsq.JSON, func(context.Context, order, *nsq.Message) error { return nil })
	err := handler.HandleMessage(nsq.NewMessage(nsq.MessageID{}, []byte("{")))
	var invalid *nsq.DecodeError
	if errors.As(err, &invalid) {
		fmt.Println(invalid.Type, "-", invalid.Err)
	}
	// Output: nsq_test.order - unexpected end of JSON input
}

// An order that cannot be billed in three attempts becomes a dead letter.
func ExampleDeadLetterPolicy() {
	inVirtualTime(func(c *cluster) {
		c.start(nsqtest.Options{Addr: "nsqd-2:4150"})
		c.nsqd.Publish("orders", "pen")
		producer, err := nsq.NewProducer("nsqd-2:4150", c.newConfig())
		if err != nil {
			log.Fatal(err)
		}
		defer producer.Stop()

		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.DeadLetter = &nsq.DeadLetterPolicy{To: producer, Topic: "unbilled", After: 3}
		cfg.Hooks = []nsq.Hooks{{Buried: func(e nsq.BuriedEvent) {
			fmt.Printf("attempt %d: to %s, because %v (stored: %v)\n", e.Attempts, e.DeadTopic, e.Err, e.PublishErr == nil)
		}}}
		consumer := c.consume(cfg, 1, func(*nsq.Message) error { return errors.New("unknown item") })
		time.Sleep(time.Hour)
		if err := consumer.Shutdown(context.Background()); err != nil { // before the Producer
			log.Print(err)
		}
	})
	// Output: attempt 3: to unbilled, because unknown item (stored: true)
}
