package middleware_test

import (
	"log/slog"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"golang.org/x/time/rate"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware"
	"github.com/rdyhq/nsq/middleware/breaker"
	"github.com/rdyhq/nsq/middleware/dedupe"
	"github.com/rdyhq/nsq/middleware/retry"
	"github.com/rdyhq/nsq/middleware/throttle"
)

// All middleware together, in an order that works: the first is the outermost.
func Example_order() {
	var consumer *nsq.Consumer // made with NewConsumer
	use := func() {
		logger := slog.Default()
		store := dedupe.NewMemory(time.Hour, 100_000)
		orderNumber := func(m *nsq.Message) string { return string(m.Body) }
		circuit := circuitbreaker.NewBuilder[any]().WithFailureThreshold(3).Build()
		consumer.Use(
			nsq.ContextLogger(logger),
			dedupe.New(store, orderNumber),
			breaker.New(circuit, consumer),
			throttle.New(rate.NewLimiter(100, 10)),
			middleware.Timeout(10*time.Second),
			retry.New(),
		)
	}
	_ = use
}
