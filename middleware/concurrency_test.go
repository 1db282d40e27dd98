package middleware

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

// gauge counts calls of handlers at work, by a key.
type gauge struct {
	mu    sync.Mutex
	now   map[string]int
	most  map[string]int
	calls int
}

func newGauge() *gauge { return &gauge{now: map[string]int{}, most: map[string]int{}} }

// enter counts a call until the function that it returns is called.
func (g *gauge) enter(key string) (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	g.now[key]++
	g.most[key] = max(g.most[key], g.now[key])
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.now[key]--
	}
}

// Two Consumers with six handlers each share two slots. All messages are handled, two at a
// time, and none waits for so long that it is requeued.
func TestConcurrency(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		g := newGauge()
		limit := Concurrency(2)
		for range 2 {
			s.Consume(6, func(*nsq.Message) error {
				defer g.enter("all")()
				scene.Sleep(time.Second)
				return nil
			}, limit)
		}
		s.Publish(slices.Repeat([]string{"pen"}, 20)...)
		scene.After(10100 * time.Millisecond)
		if st := s.Stats(); st.Finished != 20 || st.Requeued+st.TimedOut != 0 || g.most["all"] != 2 {
			s.Errorf("%+v, up to %d at a time, want 20 finished, 2 at a time", st, g.most["all"])
		}
	})
}

// A message that finds no slot within half of its lease is delivered again, at once and
// without backoff.
func TestConcurrencyWaitsForHalfOfTheLease(t *testing.T) {
	for name, limit := range map[string]nsq.Middleware{
		"Concurrency": Concurrency(1),
		"ByKey":       ByKey(1, func(*nsq.Message) string { return "key" }),
	} {
		t.Run(name, func(t *testing.T) { waitsForHalfOfTheLease(t, limit) })
	}
}

func waitsForHalfOfTheLease(t *testing.T, limit nsq.Middleware) {
	scene.Run(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene.Scene) {
		s.Config.MaxBackoffDuration = time.Minute
		s.Config.DefaultRequeueDelay = time.Hour
		var results scene.Errors
		var calls atomic.Int32
		c := s.Consume(2, func(*nsq.Message) error {
			calls.Add(1)
			scene.Sleep(6 * time.Second)
			return nil
		}, results.Middleware, limit)
		s.Publish("pen", "ink")
		scene.After(5100 * time.Millisecond)
		if errs := results.All(); len(errs) != 1 || !errors.Is(errs[0], ErrBusy) {
			t.Fatalf("after half of the lease: %v", errs)
		}
		if want := []string{"0"}; !slices.Equal(s.Requeues(), want) {
			t.Errorf("requeued with %q, want %q", s.Requeues(), want)
		}
		if level := c.Snapshot().BackoffLevel; level != 0 {
			t.Errorf("backoff level %d", level)
		}
		scene.After(20 * time.Second)
		if st := s.Stats(); calls.Load() != 2 || st.Finished != 2 || st.Requeued != 1 || st.TimedOut != 0 {
			t.Errorf("handled %d times, %+v", calls.Load(), st)
		}
	})
}

// A message that waits when the Consumer's time to stop is over is requeued.
func TestConcurrencyWhileStopping(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.StopTimeout = time.Second
		var results scene.Errors
		c := s.Consume(2, func(m *nsq.Message) error {
			<-m.Context().Done()
			scene.Sleep(time.Second) // longer than the Consumer waits
			return nil
		}, results.Middleware, Concurrency(1))
		s.Publish("pen", "ink")
		scene.After(time.Second)
		c.Stop()
		scene.After(1100 * time.Millisecond)
		if errs := results.All(); len(errs) != 1 || !errors.Is(errs[0], nsq.ErrStopped) {
			t.Errorf("waiting for a slot ended with %v, want the stop", errs)
		}
		if want := []string{"0"}; !slices.Equal(s.Requeues(), want) {
			t.Errorf("requeued with %q, want %q", s.Requeues(), want)
		}
		scene.After(time.Second)
	})
}

