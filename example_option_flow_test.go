package nsq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// Ten handlers are busy only if at least ten messages may be in flight. The default is 1.
func ExampleConfig_maxInFlight() {
	for _, n := range []int{1, 10} {
		inVirtualTime(func(c *cluster) {
			c.nsqd.Publish("orders", slices.Repeat([]string{"pen"}, 100)...)
			cfg := c.newConfig() // NewConfig, for the fakes of this example
			cfg.MaxInFlight = n
			start := time.Now()
			c.consume(cfg, 10, func(*nsq.Message) error { // a Consumer with ten handlers
				time.Sleep(time.Second)
				return nil
			})
			c.nsqd.WaitFor(time.Hour, func() bool { return c.nsqd.Stats("orders", "billing").Finished == 100 })
			fmt.Printf("max_in_flight %d: 100 orders in %v\n", n, time.Since(start).Round(time.Second))
		})
	}
	// Output:
	// max_in_flight 1: 100 orders in 1m40s
	// max_in_flight 10: 100 orders in 10s
}

// A handler needs 90 seconds. With nsqd's default, a msg-timeout of 60 seconds, nsqd delivers
// the message again in the meantime, and the ack of the first handler comes too late.
func ExampleConfig_msgTimeout() {
	for _, d := range []time.Duration{0, 2 * time.Minute} {
		inVirtualTime(func(c *cluster) {
			c.nsqd.Publish("orders", "pen")
			cfg := c.newConfig() // NewConfig, for the fakes of this example
			cfg.MsgTimeout = d
			c.consume(cfg, 1, func(*nsq.Message) error { // a Consumer with one handler
				time.Sleep(90 * time.Second)
				return nil
			})
			time.Sleep(100 * time.Second)
			fmt.Printf("msg_timeout %v: deliveries: %d, acks: %d\n", d,
				c.nsqd.Stats("orders", "billing").Delivered, c.nsqd.Stats("orders", "billing").Finished)
		})
	}
	// Output:
	// msg_timeout 0s: deliveries: 2, acks: 0
	// msg_timeout 2m0s: deliveries: 1, acks: 1
}

// A handler usually needs a second, and sometimes ten minutes. auto_touch extends its lease
// meanwhile. If this process dies, nsqd still delivers its messages again within a minute.
func ExampleConfig_autoTouch() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.MsgTimeout = time.Minute
		cfg.AutoTouch = 12 * time.Minute             // not above nsqd's max-msg-timeout, 15 minutes by default
		c.consume(cfg, 1, func(*nsq.Message) error { // a Consumer with one handler
			time.Sleep(10 * time.Minute)
			return nil
		})
		time.Sleep(11 * time.Minute)
		fmt.Printf("deliveries: %d, acks: %d\n",
			c.nsqd.Stats("orders", "billing").Delivered, c.nsqd.Stats("orders", "billing").Finished)
	})
	// Output: deliveries: 1, acks: 1
}

// Bodies of 200 KB: max_bytes_in_flight bounds what they take in memory, far below what
// max_in_flight allows.
func ExampleConfig_maxBytesInFlight() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", slices.Repeat([]string{strings.Repeat("x", 200_000)}, 100)...)
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.MaxInFlight = 50
		cfg.MaxBytesInFlight = 4 << 20
		var most atomic.Int64
		c.consume(cfg, 50, func(*nsq.Message) error { // a Consumer with 50 handlers
			most.Store(max(most.Load(), int64(c.nsqd.Stats("orders", "billing").InFlight)))
			time.Sleep(time.Second)
			return nil
		})
		time.Sleep(time.Minute)
		fmt.Println("acked:", c.nsqd.Stats("orders", "billing").Finished)
		fmt.Println("never more in flight than 4 MiB:", most.Load()*200_000 <= 4<<20)
	})
	// Output:
	// acked: 100
	// never more in flight than 4 MiB: true
}

