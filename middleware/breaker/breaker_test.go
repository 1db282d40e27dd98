package breaker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("the bank is down")

// circuit returns a breaker that opens after some failures in a row, for a time.
func circuit(failures uint, delay time.Duration) circuitbreaker.CircuitBreaker[any] {
	return circuitbreaker.NewBuilder[any]().WithFailureThreshold(failures).WithSuccessThreshold(1).WithDelay(delay).Build()
}

func TestConform(t *testing.T) {
	scene.Conform(t, func(_ *testing.T, c *nsq.Consumer) nsq.Middleware { return New(circuit(100, time.Minute), c) })
}

func TestBadArguments(t *testing.T) {
	for name, make := range map[string]func(){
		"breaker":  func() { New[any](nil, &nsq.Consumer{}) },
		"Consumer": func() { New(circuit(1, time.Minute), nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("nil %s does not panic", name)
				}
			}()
			make()
		}()
	}
}

// consume starts a Consumer with a breaker.
func consume(s *scene.Scene, handlers int, cb circuitbreaker.CircuitBreaker[any], h nsq.HandlerFunc) *nsq.Consumer {
	c := s.Consumer()
	c.Use(New(cb, c))
	s.Handle(c, handlers, h)
	return c
}

// While the breaker is open for a minute, no message is delivered beyond those in hand when it
// opened. Then one is tried, and when that succeeds all others flow.
func TestOpenBreakerBurnsNoAttempts(t *testing.T) {
	for name, tt := range map[string]struct {
		handlers int
		backoff  time.Duration
		took     time.Duration
	}{
		"one handler":                 {1, 0, 0},
		"as many handlers as slots":   {10, 0, 0},
		"slow handlers":               {10, 0, time.Second},
		"with the Consumer's backoff": {4, time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
				s.Config.MaxBackoffDuration = tt.backoff
				s.Config.DefaultRequeueDelay = time.Second
				var down atomic.Bool
				down.Store(true)
				var again atomic.Int32 // messages handled after more than two attempts
				consume(s, tt.handlers, circuit(1, time.Minute), func(m *nsq.Message) error {
					scene.Sleep(tt.took)
					if down.Load() {
						return errDown
					}
					if m.Attempts > 2 {
						again.Add(1)
					}
					return nil
				})
				s.Publish(slices.Repeat([]string{"pen"}, 200)...)
				scene.After(59 * time.Second)
				if st := s.Stats(); st.Delivered > s.Config.MaxInFlight || st.Finished != 0 {
					t.Errorf("%+v before the minute is over, want %d delivered at most", st, s.Config.MaxInFlight)
				}
				down.Store(false)
				scene.After(10 * time.Minute)
				if st := s.Stats(); st.Finished != 200 || again.Load() != 0 {
					t.Errorf("%+v, %d of them with more than 2 attempts, want 200 finished and 0", st, again.Load())
				}
			})
		})
	}
}

// While the handler keeps failing, each delay of the breaker costs one attempt of one message.
func TestHalfOpenBreakerTriesOneMessage(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.MaxAttempts = 0
		consume(s, 10, circuit(1, time.Minute), func(*nsq.Message) error {
			scene.Sleep(time.Second)
			return errDown
		})
		s.Publish(slices.Repeat([]string{"pen"}, 200)...)
		scene.After(30 * time.Second)
		before := s.Stats().Delivered
		scene.After(10 * time.Minute)
		if tried := s.Stats().Delivered - before; tried < 9 || tried > 10 {
			t.Errorf("%d messages tried in 10 minutes, want one a minute", tried)
		}
	})
}

// max_in_flight goes to 0, 1 and back. Messages in hand when the breaker opened are requeued
// until it tries the next, and do not make the Consumer back off.
func TestMaxInFlightFollows(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.MaxBackoffDuration = time.Minute
		var down atomic.Bool
		down.Store(true)
		c := consume(s, 1, circuit(1, 10*time.Second), func(*nsq.Message) error {
			scene.Sleep(time.Second)
			if down.Load() {
				return nsq.NoBackoff(errDown)
			}
			return nil
		})
		expect := func(when string, want int) {
			t.Helper()
			if got := c.Snapshot().MaxInFlight; got != want {
				t.Errorf("max_in_flight is %d %s, want %d", got, when, want)
			}
		}
		expect("at first", 10)
		s.Publish(slices.Repeat([]string{"pen"}, 30)...)
		scene.After(1500 * time.Millisecond)
		expect("when the breaker is open", 0)
		for i, delay := range s.Requeues() {
			// Sending RDY 0 takes up to a millisecond of the breaker's delay.
			if delays := []string{"10000", "9999"}; i > 0 && !slices.Contains(delays, delay) || i == 10 {
				t.Errorf("message %d was requeued for %s ms, want 10 messages, all but the first for %q", i+1, delay, delays)
			}
		}
		if level := c.Snapshot().BackoffLevel; level != 0 {
			t.Errorf("backoff level %d", level)
		}
		down.Store(false)
		scene.After(10 * time.Second)
		expect("when the breaker is half-open", 1)
		scene.After(time.Second)
		expect("when the breaker is closed", 10)
		scene.After(time.Minute)
		c.ChangeMaxInFlight(7)
		down.Store(true)
		s.Publish("ink")
		scene.After(1500 * time.Millisecond)
		expect("when the breaker is open again", 0)
		down.Store(false)
		scene.After(time.Minute)
		expect("when the breaker is closed again", 7)
	})
}

