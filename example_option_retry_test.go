package nsq_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
)

// A handler gets a message max_attempts times, 5 by default. At the next delivery the Consumer
// gives the message up: it acks the message and logs an error. To keep such messages, set
// Config.DeadLetter. With max_attempts 0 no message is given up.
func ExampleConfig_maxAttempts() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.MaxAttempts = 3
		consumer := c.consume(cfg, 1, func(m *nsq.Message) error { // a Consumer with one handler
			fmt.Println("attempt", m.Attempts)
			return errors.New("no such item")
		})
		time.Sleep(time.Hour)
		fmt.Println("given up:", consumer.Snapshot().GivenUp)
	})
	// Output:
	// attempt 1
	// attempt 2
	// attempt 3
	// given up: 1
}

// The delay of a requeue grows by default_requeue_delay with each attempt, up to
// max_requeue_delay. An error made by RetryAfter has a delay of its own.
func ExampleConfig_defaultRequeueDelay() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.DefaultRequeueDelay = 10 * time.Second
		cfg.MaxRequeueDelay = 25 * time.Second
		start := time.Now()
		c.consume(cfg, 1, func(m *nsq.Message) error { // a Consumer with one handler
			fmt.Printf("attempt %d after %v\n", m.Attempts, time.Since(start).Round(time.Second))
			return nsq.NoBackoff(errors.New("out of stock")) // a plain error pauses the Consumer as well
		})
		time.Sleep(time.Hour)
	})
	// Output:
	// attempt 1 after 0s
	// attempt 2 after 10s
	// attempt 3 after 30s
	// attempt 4 after 55s
	// attempt 5 after 1m20s
}

// A bank is down for a minute. With backoff, which is on by default, the Consumer pauses after a
// failure and then tries one message at a time. Without backoff it goes through all messages,
// and each failure costs an attempt.
func ExampleConfig_maxBackoffDuration() {
	for _, longest := range []time.Duration{0, 2 * time.Minute} {
		inVirtualTime(func(c *cluster) {
			c.nsqd.Publish("orders", slices.Repeat([]string{"pen"}, 1000)...)
			cfg := c.newConfig() // NewConfig, for the fakes of this example
			cfg.MaxInFlight = 10
			cfg.MaxBackoffDuration = longest // 0 switches backoff off
			start := time.Now()
			var failures atomic.Int32
			c.consume(cfg, 1, func(*nsq.Message) error { // a Consumer with one handler
				if time.Since(start) < time.Minute {
					failures.Add(1)
					return errors.New("the bank is down")
				}
				return nil
			})
			time.Sleep(time.Hour)
			fmt.Printf("max_backoff_duration %v: fewer than 20 failures: %v\n", longest, failures.Load() < 20)
		})
	}
	// Output:
	// max_backoff_duration 0s: fewer than 20 failures: false
	// max_backoff_duration 2m0s: fewer than 20 failures: true
}

// Every 20th message fails, for reasons of its own. BackoffAdaptive slows the Consumer down a
// little. BackoffStep, the default, pauses it after each failure, as go-nsq does. A handler that
// knows that a failure concerns only its message says so with NoBackoff or DeadLetter.
func ExampleBackoffPolicy() {
	for _, policy := range []nsq.BackoffPolicy{nsq.BackoffStep, nsq.BackoffAdaptive} {
		inVirtualTime(func(c *cluster) {
			c.nsqd.Publish("orders", slices.Repeat([]string{"pen"}, 6_000)...)
			cfg := c.newConfig() // NewConfig, for the fakes of this example
			cfg.MaxInFlight = 20
			cfg.BackoffPolicy = policy
			var handled atomic.Int32
			c.consume(cfg, 1, func(*nsq.Message) error { // a Consumer with one handler
				time.Sleep(10 * time.Millisecond)
				if handled.Add(1)%20 == 0 {
					return errors.New("no such item")
				}
				return nil
			})
			time.Sleep(time.Minute)
			fmt.Printf("%s: more than 3,000 orders in a minute: %v\n", policy, handled.Load() > 3_000)
		})
	}
	// Output:
	// step: more than 3,000 orders in a minute: false
	// adaptive: more than 3,000 orders in a minute: true
}

// The pauses of the default strategy, before max_backoff_duration caps them.
func ExampleExponentialStrategy() {
	cfg := nsq.NewConfig()
	cfg.BackoffStrategy = new(nsq.ExponentialStrategy) // the default
	cfg.BackoffMultiplier = 500 * time.Millisecond
	for level := 1; level <= 5; level++ {
		fmt.Println(cfg.BackoffStrategy.Calculate(level))
	}
	// Output:
	// 2s
	// 4s
	// 8s
	// 16s
	// 32s
}

// With jitter, a hundred consumers that failed together do not come back together.
func ExampleFullJitterStrategy() {
	cfg := nsq.NewConfig()
	cfg.BackoffStrategy = new(nsq.FullJitterStrategy) // or cfg.Set("backoff_strategy", "full_jitter")
	pause := cfg.BackoffStrategy.Calculate(3)
	fmt.Println("less than 8 s:", pause < 8*time.Second)
	// Output: less than 8 s: true
}
