package retry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBoom = errors.New("boom")

func TestConform(t *testing.T) {
	for name, opts := range map[string][]Option{"default": nil, "many": {Tries(10), every(time.Millisecond)}, "one": {Tries(1)}} {
		t.Run(name, func(t *testing.T) {
			scene.Conform(t, func(*testing.T, *nsq.Consumer) nsq.Middleware { return New(opts...) })
		})
	}
}

func TestBadArguments(t *testing.T) {
	for name, make := range map[string]func(){"Tries": func() { Tries(0) }, "Waits": func() { Waits(nil) }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			make()
		}()
	}
}

// every waits for the same time between tries.
func every(d time.Duration) Option {
	return Waits(func() backoff.BackOff { return backoff.NewConstantBackOff(d) })
}

// A handler that fails is called again in place, with a context and a message as new. nsqd
// hears of its success only.
func TestRetry(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		var at []time.Duration
		var contexts []context.Context
		start := time.Now()
		s.Consume(1, func(m *nsq.Message) error {
			at, contexts = append(at, time.Since(start)), append(contexts, m.Context())
			if before := len(contexts) - 2; before >= 0 && contexts[before].Err() == nil {
				s.Errorf("try %d begins before the context of the last one has ended", len(at))
			}
			if string(m.Body) != "pen" || m.Context().Err() != nil {
				s.Errorf("try %d has body %q and a context that has ended: %v", len(at), m.Body, m.Context().Err())
			}
			m.Body = nil
			if len(at) < 3 {
				return errBoom
			}
			return nil
		}, New(every(time.Second)))
		s.Publish("pen")
		scene.After(time.Minute)
		if want := []time.Duration{0, time.Second, 2 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("tried at %v, want %v", at, want)
		}
		if st := s.Stats(); st.Finished != 1 || st.Delivered != 1 {
			t.Errorf("%+v, want 1 delivered and finished", st)
		}
	})
}

// Each retry is logged with the attributes of the message.
func TestRetryIsLogged(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.DefaultRequeueDelay = time.Hour
		var lines strings.Builder
		logger := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.Consume(1, func(*nsq.Message) error { return errBoom }, nsq.ContextLogger(logger), New(every(time.Second)))
		s.Publish("pen")
		scene.After(time.Minute)
		const want = `level=DEBUG msg="handler failed, calling it again" topic=orders channel=billing`
		if got := lines.String(); strings.Count(got, want) != 2 || strings.Count(got, "err=boom wait=1s") != 2 {
			t.Errorf("logged:\n%s", got)
		}
	})
}

// After the last try the Consumer gets the handler's last error.
func TestRetryGivesUp(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.DefaultRequeueDelay = 90 * time.Second
		calls := 0
		var results scene.Errors
		s.Consume(1, func(*nsq.Message) error { calls++; return fmt.Errorf("boom %d", calls) }, results.Middleware, New(every(time.Second)))
		s.Publish("pen")
		scene.After(time.Minute)
		if last := results.Last(); calls != 3 || last == nil || last.Error() != "boom 3" || !slices.Equal(s.Requeues(), []string{"90000"}) {
			t.Errorf("%d calls, error %v, requeued with %q", calls, last, s.Requeues())
		}
	})
}

// No try begins after half of what was left of the lease, however patient the waits are.
func TestRetryWithinTheLease(t *testing.T) {
	for name, tt := range map[string]struct {
		wait, handler time.Duration
		want          int
	}{
		"first wait too long": {30 * time.Minute, 0, 1},
		"short waits":         {time.Second, 0, 6},                // at 0 to 5 s
		"slow handler":        {0, 2 * time.Second, 3},            // at 0, 2 and 4 s
		"beyond the lease":    {time.Second, 11 * time.Second, 1}, // the lease is over when it returns
	} {
		t.Run(name, func(t *testing.T) {
			scene.Run(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene.Scene) {
				s.Config.DefaultRequeueDelay = time.Hour
				var tries atomic.Int32
				s.Consume(1, func(m *nsq.Message) error {
					if m.Attempts == 1 {
						tries.Add(1)
					}
					scene.Sleep(tt.handler)
					return errBoom
				}, New(Tries(1000), every(tt.wait)))
				s.Publish("pen")
				scene.After(30 * time.Second)
				if n := int(tries.Load()); n != tt.want {
					t.Errorf("%d tries of the first delivery, want %d", n, tt.want)
				}
				if n := s.Stats().TimedOut; n > 0 && tt.handler < 10*time.Second {
					t.Errorf("%d leases ended", n)
				}
			})
		})
	}
}

// A handler's errors of package backoff are heeded.
func TestHandlerKnowsBackoff(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.DefaultRequeueDelay = time.Hour
		var calls []string
		start := time.Now()
		s.Consume(1, func(m *nsq.Message) error {
			calls = append(calls, fmt.Sprint(string(m.Body), " ", time.Since(start)))
			if string(m.Body) == "later" {
				return backoff.RetryAfter(3)
			}
			return backoff.Permanent(errBoom)
		}, New(Tries(2)))
		s.Publish("permanent", "later")
		scene.After(time.Minute)
		if want := []string{"permanent 0s", "later 0s", "later 3s"}; !slices.Equal(calls, want) {
			t.Errorf("calls %q, want %q", calls, want)
		}
	})
}

// A message that the program will ack later is not handled again.
func TestRetryLeavesPendingMessages(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		calls := 0
		s.Consume(1, func(m *nsq.Message) error { calls++; m.DisableAutoResponse(); return errBoom }, New())
		s.Publish("pen")
		scene.After(time.Second)
		if calls != 1 {
			t.Errorf("%d calls", calls)
		}
	})
}

// When the Consumer's time to stop is over, a message that waits is requeued with the
// handler's error.
func TestRetryWhileStopping(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.StopTimeout = time.Second
		var results scene.Errors
		c := s.Consume(1, func(*nsq.Message) error { return errBoom }, results.Middleware, New(every(20*time.Second)))
		s.Publish("pen")
		scene.After(time.Second)
		c.Stop()
		scene.After(1100 * time.Millisecond)
		if last := results.Last(); !errors.Is(last, errBoom) || s.Stats().Requeued != 1 {
			t.Errorf("%v, %+v", last, s.Stats())
		}
	})
}
