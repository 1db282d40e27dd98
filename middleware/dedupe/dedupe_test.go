package dedupe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBoom = errors.New("boom")

func body(m *nsq.Message) string { return string(m.Body) }

// memory returns a Memory that is closed with the test.
func memory(t testing.TB, window time.Duration, size int) *Memory {
	s := NewMemory(window, size)
	t.Cleanup(s.Close)
	return s
}

func TestConform(t *testing.T) {
	scene.Conform(t, func(t *testing.T, _ *nsq.Consumer) nsq.Middleware {
		return New(memory(t, time.Hour, 100), body)
	})
}

func TestBadArguments(t *testing.T) {
	for name, make := range map[string]func(){
		"Store":    func() { New(nil, body) },
		"function": func() { New(&Memory{}, nil) },
		"window":   func() { NewMemory(0, 1) },
		"size":     func() { NewMemory(1, 0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("no %s does not panic", name)
				}
			}()
			make()
		}()
	}
}

// A duplicate of a handled message is acked and not handled, until the window is over. Messages
// without a key always are handled.
func TestDuplicates(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		calls := map[string]int{}
		key := func(m *nsq.Message) string {
			if string(m.Body) == "no key" {
				return ""
			}
			return string(m.Body)
		}
		var warnings strings.Builder
		log := slog.New(slog.NewTextHandler(&warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))
		s.Consume(1, func(m *nsq.Message) error { calls[string(m.Body)]++; return nil },
			nsq.ContextLogger(log), New(memory(s, 10*time.Minute, 100), key))
		s.Publish("pen", "ink", "pen", "no key", "pen", "no key")
		scene.After(9 * time.Minute)
		s.Publish("pen")
		scene.After(time.Second)
		if calls["pen"] != 1 || calls["ink"] != 1 || calls["no key"] != 2 || s.Stats().Finished != 7 {
			t.Errorf("handled %v, %+v", calls, s.Stats())
		}
		scene.After(2 * time.Minute)
		s.Publish("pen")
		scene.After(time.Second)
		if calls["pen"] != 2 {
			t.Errorf("handled %v after the window", calls)
		}
		if warnings.Len() > 0 {
			t.Errorf("logged %s", &warnings)
		}
	})
}

// However a handler fails, the next delivery reaches it, and so does the one after that.
func TestFailureReleases(t *testing.T) {
	for name, fail := range map[string]nsq.HandlerFunc{
		"error":       func(*nsq.Message) error { return errBoom },
		"panic":       func(*nsq.Message) error { panic(errBoom) },
		"Goexit":      func(*nsq.Message) error { runtime.Goexit(); return nil },
		"RetryAfter":  func(*nsq.Message) error { return nsq.RetryAfter(time.Second, errBoom) },
		"own requeue": func(m *nsq.Message) error { m.Requeue(0); return nil },
		"later requeue": func(m *nsq.Message) error {
			m.DisableAutoResponse()
			time.AfterFunc(time.Second, func() { m.Requeue(0) })
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
				calls := 0
				s.Consume(1, func(m *nsq.Message) error {
					if calls++; calls <= 2 {
						return fail(m)
					}
					return nil
				}, New(memory(s, time.Hour, 100), body))
				s.Publish("pen")
				scene.After(10 * time.Second)
				if st := s.Stats(); calls != 3 || st.Finished != 1 || st.Delivered != 3 {
					t.Errorf("%d calls, %+v", calls, st)
				}
			})
		})
	}
}

// Discarding a message is no success: a duplicate reaches the handler.
func TestDiscardReleases(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		calls := 0
		s.Consume(1, func(*nsq.Message) error { calls++; return nsq.Discard(errBoom) }, New(memory(s, time.Hour, 100), body))
		s.Publish("pen", "pen")
		scene.After(time.Second)
		if calls != 2 {
			t.Errorf("%d calls, want 2", calls)
		}
	})
}

// remote is a Store that needs its context, as one over a network does.
type remote struct{ *Memory }

func (s remote) Commit(ctx context.Context, key, owner string) error {
	if _, bounded := ctx.Deadline(); ctx.Err() != nil || !bounded {
		return fmt.Errorf("context %w, bounded: %v", ctx.Err(), bounded)
	}
	return s.Memory.Commit(ctx, key, owner)
}

// A handler that finishes its message by itself, at once or later, has handled it.
func TestOwnFinishCommits(t *testing.T) {
	for name, finish := range map[string]nsq.HandlerFunc{
		"at once": func(m *nsq.Message) error { m.Finish(); return errBoom },
		"later": func(m *nsq.Message) error {
			m.DisableAutoResponse()
			time.AfterFunc(time.Second, m.Finish)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
				var calls atomic.Int32
				s.Consume(2, func(m *nsq.Message) error { calls.Add(1); m.Touch(); return finish(m) },
					New(remote{memory(s, time.Hour, 100)}, body))
				s.Publish("pen")
				scene.After(10 * time.Second)
				s.Publish("pen")
				scene.After(10 * time.Second)
				if st := s.Stats(); calls.Load() != 1 || st.Finished != 2 {
					t.Errorf("%d calls, %+v", calls.Load(), st)
				}
			})
		})
	}
}

