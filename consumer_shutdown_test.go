package nsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// F3: Shutdown takes as long as the slowest running handler and requeues what no handler
// has begun. A second call returns at once.
func TestShutdownWaitsForHandlersAtWork(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 500
		d := s.nsqd("a:1")
		var n atomic.Int32
		s.consumer(10, func(*Message) error {
			sleep(time.Duration(n.Add(1)) * 300 * time.Millisecond)
			return nil
		})
		s.connect(d)
		flood(d, 500)
		after(100 * time.Millisecond)
		took, err := s.shutdown(time.Minute)
		if took != 2900*time.Millisecond || err != nil {
			s.Errorf("error %v after %v, want nil when the tenth handler returns", err, took)
		}
		if c := s.balanced(); c.Finished != 10 || c.Requeued != 490 || c.Lost != 0 {
			s.Errorf("%+v, want 10 finished and 490 requeued", c)
		}
		if took, err := s.shutdown(0); took != 0 || err != nil {
			s.Errorf("second call: error %v after %v", err, took)
		}
	})
}

// D13: at Shutdown's deadline the contexts of messages end. A handler that waits for that
// has another half a second to ack or requeue its message.
func TestShutdownCancelsHandlers(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(0, nil)
		s.c.AddConcurrentHandlers(ContextHandlerFunc(func(ctx context.Context, m *Message) error {
			<-ctx.Done()
			sleep(100 * time.Millisecond) // to clean up
			return RetryAfter(0, context.Cause(ctx))
		}), 3)
		s.connect(d)
		flood(d, 3)
		after(time.Second)
		took, err := s.shutdown(5 * time.Second)
		if took < 5*time.Second || took > 5200*time.Millisecond || err != nil {
			s.Errorf("error %v after %v", err, took)
		}
		if c := s.balanced(); c.Requeued != 3 || c.Lost != 0 {
			s.Errorf("%+v, want 3 requeued", c)
		}
	})
}

// D13: handlers that ignore the deadline are left behind, and the StopError names their
// messages. Those that have asked for a context get half a second more. Nothing else is
// left.
func TestShutdownLeavesHandlersBehind(t *testing.T) {
	for _, asks := range []bool{false, true} {
		t.Run(fmt.Sprint("asks for its context: ", asks), func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				s.consumer(2, func(m *Message) error {
					if asks {
						_ = m.Context()
					}
					sleep(time.Minute)
					return nil
				})
				s.connect(d)
				ids := d.Publish("t", "m", "n", "o")
				synctest.Wait()
				took, err := s.shutdown(5 * time.Second)
				want := 5 * time.Second
				if asks {
					want += time.Second / 2
				}
				if took != want {
					s.Errorf("took %v, want %v", took, want)
				}
				left, ok := errors.AsType[*StopError](err)
				if !ok || len(left.Running) != 2 || len(left.Cut) != 0 || !errors.Is(err, context.DeadlineExceeded) {
					s.Fatalf("error %v, want a StopError with the two that run", err)
				}
				for _, u := range left.Running {
					if !slices.Contains(ids[:2], string(u.ID[:])) || u.NSQDAddress != "a:1" || !strings.Contains(err.Error(), string(u.ID[:])) {
						s.Errorf("error %v, want it to name %+v, one of %q", err, u, ids[:2])
					}
				}
				if s.net.OpenConns() != 0 {
					s.Errorf("%d open connections", s.net.OpenConns())
				}
				if c := s.balanced(); c.Requeued != 1 || c.Lost != 2 {
					s.Errorf("%+v, want 1 requeued and 2 lost", c)
				}
				sleep(time.Hour) // until the handlers return
			})
		})
	}
}

// D15, D32: an nsqd that does not read delays Shutdown by a tenth of a second at most.
// The StopError names it, and the FINs that it did not take count as lost.
func TestShutdownWithAFrozenNSQD(t *testing.T) {
	inScene(t, func(s *scene) {
		s.net.Capacity = 30
		s.cfg.WriteTimeout = 5 * time.Minute
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		s.connect(d)
		synctest.Wait()
		d.StopReading()
		flood(d, 10)
		synctest.Wait()
		took, err := s.shutdown(5 * time.Second)
		left, ok := errors.AsType[*StopError](err)
		if !ok || !slices.Equal(left.Cut, []string{"a:1"}) || len(left.Running) != 0 || took != 5100*time.Millisecond {
			s.Errorf("error %v after %v, want a StopError with a:1 cut after 5.1 s", err, took)
		}
		if c := s.balanced(); c.Finished != 10 || c.Lost != 9 || c.Unsent != 9 {
			s.Errorf("%+v, want the one FIN that fits", c)
		}
		d.StartReading()
	})
}

