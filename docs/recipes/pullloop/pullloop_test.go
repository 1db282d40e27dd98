package pullloop

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/docs/recipes/pullloop/before"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bill = func(context.Context, []byte) error

var loops = map[string]func(context.Context, *nsq.Config, string, bill) error{
	"after": Consume,
	"before": func(ctx context.Context, cfg *nsq.Config, nsqd string, b bill) error {
		return before.Consume(ctx, cfg, nsqd, func(order []byte) error { return b(context.Background(), order) })
	},
}

// Both loops handle a message that takes five minutes, and one that fails, once each.
func TestLoops(t *testing.T) {
	for name, consume := range loops {
		t.Run(name, func(t *testing.T) {
			scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
				var billed []string
				failed := false
				stop := s.Start(func(ctx context.Context) error {
					return consume(ctx, s.Config, s.NSQD.Addr(), func(_ context.Context, order []byte) error {
						switch string(order) {
						case "slow":
							scene.Sleep(5 * time.Minute)
						case "bad":
							if !failed {
								failed = true
								return errors.New("the bank is down")
							}
						}
						billed = append(billed, string(order))
						return nil
					})
				})
				s.Publish("slow", "bad", "good")
				scene.After(time.Hour)
				stop()
				if !slices.Equal(billed, []string{"slow", "good", "bad"}) {
					s.Errorf("billed %q", billed)
				}
				if st := s.Stats(); st.Finished != 3 || st.Requeued != 1 || st.TimedOut != 0 {
					s.Errorf("%+v", st)
				}
			})
		})
	}
}

// When the loop ends, the message under way is still acked. The others are requeued at once.
func TestStop(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.MaxInFlight = 3
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), func(context.Context, []byte) error {
				scene.Sleep(10 * time.Second)
				return nil
			})
		})
		s.Publish("a", "b", "c")
		scene.After(time.Second)
		stop()
		if st := s.Stats(); st.Finished != 1 || st.InFlight != 0 || st.Depth != 2 {
			s.Errorf("%+v", st)
		}
	})
}
