package deadletter

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/envelope"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "orders.billing.dead"

func letters(bodies ...string) (sealed []string) {
	for _, body := range bodies {
		h := envelope.Header{nsq.HeaderOriginTopic: "orders", nsq.HeaderOriginChannel: "billing"}
		sealed = append(sealed, string(envelope.Seal(h, []byte(body))))
	}
	return sealed
}

// A replay handles what it can, for as long as it takes. The rest is still there for the next
// one, however often it fails.
func TestReplay(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		var billed []string
		mended := false
		bill := nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
			if h, ok := envelope.FromContext(ctx); !ok || h[nsq.HeaderOriginTopic] != "orders" {
				s.Errorf("headers %v", h)
			}
			if string(m.Body) == "0" && !mended {
				panic("division by zero")
			}
			scene.Sleep(10 * time.Second)
			billed = append(billed, string(m.Body))
			return nil
		})
		s.NSQD.Publish(topic, letters("1", "0", "2")...)
		if err := Replay(s.Context(), s.Config, s.NSQD.Addr(), bill); err != nil {
			s.Error(err)
		}
		if st := s.NSQD.Stats(topic, "replay"); st.Finished != 2 || st.Deferred != 1 {
			s.Errorf("after the first replay: %+v", st)
		}
		for i := range 10 {
			mended = i == 9
			scene.After(time.Hour)
			if err := Replay(s.Context(), s.Config, s.NSQD.Addr(), bill); err != nil {
				s.Error(err)
			}
		}
		if st := s.NSQD.Stats(topic, "replay"); st.Finished != 3 || st.Depth+st.InFlight+st.Deferred != 0 {
			s.Errorf("after the last replay: %+v", st)
		}
		if !slices.Equal(billed, []string{"1", "2", "0"}) {
			s.Errorf("billed %q", billed)
		}
	})
}

// A replay that is interrupted leaves the rest.
func TestInterrupted(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		ctx, cancel := context.WithCancel(s.Context())
		// Before Run has begun it does not notice the end of its context.
		time.AfterFunc(time.Second, func() { s.NSQD.Publish(topic, letters("1", "2")...) })
		err := Replay(ctx, s.Config, s.NSQD.Addr(), nsq.HandlerFunc(func(*nsq.Message) error {
			cancel()
			return nil
		}))
		if st := s.NSQD.Stats(topic, "replay"); err != nil || st.Finished != 1 || st.Depth != 1 {
			s.Errorf("%v, %+v", err, st)
		}
	})
}

// If nsqd cannot be reached, a replay says so.
func TestNoNsqd(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.NSQD.Kill()
		if err := Replay(s.Context(), s.Config, s.NSQD.Addr(), nsq.HandlerFunc(nil)); !errors.Is(err, syscall.ECONNREFUSED) {
			s.Error(err)
		}
	})
}
