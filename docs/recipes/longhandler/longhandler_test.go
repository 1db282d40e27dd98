package longhandler

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A message that takes eighteen times as long as its msg-timeout is delivered once.
func TestLong(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), func(context.Context, string) error {
				scene.Sleep(9 * time.Minute)
				return nil
			})
		})
		s.Publish("cats.mov")
		scene.After(10 * time.Minute)
		stop()
		if st := s.Stats(); st.Finished != 1 || st.Delivered != 1 || st.TimedOut != 0 {
			s.Errorf("%+v", st)
		}
	})
}

// A message that takes too long is delivered again, and its handler is told to end.
func TestTooLong(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		start := time.Now()
		var causes []error
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), func(ctx context.Context, _ string) error {
				if len(causes) > 0 {
					return nil
				}
				<-ctx.Done()
				causes = append(causes, context.Cause(ctx))
				if took := time.Since(start); took < 10*time.Minute || took > 10*time.Minute+30*time.Second {
					s.Errorf("the handler was told to end after %v", took)
				}
				return ctx.Err()
			})
		})
		s.Publish("cats.mov")
		scene.After(time.Hour)
		stop()
		if len(causes) != 1 || !errors.Is(causes[0], nsq.ErrMessageTimedOut) {
			s.Errorf("causes %v", causes)
		}
		if st := s.Stats(); st.Finished != 1 || st.Delivered != 2 {
			s.Errorf("%+v", st)
		}
	})
}

// When a process dies, another one gets its message after msg_timeout.
func TestCrash(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		dead := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), func(ctx context.Context, _ string) error {
				<-ctx.Done() // the connection is lost
				return ctx.Err()
			})
		})
		s.Publish("cats.mov")
		scene.After(time.Minute)
		s.Network.Refuse(s.NSQD.Addr(), nil)
		s.NSQD.Disconnect(1)
		dead()
		s.Network.Allow(s.NSQD.Addr())
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), func(context.Context, string) error { return nil })
		})
		scene.After(31 * time.Second)
		if st := s.Stats(); st.Finished != 1 {
			s.Errorf("%+v", st)
		}
		stop()
	})
}