// The program's own Pause outlasts the breaker.
func TestPauseIsLeftToTheProgram(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		calls := 0
		cb := circuit(1, 10*time.Second)
		c := consume(s, 1, cb, func(*nsq.Message) error { calls++; return errDown })
		s.Publish("pen")
		scene.After(time.Second)
		c.Pause()
		scene.After(time.Minute)
		if calls != 1 || !c.Snapshot().Paused {
			t.Errorf("%d calls, paused: %v", calls, c.Snapshot().Paused)
		}
		c.Resume()
		scene.After(time.Second)
		if calls != 2 {
			t.Errorf("%d calls after Resume, want 2", calls)
		}
	})
}

// Errors with which a handler decides about its message do not open the breaker, and let it
// close. A panic counts as a failure.
func TestWhatIsAFailure(t *testing.T) {
	for name, tt := range map[string]struct {
		handler nsq.HandlerFunc
		opens   bool
	}{
		"error":       {func(*nsq.Message) error { return errDown }, true},
		"NoBackoff":   {func(*nsq.Message) error { return nsq.NoBackoff(errDown) }, true},
		"panic":       {func(*nsq.Message) error { panic("boom") }, true},
		"nil":         {func(*nsq.Message) error { return nil }, false},
		"RetryAfter":  {func(*nsq.Message) error { return nsq.RetryAfter(time.Hour, errDown) }, false},
		"Discard":     {func(*nsq.Message) error { return nsq.Discard(errDown) }, false},
		"own requeue": {func(m *nsq.Message) error { m.Requeue(time.Hour); return errDown }, false},
	} {
		t.Run(name, func(t *testing.T) {
			scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
				s.Config.DefaultRequeueDelay = time.Hour
				cb := circuit(2, 10*time.Second)
				consume(s, 1, cb, tt.handler)
				s.Publish("pen", "ink")
				scene.After(time.Second)
				if cb.IsOpen() != tt.opens {
					t.Errorf("the breaker is %v after two messages", cb.State())
				}
				if tt.opens {
					scene.After(10 * time.Second)
				} else {
					cb.HalfOpen()
				}
				s.Publish("paper")
				scene.After(time.Second)
				if cb.IsOpen() != tt.opens || cb.IsHalfOpen() {
					t.Errorf("the breaker is %v after a try", cb.State())
				}
			})
		})
	}
}

// Handlers whose contexts end with the connection do not open the breaker.
func TestLostConnectionIsNoFailure(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		cb := circuit(1, 10*time.Second)
		consume(s, 5, cb, func(m *nsq.Message) error {
			<-m.Context().Done()
			return m.Context().Err()
		})
		s.Publish(slices.Repeat([]string{"pen"}, 5)...)
		scene.After(time.Second)
		s.NSQD.Disconnect(1)
		synctest.Wait()
		if !cb.IsClosed() {
			t.Errorf("the breaker is %v", cb.State())
		}
	})
}

// A result of a handler that began before the breaker opened does not close it.
func TestLateResult(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.DefaultRequeueDelay = time.Hour
		cb := circuit(1, 10*time.Second)
		consume(s, 2, cb, func(m *nsq.Message) error {
			if string(m.Body) == "slow" {
				scene.Sleep(15 * time.Second)
				return nil
			}
			return errDown
		})
		s.Publish("slow")
		scene.After(time.Second)
		s.Publish("bad")
		scene.After(time.Second)
		cb.HalfOpen()
		scene.After(15 * time.Second)
		if !cb.IsHalfOpen() || s.Stats().Finished != 1 {
			t.Errorf("the breaker is %v, %+v", cb.State(), s.Stats())
		}
	})
}

