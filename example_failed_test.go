package nsq_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/rdyhq/nsq"
)

// billing is a handler that is told which messages are given up.
type billing struct{}

var _ nsq.FailedMessageLogger = billing{}

func (billing) HandleMessage(*nsq.Message) error { return errors.New("no such item") }

func (billing) LogFailedMessage(m *nsq.Message) {
	fmt.Printf("given up: %s, delivery %d\n", m.Body, m.Attempts)
}

// The Consumer passes a message that was delivered more than max_attempts times to
// LogFailedMessage, and acks it. A DeadLetterPolicy keeps such messages.
func ExampleFailedMessageLogger() {
	inVirtualTime(func(c *cluster) {
		c.nsqd.Publish("orders", "pen")
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.MaxAttempts = 3
		consumer, err := nsq.NewConsumer("orders", "billing", cfg)
		if err != nil {
			fmt.Println(err)
			return
		}
		consumer.AddHandler(billing{})
		if err := consumer.ConnectToNSQD(c.nsqd.Addr()); err != nil {
			fmt.Println(err)
		}
		time.Sleep(time.Hour)
		consumer.Stop()
	})
	// Output: given up: pen, delivery 4
}
