// Package nsqotel adds OpenTelemetry to package nsq: metrics from hooks, and traces from an
// [nsq.Middleware] and a wrapper of Producers. One [Telemetry] serves a whole program.
//
//	telemetry, err := nsqotel.New(nsqotel.WithCarrier(nsqotel.JSONField("traceparent")))
//	...
//	config.Hooks = append(config.Hooks, telemetry.Hooks())     // metrics
//	consumer, err := nsq.NewConsumer("orders", "billing", config)
//	...
//	consumer.Use(telemetry.Middleware)                         // a span for each message
//	telemetry.Consumer(consumer)                               // gauges
//	publisher := telemetry.Publisher(producer)                 // a span for each publish
//
// An NSQ message has no headers, so trace context travels in the body: see [Carrier].
// Without a Carrier there are spans, but nothing ties those of a consumer to those of the
// producer.
//
// The names follow OpenTelemetry's conventions for messaging, with the topic as destination
// and the channel as subscription. There are two deviations. nsqd does not reply to FIN and
// REQ, so they are events of the process span, not settle spans. And messaging.system is
// "nsq", a value that the conventions do not list.
package nsqotel
