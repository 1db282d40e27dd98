package middleware_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"golang.org/x/time/rate"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware"
	"github.com/rdyhq/nsq/middleware/breaker"
	"github.com/rdyhq/nsq/middleware/dedupe"
	"github.com/rdyhq/nsq/middleware/internal/scene"
	"github.com/rdyhq/nsq/middleware/retry"
	"github.com/rdyhq/nsq/middleware/throttle"
	"github.com/rdyhq/nsq/nsqtest"
)

// ordered returns all middleware in the order that README.md names. The key of a message is its
// body.
func ordered(t *testing.T, c *nsq.Consumer, circuit circuitbreaker.CircuitBreaker[any], limit rate.Limit) []nsq.Middleware {
	store := dedupe.NewMemory(time.Hour, 1000)
	t.Cleanup(store.Close)
	return []nsq.Middleware{
		middleware.Only(func(m *nsq.Message) bool { return string(m.Body) != "other" }),
		nsq.ContextLogger(slog.New(slog.DiscardHandler)),
		dedupe.New(store, func(m *nsq.Message) string { return string(m.Body) }),
		breaker.New(circuit, c),
		throttle.New(rate.NewLimiter(limit, 1)),
		middleware.ByKey(1, func(m *nsq.Message) string { return string(m.Body[:1]) }),
		middleware.Timeout(10 * time.Second),
		retry.New(),
	}
}

// All middleware together does what each must.
func TestOrderConforms(t *testing.T) {
	scene.Conform(t, func(t *testing.T, c *nsq.Consumer) nsq.Middleware {
		circuit := circuitbreaker.NewBuilder[any]().WithFailureThreshold(100).Build()
		all := ordered(t, c, circuit, rate.Inf)
		return func(h nsq.Handler) nsq.Handler {
			for _, mw := range slices.Backward(all) {
				h = mw(h)
			}
			return h
		}
	})
}

// A dependency has blips, and then is down for five minutes, while each order is published
// twice. Each order is handled successfully once, and none is given up: the outage costs attempts
// only of messages that were in hand or tried.
func TestOutage(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		start := time.Now()
		var mu sync.Mutex
		calls, successes := map[string]int{}, map[string]int{}
		c := s.Consumer()
		circuit := circuitbreaker.NewBuilder[any]().
			WithFailureThreshold(3).WithSuccessThreshold(1).WithDelay(30 * time.Second).Build()
		c.Use(ordered(s.T, c, circuit, 20)...)
		s.Handle(c, 5, nsq.HandlerFunc(func(m *nsq.Message) error {
			mu.Lock()
			defer mu.Unlock()
			calls[string(m.Body)]++
			down := time.Since(start) > 5*time.Second && time.Since(start) < 5*time.Minute
			if down || calls[string(m.Body)] == 1 && strings.HasSuffix(string(m.Body), "0") {
				return errors.New("the bank is down")
			}
			successes[string(m.Body)]++
			return nil
		}))
		const orders = 500
		for i := range orders {
			order := fmt.Sprintf("%d %03d", i%10, i)
			s.Publish(order, "other", order)
		}
		scene.After(30 * time.Minute)
		for order, n := range successes {
			if n != 1 {
				t.Errorf("order %s was handled %d times", order, n)
			}
		}
		if st, counts := s.Stats(), c.Snapshot().Counts; len(successes) != orders || st.Finished != 3*orders || counts.GivenUp != 0 {
			t.Errorf("%d orders handled, %+v, %+v", len(successes), st, counts)
		}
	})
}
