package failsafe

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	failsafego "github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/fallback"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"
	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBoom = errors.New("boom")

func retries(n int) failsafego.Policy[any] {
	return retrypolicy.NewBuilder[any]().WithMaxRetries(n).WithDelay(time.Millisecond).Build()
}

func TestConform(t *testing.T) {
	for name, policies := range map[string][]failsafego.Policy[any]{
		"none":     nil,
		"bulkhead": {bulkhead.New[any](10)},
		"timeout":  {timeout.New[any](time.Minute)},
		"hedge":    {hedgepolicy.NewWithDelay[any](time.Hour)},
		"several":  {bulkhead.New[any](10), timeout.New[any](time.Minute), hedgepolicy.NewWithDelay[any](time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			scene.Conform(t, func(*testing.T, *nsq.Consumer) nsq.Middleware { return New(policies...) })
		})
	}
}

func TestNilPolicy(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New does not panic")
		}
	}()
	New(nil)
}

// Retries call the handler in place. A panic is a failure to them. When they are exhausted, the
// error unwraps to the handler's.
func TestRetryPolicy(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.DefaultRequeueDelay = time.Hour
		var results scene.Errors
		calls := map[string]int{}
		s.Consume(1, func(m *nsq.Message) error {
			body := string(m.Body)
			switch calls[body]++; {
			case body == "hopeless":
				return errBoom
			case calls[body] == 1:
				panic(errBoom)
			case calls[body] == 2:
				runtime.Goexit()
			}
			return nil
		}, results.Middleware, New(retries(2)))
		s.Publish("pen")
		scene.After(time.Second)
		if st := s.Stats(); calls["pen"] != 3 || st.Finished != 1 || st.Delivered != 1 || results.Last() != nil {
			t.Errorf("%v, %+v, %v", calls, st, results.Last())
		}
		s.Publish("hopeless")
		scene.After(time.Second)
		if calls["hopeless"] != 3 || !errors.Is(results.Last(), errBoom) {
			t.Errorf("%v, %v", calls, results.Last())
		}
	})
}

// Policies do not repeat, replace or count an error with which the handler decides.
func TestPoliciesLeaveVerdicts(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		calls := 0
		c := s.Consume(1, func(m *nsq.Message) error {
			calls++
			if string(m.Body) == "bad" {
				return nsq.Discard(errBoom)
			}
			return nsq.RetryAfter(time.Hour, errBoom)
		}, New(fallback.NewWithResult[any](nil), retries(5)))
		s.Publish("bad", "later")
		scene.After(time.Second)
		if st := s.Stats(); calls != 2 || st.Finished != 1 || c.Snapshot().Discarded != 1 || !slices.Equal(s.Requeues(), []string{"3600000"}) {
			t.Errorf("%d calls, %+v, requeued with %q", calls, st, s.Requeues())
		}
	})
}

// A fallback can ack a message by returning no error.
func TestFallback(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Consume(1, func(*nsq.Message) error { return errBoom }, New(fallback.NewWithResult[any](nil)))
		s.Publish("pen")
		scene.After(time.Second)
		if st := s.Stats(); st.Finished != 1 || st.Requeued != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// The error of a policy that turns a message away reaches the Consumer.
func TestFullBulkhead(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.DefaultRequeueDelay = time.Hour
		var results scene.Errors
		full := bulkhead.New[any](1)
		full.TryAcquirePermit()
		s.Consume(1, func(*nsq.Message) error { return nil }, results.Middleware, New(full))
		s.Publish("pen")
		scene.After(time.Second)
		if !errors.Is(results.Last(), bulkhead.ErrFull) || s.Stats().Requeued != 1 {
			t.Errorf("%v, %+v", results.Last(), s.Stats())
		}
	})
}