// One of two nsqds has all messages. RDYAdaptive, the default, gives it nearly all of
// max_in_flight. With RDYUniform, as in go-nsq, half of it is idle.
func ExampleRDYStrategy() {
	for _, strategy := range []nsq.RDYStrategy{nsq.RDYAdaptive, nsq.RDYUniform} {
		inVirtualTime(func(c *cluster) {
			c.start(nsqtest.Options{Addr: "nsqd-2:4150"})
			c.nsqd.Publish("orders", slices.Repeat([]string{"pen"}, 10_000)...)
			cfg := c.newConfig() // NewConfig, for the fakes of this example
			cfg.RDYStrategy = strategy
			cfg.MaxInFlight = 100
			consumer := c.consume(cfg, 100, func(*nsq.Message) error { // a Consumer with 100 handlers
				time.Sleep(100 * time.Millisecond)
				return nil
			})
			time.Sleep(5050 * time.Millisecond)
			for _, conn := range consumer.Snapshot().Connections {
				fmt.Println(strategy, conn.Addr, "RDY", conn.RDY)
			}
		})
	}
	// Output:
	// adaptive nsqd-1:4150 RDY 99
	// adaptive nsqd-2:4150 RDY 1
	// uniform nsqd-1:4150 RDY 50
	// uniform nsqd-2:4150 RDY 50
}

// Three nsqds take turns with the one message that may be in flight. low_rdy_idle_timeout
// bounds the turn of an nsqd without messages, but turns are far shorter than that anyway. To
// have messages of all nsqds handled at once, raise max_in_flight.
func ExampleConfig_lowRdyIdleTimeout() {
	inVirtualTime(func(c *cluster) {
		c.start(nsqtest.Options{Addr: "nsqd-2:4150"})
		third := c.start(nsqtest.Options{Addr: "nsqd-3:4150"})
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.MaxInFlight = 1
		cfg.LowRdyIdleTimeout = 5 * time.Second
		var published time.Time
		c.consume(cfg, 1, func(*nsq.Message) error { // a Consumer with one handler
			fmt.Println("within three seconds:", time.Since(published) < 3*time.Second)
			return nil
		})
		time.Sleep(time.Hour)
		published = time.Now()
		third.Publish("orders", "pen")
		time.Sleep(time.Minute)
	})
	// Output: within three seconds: true
}

// With recycle_bodies a handler that keeps a body, or a part of one, must copy it.
func ExampleConfig_recycleBodies() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen", "ink")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.RecycleBodies = true
		kept := make(chan []byte, 2)
		c.consume(cfg, 1, func(m *nsq.Message) error { // a Consumer with one handler
			kept <- bytes.Clone(m.Body) // m.Body is overwritten after the ack
			return nil
		})
		fmt.Printf("%s %s\n", <-kept, <-kept)
	})
	// Output: pen ink
}

// A stop waits for running handlers: Stop and Run for stop_timeout, Shutdown until its context
// ends. The error names the messages that are unfinished then. nsqd delivers them again.
func ExampleConfig_stopTimeout() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.StopTimeout = 5 * time.Second
		consumer := c.consume(cfg, 1, func(*nsq.Message) error { // a Consumer with one handler
			time.Sleep(8 * time.Second) // ignores m.Context()
			return nil
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // SIGTERM comes after a second
		defer cancel()
		start := time.Now()
		err := consumer.Run(ctx)
		fmt.Println("stopped after", time.Since(start).Round(time.Second))
		var unfinished *nsq.StopError
		if errors.As(err, &unfinished) {
			fmt.Println("unfinished:", len(unfinished.Running))
		}
	})
	// Output:
	// stopped after 6s
	// unfinished: 1
}

// nsqd keeps messages in a buffer of 16 KiB for up to output_buffer_timeout, so that it sends
// many with one system call. On a quiet topic that time is the latency if max_in_flight is over
// 1. nsqd refuses less than its min-output-buffer-timeout, 25 ms by default.
func ExampleConfig_outputBufferTimeout() {
	inVirtualTime(func(c *cluster) {
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		fmt.Println(cfg.OutputBufferTimeout)
		for _, d := range []time.Duration{10 * time.Millisecond, 25 * time.Millisecond} {
			cfg.OutputBufferTimeout = d
			_, err := nsq.CheckNSQD(context.Background(), c.nsqd.Addr(), cfg)
			fmt.Println(err)
		}
	})
	// Output:
	// 250ms
	// [nsqd-1:4150] failed to IDENTIFY - E_BAD_BODY IDENTIFY output buffer timeout (10) is invalid
	// <nil>
}

// A consumer of a tenth of the messages: sample_rate is one less than the percentage.
func ExampleConfig_sampleRate() {
	cfg := nsq.NewConfig()
	cfg.SampleRate = 9
	fmt.Println(cfg.Validate())
	cfg.SampleRate = 100
	fmt.Println(cfg.Validate())
	// Output:
	// <nil>
	// invalid SampleRate ! 100 > 99
}