// D12: Shutdown completes in every state, also while a Stop is under way. Of the two
// deadlines the earlier one counts.
func TestShutdownInEveryState(t *testing.T) {
	slow := func(*Message) error { sleep(time.Hour); return nil }
	for name, tt := range map[string]struct {
		prepare func(s *scene)
		most    time.Duration
		left    bool
	}{
		"no handlers":      {func(s *scene) { s.consumer(0, nil) }, 0, false},
		"never connected":  {func(s *scene) { s.consumer(3, noError) }, 0, false},
		"connected, idle":  {func(s *scene) { s.consumer(3, noError); s.connect(s.nsqd("a:1")) }, time.Second, false},
		"waiting for nsqd": {func(s *scene) { s.consumer(3, noError); _ = s.c.ConnectToNSQD("gone:1") }, 0, false},
		"connecting": {func(s *scene) {
			s.consumer(3, noError)
			s.net.Blackhole("a:1")
			go func() { _ = s.c.ConnectToNSQD("a:1") }()
			synctest.Wait()
		}, 0, false},
		"in backoff": {func(s *scene) {
			d := s.nsqd("a:1")
			s.consumer(3, func(*Message) error { return errBoom })
			s.connect(d)
			flood(d, 30)
			after(time.Second)
		}, time.Second, false},
		"paused": {func(s *scene) {
			s.consumer(3, noError)
			s.connect(s.nsqd("a:1"))
			s.c.Pause()
		}, time.Second, false},
		"during a longer Stop": {func(s *scene) {
			d := s.nsqd("a:1")
			s.consumer(3, slow)
			s.connect(d)
			flood(d, 30)
			synctest.Wait()
			s.c.Stop()
		}, 10 * time.Second, true},
		"during a shorter Stop": {func(s *scene) {
			s.cfg.StopTimeout = 3 * time.Second
			d := s.nsqd("a:1")
			s.consumer(3, slow)
			s.connect(d)
			flood(d, 30)
			synctest.Wait()
			s.c.Stop()
		}, 3 * time.Second, true},
		"nsqd hangs": {func(s *scene) {
			d := s.nsqd("a:1")
			d.Inject(nsqtest.Fault{Command: "CLS", Reply: []byte{}})
			s.consumer(3, noError)
			s.connect(d)
		}, 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				tt.prepare(s)
				took, err := s.shutdown(10 * time.Second)
				if took > tt.most || (err != nil) != tt.left {
					s.Errorf("error %v after %v, want %v at most", err, took, tt.most)
				}
				if s.net.OpenConns() != 0 {
					s.Errorf("%d open connections", s.net.OpenConns())
				}
				s.balanced()
				sleep(2 * time.Hour) // until the handlers that were left behind return
			})
		})
	}
}

// A Stop bounds a Shutdown that has no deadline of its own.
func TestStopBoundsAShutdownWithoutDeadline(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.StopTimeout = 3 * time.Second
		d := s.nsqd("a:1")
		s.consumer(1, func(*Message) error { sleep(time.Hour); return nil })
		s.connect(d)
		flood(d, 1)
		after(time.Second)
		time.AfterFunc(10*time.Second, s.c.Stop)
		start := time.Now()
		err := s.c.Shutdown(context.Background())
		left, ok := errors.AsType[*StopError](err)
		if took := time.Since(start); took != 13*time.Second || !ok || len(left.Running) != 1 {
			s.Errorf("error %v after %v, want a StopError with one running after 13 s", err, took)
		}
		sleep(time.Hour) // until the handler returns
	})
}

// Run stops the Consumer when its context ends, within stop_timeout, and returns a
// StopError if that leaves messages unfinished. If the Consumer was stopped by another
// call and left nothing, Run returns nil.
func TestRun(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.StopTimeout = 3 * time.Second
		d := s.nsqd("a:1")
		s.consumer(1, func(*Message) error { sleep(time.Minute); return nil })
		s.connect(d)
		flood(d, 2)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		start := time.Now()
		err := s.c.Run(ctx)
		left, ok := errors.AsType[*StopError](err)
		if took := time.Since(start); took != 13*time.Second || !ok || len(left.Running) != 1 {
			s.Errorf("error %v after %v, want a StopError with one running after 13 s", err, took)
		}
		sleep(time.Hour) // until the handler returns
	})
	inScene(t, func(s *scene) {
		s.consumer(1, noError)
		s.connect(s.nsqd("a:1"))
		time.AfterFunc(time.Second, s.c.Stop)
		if err := s.c.Run(context.Background()); err != nil {
			s.Errorf("stopped by another call: error %v", err)
		}
	})
}

