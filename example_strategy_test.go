package nsq_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/rdyhq/nsq"
)

// constant is a BackoffStrategy whose pauses do not grow.
type constant time.Duration

func (c constant) Calculate(int) time.Duration { return time.Duration(c) }

// A program pauses for the same time at every level, with a BackoffStrategy of its own.
func ExampleBackoffStrategy() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen", "ink", "paper")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.BackoffStrategy = constant(3 * time.Second)
		start := time.Now()
		c.consume(cfg, 1, func(m *nsq.Message) error { // a Consumer with one handler
			fmt.Println(string(m.Body), time.Since(start).Round(time.Second))
			return errors.New("the bank is down")
		})
		time.Sleep(10 * time.Second)
	})
	// Output:
	// pen 0s
	// ink 3s
	// paper 6s
}
