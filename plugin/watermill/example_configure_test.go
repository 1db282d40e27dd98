package nsqwatermill_test

import (
	"github.com/rdyhq/nsq"
	nsqwatermill "github.com/rdyhq/nsq/plugin/watermill"
)

// A program adds middleware and metrics to each Consumer of a Subscriber.
func ExampleSubscriberConfig() {
	var (
		telemetry interface {
			Middleware(next nsq.Handler) nsq.Handler
		}
		metrics interface{ Consumer(c *nsq.Consumer) }
	)
	_ = nsqwatermill.SubscriberConfig{
		Configure: func(c *nsq.Consumer) {
			c.Use(telemetry.Middleware) // of plugin/otel
			metrics.Consumer(c)         // of plugin/prom
		},
	}
}