// A stop with a stop_timeout of 0 waits for no handler, and still requeues what none has
// begun.
func TestStopTimeoutZero(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.StopTimeout = 0
		d := s.nsqd("a:1")
		s.consumer(1, func(*Message) error { sleep(time.Minute); return nil })
		s.connect(d)
		flood(d, 5)
		synctest.Wait()
		if took := s.stopped(); took != 0 {
			s.Errorf("took %v, want 0", took)
		}
		if st := d.Stats("t", "c"); st.Requeued != 4 || st.InFlight != 1 || len(commands(d, "CLS")) != 1 {
			s.Errorf("%+v, want 4 requeued and the connection closed in good order", st)
		}
		sleep(time.Hour) // until the handler returns
	})
}

// SetConcurrency changes how many goroutines run handlers, shares them among the handlers
// that were added, and costs no message.
func TestSetConcurrency(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 100
		d := s.nsqd("a:1")
		s.consumer(0, nil)
		if err := s.c.SetConcurrency(5); !errors.Is(err, errNoHandlers) {
			s.Errorf("without a handler: error %v", err)
		}
		var running [2]atomic.Int32
		for i := range running {
			s.c.AddConcurrentHandlers(HandlerFunc(func(*Message) error {
				running[i].Add(1)
				defer running[i].Add(-1)
				sleep(100 * time.Millisecond)
				return nil
			}), 2)
		}
		s.connect(d)
		flood(d, 10_000)
		for _, n := range []int{4, 50, 7, 1, 2, 100, 3} {
			if err := s.c.SetConcurrency(n); err != nil {
				s.Fatal(err)
			}
			after(155 * time.Millisecond) // handlers return every 100 ms, but not just now
			if a, b := int(running[0].Load()), int(running[1].Load()); a != (n+1)/2 || b != n/2 {
				s.Errorf("%d and %d running, want %d in all", a, b, n)
			}
		}
		if err := s.c.SetConcurrency(0); err == nil {
			s.Error("0 was accepted")
		}
		if c := s.balanced(); c.Lost+c.Requeued+c.Expired != 0 {
			s.Errorf("%+v, want all finished or in flight", c)
		}
		s.stopped()
		if err := s.c.SetConcurrency(5); !errors.Is(err, ErrStopped) {
			s.Errorf("after the stop: error %v", err)
		}
	})
}

// A paused Consumer receives nothing, whatever max_in_flight is set to, and keeps its
// connections. Resume lets messages come.
func TestPauseAndResume(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(10, noError)
		s.connect(d)
		s.c.Pause()
		synctest.Wait()
		flood(d, 10)
		after(time.Minute)
		if c := s.balanced(); c.Received != 0 || !s.c.Snapshot().Paused || rdyOf(d) != 0 {
			s.Errorf("paused: %+v, RDY %d", c, rdyOf(d))
		}
		s.c.ChangeMaxInFlight(7)
		synctest.Wait()
		if rdyOf(d) != 0 {
			s.Errorf("RDY %d while paused", rdyOf(d))
		}
		s.c.Resume()
		after(rdyMoves)
		if c := s.balanced(); c.Finished != 10 || rdyOf(d) != 7 || s.net.Dials() != 1 {
			s.Errorf("resumed: %+v, RDY %d, %d dials", c, rdyOf(d), s.net.Dials())
		}
	})
}

