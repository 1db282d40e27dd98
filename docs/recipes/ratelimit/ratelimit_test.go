package ratelimit

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A thousand orders are charged for in a hundred seconds, ten in each second, and none is
// requeued.
func TestRate(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		start := time.Now()
		var mu sync.Mutex
		perSecond := make([]int, 110)
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), func(context.Context, []byte) error {
				mu.Lock()
				perSecond[int(time.Since(start)/time.Second)]++
				mu.Unlock()
				scene.Sleep(300 * time.Millisecond)
				return nil
			})
		})
		bodies := make([]string, 1000)
		for i := range bodies {
			bodies[i] = strconv.Itoa(i)
		}
		s.Publish(bodies...)
		scene.After(105 * time.Second)
		stop()
		if most := slices.Max(perSecond); most > 10 {
			s.Errorf("%d in one second", most)
		}
		if st := s.Stats(); st.Finished != 1000 || st.Delivered != 1000 {
			s.Errorf("%+v", st)
		}
	})
}
