package nsq_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// A program prints the life of its Consumer.
func ExampleHooks() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.Hooks = []nsq.Hooks{{
			Connected: func(e nsq.ConnectEvent) { fmt.Println("connected to", e.Addr, e.Version, e.Err) },
			Ready:     func(e nsq.ReadyEvent) { fmt.Println("RDY", e.Before, "to", e.RDY) },
			Handled:   func(e nsq.HandledEvent) { fmt.Printf("%s %s\n", e.Message.Body, e.Outcome) },
			Disconnected: func(e nsq.DisconnectEvent) {
				fmt.Println("disconnected after", e.Up.Round(time.Second), e.Err)
			},
			Stopped: func(e nsq.StoppedEvent) { fmt.Println("stopped, left:", e.Left) },
		}}
		consumer := c.consume(cfg, 1, func(*nsq.Message) error { // a Consumer with one handler
			time.Sleep(time.Second)
			return nil
		})
		time.Sleep(time.Minute)
		if err := consumer.Shutdown(context.Background()); err != nil {
			log.Print(err)
		}
	})
	// Output:
	// connected to nsqd-1:4150 1.3.0 <nil>
	// RDY 0 to 1
	// pen finished
	// disconnected after 1m0s <nil>
	// stopped, left: <nil>
}

// The outcome of each message is a good label of a metric.
func ExampleHandledEvent() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen", "nothing")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.Hooks = []nsq.Hooks{{Handled: func(e nsq.HandledEvent) {
			fmt.Printf("%s: %s, delay %v, took %v\n", e.Message.Body, e.Outcome, e.Delay, e.Took)
		}}}
		c.consume(cfg, 1, func(m *nsq.Message) error { // a Consumer with one handler
			time.Sleep(time.Second)
			switch {
			case string(m.Body) == "nothing":
				return nsq.Discard(errors.New("no order"))
			case m.Attempts == 1:
				return nsq.RetryAfter(10*time.Second, errors.New("the bank is busy"))
			}
			return nil
		})
		time.Sleep(time.Minute)
	})
	// Output:
	// pen: requeued, delay 10s, took 1s
	// nothing: discarded, delay 0s, took 1s
	// pen: finished, delay 0s, took 1s
}

// An alert on leases that end while a handler works: nsqd delivers such a message again, although
// no handler has failed. Raise msg_timeout, use auto_touch, or lower max_in_flight.
func ExampleAbandonedEvent() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.Hooks = []nsq.Hooks{{Abandoned: func(e nsq.AbandonedEvent) {
			if errors.Is(e.Why, nsq.ErrMessageTimedOut) {
				fmt.Printf("attempt %d: lost after %v, begun: %v\n", e.Attempts, e.Held.Round(time.Second), e.Begun)
			}
		}}}
		c.consume(cfg, 1, func(*nsq.Message) error { // a Consumer with one handler
			time.Sleep(70 * time.Second) // longer than nsqd's msg-timeout
			return nil
		})
		time.Sleep(65 * time.Second)
	})
	// Output: attempt 1: lost after 1m0s, begun: true
}

// An alert on backoff. A hook may be called late, so an event says when it happened.
func ExampleBackoffEvent() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen", "ink")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		start := time.Now()
		cfg.Hooks = []nsq.Hooks{{BackedOff: func(e nsq.BackoffEvent) {
			fmt.Printf("after %v: level %d, pause %v\n", e.At.Sub(start).Round(time.Second), e.Level, e.Pause)
		}}}
		c.consume(cfg, 1, func(m *nsq.Message) error { // a Consumer with one handler
			if string(m.Body) == "pen" && m.Attempts == 1 {
				return errors.New("the bank is down")
			}
			return nil
		})
		time.Sleep(time.Minute)
	})
	// Output:
	// after 0s: level 1, pause 2s
	// after 2s: level 0, pause 0s
}

// The time that publishes take, by topic and nsqd.
func ExamplePublishedEvent() {
	inVirtualTime(func(c *cluster) {
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.Hooks = []nsq.Hooks{{Published: func(e nsq.PublishedEvent) {
			fmt.Println(e.Topic, "at", e.Addr, "took", e.Took, "messages", e.Messages, "error", e.Err)
		}}}
		producer, err := nsq.NewProducer(c.nsqd.Addr(), cfg)
		if err != nil {
			log.Fatal(err)
		}
		defer producer.Stop()
		c.nsqd.Inject(nsqtest.Fault{Command: "MPUB", Delay: 2 * time.Second}) // a slow disk
		if err := producer.MultiPublish("orders", [][]byte{[]byte("pen"), []byte("ink")}); err != nil {
			log.Fatal(err)
		}
	})
	// Output: orders at nsqd-1:4150 took 2s messages 2 error <nil>
}

// A pool says when it stops using an nsqd that fails, and when it uses it again.
func ExamplePoolEvent() {
	inVirtualTime(func(c *cluster) {
		c.start(nsqtest.Options{Addr: "nsqd-2:4150"})
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.Hooks = []nsq.Hooks{{PoolChanged: func(e nsq.PoolEvent) {
			fmt.Println(e.Addr, "healthy:", e.Healthy)
		}}}
		pool, err := nsq.NewProducerPool(c.addrs, cfg)
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
		time.Sleep(time.Minute)
		c.nsqd.Restart()
		time.Sleep(time.Minute)
	})
	// Output:
	// nsqd-1:4150 healthy: false
	// nsqd-1:4150 healthy: true
}

// An alert on an nsqlookupd that does not respond.
func ExampleLookupEvent() {
	inVirtualTime(func(c *cluster) {
		lookupd := nsqtest.NewLookupd(c.tb, nsqtest.LookupdOptions{Network: c.network, Addr: "lookupd-1:4161"})
		lookupd.Fail(500, "INTERNAL_ERROR")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		failed := make(chan nsq.LookupEvent, 100)
		cfg.Hooks = []nsq.Hooks{{LookedUp: func(e nsq.LookupEvent) {
			if e.Err != nil {
				failed <- e
			}
		}}}
		consumer, err := nsq.NewConsumer("orders", "billing", cfg)
		if err != nil {
			log.Fatal(err)
		}
		defer consumer.Stop()
		consumer.SetLookupdHttpClient(c.network.HTTPClient())
		if err := consumer.Discover(context.Background(), lookupd.Addr()); err != nil {
			log.Fatal(err)
		}
		e := <-failed
		fmt.Println(e.Topic, e.Addr, e.NSQDs, "dropped events:", e.Dropped)
	})
	// Output: orders http://lookupd-1:4161/lookup 0 dropped events: 0
}
