package poison

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/envelope"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An order that makes the handler panic and one without a number are kept, an order that
// fails once is billed, and none is lost.
func TestPoison(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		var billed []int
		calls := map[int]int{}
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), func(_ context.Context, order int) error {
				calls[order]++
				switch {
				case order == 0:
					panic("division by zero")
				case order == 2 && calls[2] == 1:
					return errors.New("the bank is down")
				}
				billed = append(billed, order)
				return nil
			})
		})
		for _, body := range []string{"0", "x", "1", "2"} { // one by one, since billed has no lock
			s.Publish(body)
			scene.After(time.Hour)
		}
		stop()
		letters := map[string]envelope.Header{}
		for _, letter := range s.NSQD.Queued("orders.billing.dead", "") {
			h, body, ok := envelope.Open([]byte(letter))
			if !ok {
				s.Errorf("%q is not an envelope", letter)
			}
			letters[string(body)] = h
		}
		if !slices.Equal(billed, []int{1, 2}) || calls[0] != 3 || calls[2] != 2 {
			s.Errorf("billed %v, calls %v", billed, calls)
		}
		if len(letters) != 2 || letters["0"]["origin-attempts"] != "3" || letters["x"]["origin-attempts"] != "1" {
			s.Errorf("dead letters %q", letters)
		}
		if st := s.Stats(); st.Finished != 4 || st.Depth+st.InFlight+st.Deferred != 0 {
			s.Errorf("%+v", st)
		}
	})
}

// While dead letters cannot be stored, nothing is acked.
func TestNowhereToGo(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.NSQD.Reject("PUB", "E_PUB_FAILED", "disk full")
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), func(context.Context, int) error { return nil })
		})
		s.Publish("x")
		scene.After(time.Hour)
		if st := s.Stats(); st.Finished != 0 || st.Requeued == 0 {
			s.Errorf("%+v", st)
		}
		s.NSQD.ClearFaults()
		scene.After(time.Hour)
		stop()
		if letters := s.NSQD.Queued("orders.billing.dead", ""); len(letters) != 1 || s.Stats().Finished != 1 {
			s.Errorf("dead letters %q, %+v", letters, s.Stats())
		}
	})
}