// A timeout ends the context of the handler, and its error reaches the Consumer. A handler that
// succeeds all the same has succeeded.
func TestTimeoutPolicy(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.DefaultRequeueDelay = time.Hour
		var results scene.Errors
		var took time.Duration
		s.Consume(1, func(m *nsq.Message) error {
			start := time.Now()
			<-m.Context().Done()
			took = time.Since(start)
			if string(m.Body) == "late" {
				return nil
			}
			return m.Context().Err()
		}, results.Middleware, New(timeout.New[any](5*time.Second)))
		s.Publish("pen")
		scene.After(10 * time.Second)
		if took != 5*time.Second || !errors.Is(results.Last(), timeout.ErrExceeded) {
			t.Errorf("ended after %v with %v", took, results.Last())
		}
		s.Publish("late")
		scene.After(10 * time.Second)
		if st := s.Stats(); results.Last() != nil || st.Finished != 1 || st.Requeued != 1 {
			t.Errorf("%v, %+v", results.Last(), st)
		}
	})
}

// A hedge calls the handler twice at the same time. The message is acked when the loser has
// returned, whose context ends when the other has won.
func TestHedge(t *testing.T) {
	for name, end := range map[string]func(context.Context) error{
		"loser fails":  func(ctx context.Context) error { return ctx.Err() },
		"loser panics": func(context.Context) error { panic("boom") },
		"loser exits":  func(context.Context) error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
				var calls, working atomic.Int32
				var acked time.Duration
				start := time.Now()
				atWork := func(next nsq.Handler) nsq.Handler {
					return nsq.HandlerFunc(func(m *nsq.Message) error {
						err := next.HandleMessage(m)
						acked = time.Since(start)
						if n := working.Load(); n != 0 {
							s.Errorf("%d calls still at work", n)
						}
						return err
					})
				}
				s.Consume(1, func(m *nsq.Message) error {
					working.Add(1)
					defer working.Add(-1)
					if calls.Add(1) == 2 {
						return nil
					}
					<-m.Context().Done()
					scene.Sleep(100 * time.Millisecond)
					return end(m.Context())
				}, atWork, New(hedgepolicy.NewWithDelay[any](time.Second)))
				s.Publish("pen")
				scene.After(10 * time.Second)
				if st := s.Stats(); calls.Load() != 2 || st.Finished != 1 || st.Requeued != 0 {
					t.Errorf("%d calls, %+v", calls.Load(), st)
				}
				if acked != 1100*time.Millisecond {
					t.Errorf("acked after %v", acked)
				}
			})
		})
	}
}

// A panic that policies let pass reaches the Consumer with the stack of the handler.
func TestPanicHasTheHandlersStack(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.DefaultRequeueDelay = time.Hour
		var value any
		caught := func(next nsq.Handler) nsq.Handler {
			return nsq.HandlerFunc(func(m *nsq.Message) error {
				defer func() { value = recover() }()
				return next.HandleMessage(m)
			})
		}
		s.Consume(1, func(*nsq.Message) error { return explode() }, caught, New(retries(1)))
		s.Publish("pen")
		scene.After(time.Second)
		err, _ := value.(error)
		if !errors.Is(err, errBoom) || !strings.Contains(fmt.Sprint(value), "failsafe.explode") {
			t.Errorf("panicked with %v", value)
		}
	})
}

// A policy whose listener panics leaves no call at work.
func TestPolicyPanics(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.DefaultRequeueDelay = time.Hour
		hedge := hedgepolicy.NewBuilderWithDelay[any](time.Second).
			OnHedge(func(failsafego.ExecutionEvent[any]) { panic("boom") }).Build()
		c := s.Consume(1, func(m *nsq.Message) error {
			<-m.Context().Done()
			return m.Context().Err()
		}, New(hedge))
		s.Publish("pen")
		scene.After(2 * time.Second)
		if st, n := s.Stats(), c.Snapshot().Panicked; st.Requeued != 1 || n != 1 {
			t.Errorf("%+v, %d panics", st, n)
		}
	})
}

func explode() error { panic(errBoom) }

// A handler that returns while the Consumer stops has its success acked, although its context
// has ended.
func TestSuccessWhileStopping(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.StopTimeout = time.Second
		c := s.Consume(1, func(m *nsq.Message) error { <-m.Context().Done(); return nil }, New(retries(3)))
		s.Publish("pen")
		scene.After(time.Second)
		c.Stop()
		scene.After(2 * time.Second)
		if st := s.Stats(); st.Finished != 1 || st.Requeued != 0 {
			t.Errorf("%+v", st)
		}
	})
}