// A touch reaches the Consumer's delegate, and does nothing to a message that no Consumer
// delivered.
func TestTouchIsPassedOn(t *testing.T) {
	var touched touches
	(&delegate{next: &touched}).OnTouch(nil)
	(&delegate{}).OnTouch(nil)
	if touched != 1 {
		t.Errorf("%d touches", touched)
	}
}

// touches is a delegate that counts them.
type touches int

func (n *touches) OnFinish(*nsq.Message)                       {}
func (n *touches) OnRequeue(*nsq.Message, time.Duration, bool) {}
func (n *touches) OnTouch(*nsq.Message)                        { *n++ }

// A duplicate that comes while the message is being handled is requeued until the claim ends,
// without backoff. If the message fails, the duplicate is handled.
func TestDuplicateWhileClaimed(t *testing.T) {
	for name, fails := range map[string]bool{"message succeeds": false, "message fails": true} {
		t.Run(name, func(t *testing.T) {
			scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
				s.Config.DefaultRequeueDelay = time.Hour
				s.Config.MaxBackoffDuration = time.Minute
				var calls atomic.Int32
				c := s.Consume(2, func(*nsq.Message) error {
					if calls.Add(1) > 1 {
						return nil
					}
					scene.Sleep(10 * time.Second)
					if fails {
						return nsq.NoBackoff(errBoom)
					}
					return nil
				}, New(memory(s, time.Hour, 100), body))
				s.Publish("pen")
				scene.After(time.Second)
				s.Publish("pen")
				scene.After(time.Second)
				if want := []string{"59000"}; calls.Load() != 1 || !slices.Equal(s.Requeues(), want) || s.Stats().Finished != 0 {
					t.Errorf("%d calls, requeued with %q, want %q", calls.Load(), s.Requeues(), want)
				}
				if level := c.Snapshot().BackoffLevel; level != 0 {
					t.Errorf("backoff level %d", level)
				}
				scene.After(2 * time.Minute)
				want := map[bool]int{false: 1, true: 2}[fails]
				if st, n := s.Stats(), int(calls.Load()); n != want || st.Finished != 3-want {
					t.Errorf("%d calls, want %d; %+v", n, want, st)
				}
			})
		})
	}
}

// A message whose lease ends while it is handled comes again, and reaches the handler at once:
// the delivery before is given up. That one may still succeed or fail.
func TestLostLease(t *testing.T) {
	for name, result := range map[string]error{"late success": nil, "late failure": errBoom} {
		t.Run(name, func(t *testing.T) {
			scene.Run(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene.Scene) {
				var calls atomic.Int32
				s.Consume(2, func(m *nsq.Message) error {
					if calls.Add(1) == 1 {
						<-m.Context().Done()
						scene.Sleep(time.Second)
						return result
					}
					scene.Sleep(5 * time.Second)
					return nil
				}, New(memory(s, time.Hour, 100), body))
				s.Publish("pen")
				scene.After(10500 * time.Millisecond)
				if n := calls.Load(); n != 2 || s.Stats().Requeued != 0 {
					t.Errorf("%d calls when the lease is over, %+v", n, s.Stats())
				}
				scene.After(time.Second)
				s.Publish("pen") // while the second delivery is handled
				scene.After(time.Minute)
				if st, n := s.Stats(), calls.Load(); n != 2 || st.Finished != 2 {
					t.Errorf("%d calls, %+v", n, st)
				}
			})
		})
	}
}

// After a crash, the message reaches the next process, which has the same Store, and so does a
// duplicate that came first, when the claim has ended.
func TestCrash(t *testing.T) {
	scene.Run(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene.Scene) {
		store := memory(s, time.Hour, 100)
		if _, _, err := store.Claim(t.Context(), "orders/billing/pen", "nsqd:4150/of-the-crashed", 10*time.Second); err != nil {
			t.Fatal(err)
		}
		s.Consume(1, func(*nsq.Message) error { return nil }, New(store, body))
		s.Publish("pen")
		scene.After(9 * time.Second)
		if s.Stats().Finished != 0 {
			t.Error("handled while claimed")
		}
		scene.After(2 * time.Second)
		if st := s.Stats(); st.Finished != 1 || st.Delivered != 2 {
			t.Errorf("%+v after the claim has ended, want 1 finished at the second delivery", st)
		}
	})
}