// No more than n messages of a key are handled at a time, while handlers fail, panic, end their
// goroutines and take any time. Every message is handled, and nothing is kept of its key.
func TestByKey(t *testing.T) {
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) { testByKey(t, n) })
	}
}

func testByKey(t *testing.T, n int) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.MaxAttempts, s.Config.MaxInFlight = 0, 60
		chance := rand.New(rand.NewPCG(1, uint64(n))) // #nosec G115 G404 -- n is small, and no secret
		g, keys, handled := newGauge(), newKeyed(n), 0
		byKey := func(next nsq.Handler) nsq.Handler {
			return nsq.HandlerFunc(func(m *nsq.Message) error { return keys.handle(next, m, string(m.Body)) })
		}
		h := func(m *nsq.Message) error {
			defer g.enter(string(m.Body))()
			g.mu.Lock()
			took, fate := time.Duration(chance.IntN(1000))*time.Millisecond, chance.IntN(10)
			g.mu.Unlock()
			scene.Sleep(took)
			switch fate {
			case 0:
				return errors.New("boom")
			case 1:
				panic("boom")
			case 2:
				runtime.Goexit()
			}
			g.mu.Lock()
			handled++
			g.mu.Unlock()
			return nil
		}
		const messages = 1000
		var bodies []string
		for range messages {
			bodies = append(bodies, fmt.Sprint(chance.IntN(chance.IntN(40)+1))) // some keys are hot
		}
		for range 2 {
			s.Consume(30, h, byKey)
		}
		s.Publish(bodies...)
		scene.After(time.Hour)
		if st := s.Stats(); handled != messages || st.Finished != messages {
			s.Errorf("%d handled, %+v, want %d", handled, st, messages)
		}
		for key, most := range g.most {
			if most > n {
				s.Errorf("%d messages of key %s at once, want %d at most", most, key, n)
			}
		}
		if g.most["0"] != n {
			s.Errorf("at most %d messages of the hottest key at once, want %d", g.most["0"], n)
		}
		if len(keys.slots) != 0 {
			s.Errorf("the slots of %d keys are kept", len(keys.slots))
		}
	})
}

// A message of another key does not wait for a key that is in use, and one without a key waits
// for none.
func TestByKeyHoldsUpNoOtherKey(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		var mu sync.Mutex
		var done []string
		s.Consume(6, func(m *nsq.Message) error {
			switch string(m.Body) {
			case "slow":
				scene.Sleep(20 * time.Second)
			case "none":
				scene.Sleep(600 * time.Millisecond) // both at once, or else the second is late
			}
			mu.Lock()
			defer mu.Unlock()
			done = append(done, string(m.Body))
			return nil
		}, ByKey(1, func(m *nsq.Message) string {
			if string(m.Body) == "none" {
				return ""
			}
			return string(m.Body)
		}))
		s.Publish("slow", "slow", "quick", "none", "none")
		scene.After(time.Second)
		mu.Lock()
		meanwhile := slices.Sorted(slices.Values(done))
		mu.Unlock()
		if want := []string{"none", "none", "quick"}; !slices.Equal(meanwhile, want) {
			t.Errorf("done meanwhile: %q, want %q", meanwhile, want)
		}
		scene.After(time.Minute)
		if n := s.Stats().Finished; n != 5 {
			t.Errorf("%d done in the end, want 5", n)
		}
	})
}

// Only acks what it does not pass on.
func TestOnly(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		var seen []string
		s.Consume(1, func(m *nsq.Message) error { seen = append(seen, string(m.Body)); return nil },
			Only(func(m *nsq.Message) bool { return string(m.Body) != "ink" }))
		s.Publish("pen", "ink", "paper")
		scene.After(time.Second)
		if st := s.Stats(); !slices.Equal(seen, []string{"pen", "paper"}) || st.Finished != 3 {
			t.Errorf("handled %q, %+v", seen, st)
		}
	})
}
