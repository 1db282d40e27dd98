package json

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Orders arrive as they were published. What is no order becomes a dead letter at once.
func TestOrders(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		producer, err := nsq.NewProducer(s.NSQD.Addr(), s.Config)
		if err != nil {
			s.Fatal(err)
		}
		defer producer.Stop()
		var billed []Order
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), producer, func(_ context.Context, o Order) error {
				billed = append(billed, o)
				return nil
			})
		})
		want := []Order{{"A-1", 250}, {"A-2", 399}}
		for _, o := range want {
			if err := Publish(s.Context(), producer, o); err != nil {
				s.Fatal(err)
			}
		}
		s.Publish(`{"number":"A-3","cents":"many"}`)
		scene.After(time.Minute)
		stop()
		slices.SortFunc(billed, func(a, b Order) int { return strings.Compare(a.Number, b.Number) })
		if !slices.Equal(billed, want) {
			s.Errorf("billed %v", billed)
		}
		letters := s.NSQD.Queued("orders.billing.dead", "")
		if len(letters) != 1 || !strings.Contains(letters[0], `"many"`) || s.Stats().Finished != 3 {
			s.Errorf("dead letters %q, %+v", letters, s.Stats())
		}
	})
}