// The same key in another channel is another key.
func TestChannelsDoNotShareKeys(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		mw := New(memory(s, time.Hour, 100), body)
		s.Consume(1, func(*nsq.Message) error { return nil }, mw)
		shipped := 0
		c, err := nsq.NewConsumer("orders", "shipping", s.Config)
		if err != nil {
			t.Fatal(err)
		}
		c.Use(mw)
		s.Handle(c, 1, nsq.HandlerFunc(func(*nsq.Message) error { shipped++; return nil }))
		s.Publish("pen")
		scene.After(time.Second)
		if shipped != 1 {
			t.Errorf("shipped %d times", shipped)
		}
		c.Stop()
		<-c.StopChan
	})
}

// brokenStore is a Store whose methods fail if told to.
type brokenStore struct {
	Store
	claim, settle error
	repaired      atomic.Bool // Claim works again
}

func (s *brokenStore) Claim(ctx context.Context, key, owner string, length time.Duration) (State, time.Duration, error) {
	if s.claim != nil && !s.repaired.Load() {
		return 0, 0, s.claim
	}
	return s.Store.Claim(ctx, key, owner, length)
}

func (s *brokenStore) Commit(ctx context.Context, key, owner string) error {
	if s.settle != nil {
		<-ctx.Done() // the Store hangs
		return s.settle
	}
	return s.Store.Commit(ctx, key, owner)
}

func (s *brokenStore) Release(ctx context.Context, key, owner string) error {
	if s.settle != nil {
		return s.settle
	}
	return s.Store.Release(ctx, key, owner)
}

// Without its Store no message is handled, and none is acked. The Consumer backs off.
func TestStoreDown(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.MaxBackoffDuration = time.Minute
		store := &brokenStore{Store: memory(s, time.Hour, 100), claim: errBoom}
		calls := 0
		c := s.Consume(1, func(*nsq.Message) error { calls++; return nil }, New(store, body))
		s.Publish("pen")
		scene.After(100 * time.Millisecond)
		if st := s.Stats(); calls != 0 || st.Finished != 0 || st.Requeued != 1 || c.Snapshot().BackoffLevel != 1 {
			t.Errorf("%d calls, %+v, backoff level %d", calls, st, c.Snapshot().BackoffLevel)
		}
		store.repaired.Store(true)
		scene.After(time.Minute)
		if calls != 1 || s.Stats().Finished != 1 {
			t.Errorf("%d calls, %+v", calls, s.Stats())
		}
	})
}

// A message that was handled is acked, although the Store hangs when its key is committed.
func TestStoreDownAfterTheHandler(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		store := &brokenStore{Store: memory(s, time.Hour, 100), settle: errBoom}
		calls := 0
		var lines strings.Builder
		s.Consume(1, func(m *nsq.Message) error {
			calls++
			if string(m.Body) == "bad" && m.Attempts == 1 {
				return errBoom
			}
			return nil
		}, nsq.ContextLogger(slog.New(slog.NewTextHandler(&lines, nil))), New(store, body))
		s.Publish("pen", "bad")
		scene.After(time.Minute)
		if st := s.Stats(); calls != 3 || st.Finished != 2 {
			t.Errorf("%d calls, %+v", calls, st)
		}
		for text, want := range map[string]int{
			"level=WARN": 3, "key=orders/billing/pen err=boom": 1, "key=orders/billing/bad err=boom": 2, "not released": 1,
		} {
			if n := strings.Count(lines.String(), text); n != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, n, want, lines.String())
			}
		}
	})
}

// Random duplicates over two Consumers and two nsqds, and handlers that fail in every way: each
// key is handled successfully exactly once, and all messages end.
func TestExactlyOneSuccess(t *testing.T) {
	scene.Run(t, nsqtest.Options{MsgTimeout: 2 * time.Second}, func(s *scene.Scene) {
		s.Config.MaxAttempts = 0
		chance := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- no secret
		var mu sync.Mutex
		successes := map[string]int{}
		mw := New(memory(s, 24*time.Hour, 1000), body)
		h := func(m *nsq.Message) error {
			mu.Lock()
			took, fate := time.Duration(chance.IntN(1500))*time.Millisecond, chance.IntN(10)
			mu.Unlock()
			scene.Sleep(took)
			switch fate {
			case 0, 1, 2:
				return errBoom
			case 3:
				panic("boom")
			case 4:
				runtime.Goexit()
			}
			mu.Lock()
			successes[string(m.Body)]++
			mu.Unlock()
			return nil
		}
		for range 2 {
			s.Consume(5, h, mw)
		}
		const messages, keys = 500, 100
		for i := range messages {
			s.Publish(fmt.Sprint(i % keys))
			if i%20 == 0 {
				scene.After(time.Second)
			}
		}
		scene.After(time.Hour)
		if st := s.Stats(); st.Finished != messages {
			t.Errorf("%+v, want %d finished", st, messages)
		}
		for key, n := range successes {
			if n != 1 {
				t.Errorf("key %s succeeded %d times", key, n)
			}
		}
		if len(successes) != keys {
			t.Errorf("%d keys succeeded, want %d", len(successes), keys)
		}
	})
}