// Three Consumers share a breaker. All of them stop, and only one message is tried. The others
// wait for its result, and are handled if that is good.
func TestSharedBreaker(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		cb := circuit(1, 10*time.Second)
		var down atomic.Bool
		down.Store(true)
		var tried atomic.Int32
		var consumers []*nsq.Consumer
		for range 3 {
			consumers = append(consumers, consume(s, 2, cb, func(*nsq.Message) error {
				if down.Load() {
					return errDown
				}
				tried.Add(1)
				scene.Sleep(5 * time.Second)
				return nil
			}))
		}
		s.Publish(slices.Repeat([]string{"pen"}, 100)...)
		scene.After(time.Second)
		if n := s.Stats().Delivered; n > 30 {
			t.Errorf("%d messages delivered, want 30 at most", n)
		}
		down.Store(false)
		before := s.Stats().Requeued
		scene.After(13 * time.Second)
		if tried.Load() != 1 || s.Stats().Requeued != before {
			t.Errorf("%d messages tried, %d requeued meanwhile, want 1 and 0", tried.Load(), s.Stats().Requeued-before)
		}
		scene.After(2 * time.Minute)
		if st := s.Stats(); st.Finished != 100 {
			t.Errorf("%+v, want 100 finished", st)
		}
		for _, c := range consumers {
			if n := c.Snapshot().MaxInFlight; n != 10 {
				t.Errorf("max_in_flight is %d in the end", n)
			}
		}
	})
}

// A message that waits for the result of another for half of its lease is delivered again.
func TestHalfOpenBreakerKeepsNoMessage(t *testing.T) {
	scene.Run(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene.Scene) {
		cb := circuit(1, time.Minute)
		var calls atomic.Int32
		c := consume(s, 2, cb, func(*nsq.Message) error {
			calls.Add(1)
			scene.Sleep(6 * time.Second)
			return nil
		})
		cb.HalfOpen()
		s.Publish("pen", "ink")
		scene.After(4900 * time.Millisecond)
		if st := s.Stats(); calls.Load() != 1 || st.Requeued != 0 {
			t.Errorf("before half of the lease is over: %d calls, %+v", calls.Load(), st)
		}
		scene.After(200 * time.Millisecond)
		if st := s.Stats(); calls.Load() != 1 || st.Requeued != 1 {
			t.Errorf("after half of the lease: %d calls, %+v", calls.Load(), st)
		}
		if n := c.Snapshot().MaxInFlight; n != 1 {
			t.Errorf("max_in_flight is %d while the breaker is half-open, want 1", n)
		}
		scene.After(time.Minute)
		if st := s.Stats(); calls.Load() != 2 || st.Finished != 2 || st.TimedOut != 0 {
			t.Errorf("in the end: %d calls, %+v", calls.Load(), st)
		}
	})
}

// RDY 0 goes before the REQs of the messages in hand, so that nsqd sends no others.
func TestRDYGoesFirst(t *testing.T) {
	for _, slots := range []int{1, 10} {
		t.Run(fmt.Sprint(slots), func(t *testing.T) { rdyGoesFirst(t, slots) })
	}
}

func rdyGoesFirst(t *testing.T, slots int) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.MaxInFlight = slots
		consume(s, 10, circuit(1, time.Minute), func(*nsq.Message) error { return errDown })
		s.Publish(slices.Repeat([]string{"pen"}, 100)...)
		scene.After(time.Second)
		var commands []string
		for _, line := range s.NSQD.CommandsOf(1) {
			if name, _, _ := strings.Cut(line, " "); name == "RDY" || name == "REQ" {
				commands = append(commands, name)
			}
		}
		if i := slices.Index(commands, "REQ"); i < 1 || commands[i-1] != "RDY" || !slices.Contains(s.NSQD.CommandsOf(1), "RDY 0") {
			t.Errorf("commands: %q", commands)
		}
		if n := s.Stats().Delivered; n != slots {
			t.Errorf("%d messages delivered, want %d", n, slots)
		}
	})
}

// A Consumer can stop while the breaker is open.
func TestStopWhileOpen(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		c := consume(s, 4, circuit(1, time.Minute), func(*nsq.Message) error { return errDown })
		s.Publish(slices.Repeat([]string{"pen"}, 20)...)
		scene.After(time.Second)
		c.Stop()
		start := time.Now()
		<-c.StopChan
		if took := time.Since(start); took > time.Second {
			t.Errorf("the stop took %v", took)
		}
		scene.After(2 * time.Minute)
	})
}