// D32: through 10,000 short lives with random connects, deliveries, acks, expired leases,
// cut connections and stops, the counts account for every message at any time. In the
// end nothing is in flight, no connection is open, and every context has ended.
func TestLedger(t *testing.T) {
	const parts, lives = 8, 1250
	for part := range uint64(parts) {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			for i := range uint64(lives) {
				seed := part*lives + i
				inScene(t, func(s *scene) { shortLife(s, rand.New(rand.NewPCG(seed, 4))) })
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

func shortLife(s *scene, rnd *rand.Rand) {
	ms := func(n int) time.Duration { return time.Duration(rnd.IntN(n)) * time.Millisecond }
	s.cfg.Logger = slog.New(slog.DiscardHandler)
	s.cfg.MaxInFlight = 1 + rnd.IntN(8)
	s.cfg.DefaultRequeueDelay = ms(500)
	s.cfg.MaxBackoffDuration = ms(2) * 300
	s.cfg.StopTimeout = ms(3000)
	s.cfg.AutoTouch = ms(2) * 1000
	d := s.nsqd("a:1", leases(time.Second, 3*time.Second), func(o *nsqtest.Options) { o.Straggler = rnd.IntN(2) == 0 })
	lots := rnd.Perm(16)
	var next atomic.Uint32
	var mu sync.Mutex
	var contexts []context.Context
	s.consumer(1+rnd.IntN(4), func(m *Message) error {
		n := lots[next.Add(1)%16]
		if n%2 == 1 {
			mu.Lock()
			contexts = append(contexts, m.Context())
			mu.Unlock()
		}
		switch n {
		case 0, 1:
			return errBoom
		case 2:
			return Discard(errBoom)
		case 3, 4:
			m.DisableAutoResponse()
			time.AfterFunc(time.Duration(n)*400*time.Millisecond, m.Finish)
		case 5:
			m.DisableAutoResponse() // and never ack it
		case 6, 7, 8:
			sleep(time.Duration(n) * 200 * time.Millisecond)
		case 9:
			<-m.Context().Done()
		case 10:
			go m.RequeueWithoutBackoff(0)
			sleep(time.Millisecond)
		}
		return nil
	})
	for range 3 + rnd.IntN(10) {
		switch rnd.IntN(9) {
		case 0, 1:
			go func() { _ = s.c.ConnectToNSQD(d.Addr()) }()
		case 2, 3, 4:
			flood(d, 1+rnd.IntN(12))
		case 5:
			if clients := d.Clients(); len(clients) > 0 {
				d.Disconnect(clients[0].Conn)
			}
		case 6:
			d.CutAfterReceived(rnd.IntN(300))
		case 7:
			go func() { _ = s.c.DisconnectFromNSQD(d.Addr()) }()
		case 8:
			_ = s.c.SetConcurrency(1 + rnd.IntN(5))
		}
		after(ms(700))
		s.balanced()
	}
	switch rnd.IntN(3) {
	case 0:
		s.stopped()
	case 1:
		_, _ = s.shutdown(ms(2000))
	case 2:
		ctx, cancel := context.WithTimeout(context.Background(), ms(500))
		_ = s.c.Run(ctx)
		cancel()
	}
	s.balanced()
	if n := s.c.Snapshot().InFlight; n != 0 || s.net.OpenConns() != 0 {
		s.Errorf("%d in flight, %d open connections", n, s.net.OpenConns())
	}
	after(10 * time.Second) // until handlers that were left behind return
	for _, ctx := range contexts {
		if ctx.Err() == nil {
			s.Error("a message's context has not ended")
		}
	}
}

// The StopError names the messages that handlers left to be acked later and that are
// still unacked.
func TestShutdownWithUnanswered(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, func(m *Message) error { m.DisableAutoResponse(); return nil })
		s.connect(d)
		ids := d.Publish("t", "m", "n")
		synctest.Wait()
		took, err := s.shutdown(5 * time.Second)
		left, ok := errors.AsType[*StopError](err)
		if !ok || len(left.Unanswered) != 2 || len(left.Running)+len(left.Cut) != 0 || took != 5*time.Second ||
			!strings.Contains(err.Error(), ids[0]) || !strings.Contains(err.Error(), ids[1]) {
			s.Errorf("error %v after %v, want a StopError with %q unanswered", err, took, ids)
		}
	})
}

// When StopChan closes, the only goroutines of the Consumer are those that run a handler.
func TestStopWaitsForIdleWorkers(t *testing.T) {
	for range 50 {
		inScene(t, func(s *scene) {
			s.cfg.StopTimeout, s.cfg.Logger = 0, slog.New(slog.DiscardHandler)
			s.consumer(50, noError)
			s.connect(s.nsqd("a:1"))
			sleep(time.Second)
			s.c.Stop()
			<-s.c.StopChan
			if n := s.c.queue.workerCount(); n != 0 {
				s.Errorf("%d workers left", n)
			}
		})
	}
}
