package nsq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/nsqtest"
)

// The pool publishes to all nsqds that any nsqlookupd lists, whatever their topics.
func TestPoolDiscovers(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1")
		s.la.Register("u", "b:1")
		s.lb.Register("u", "b:1", "c:1")
		s.lb.Tombstone("u", "c:1")
		after(time.Hour)
		if n := len(s.la.Requests()) + s.net.Attempts("a:1"); n != 0 {
			s.Errorf("%d requests and dials before the first publish", n)
		}
		s.publish(1)
		s.expectMembers("a:1", "b:1", "c:1")
		s.publish(29)
		if got := s.stored(); got[0]+got[1]+got[2] != 30 || slices.Min(got) < 9 {
			s.Errorf("stored %v, want 30 evenly", got)
		}
		after(10 * time.Minute)
		if n := len(s.la.Requests()); n < 9 || n > 12 {
			s.Errorf("%d requests in ten minutes, want about 10", n)
		}
		for _, r := range s.la.Requests() {
			if r.URL.String() != "/nodes" || r.Header.Get("Authorization") != "Bearer secret" {
				s.Errorf("request for %v with header %v", r.URL, r.Header)
			}
		}
	}, func(s *scene) { s.cfg.AuthSecret = "secret" })
}

// A publish before the first response waits for it, at most until its context ends.
func TestPoolWaitsForDiscovery(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Hang()
		s.lb.Hang()
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := s.pool.PublishContext(ctx, "t", []byte("m"))
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) || d != time.Second {
			s.Errorf("%v after %v", err, d)
		}
		if err := s.pool.Publish("a b", []byte("m")); err == nil || time.Since(start) != time.Second {
			s.Errorf("%v after %v", err, time.Since(start))
		}
		err = s.pool.Publish("t", []byte("m"))
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !strings.Contains(err.Error(), "la:1") || d != s.cfg.LookupdPollTimeout {
			s.Errorf("%v after %v", err, d)
		}
		s.la.Recover()
		s.la.Register("t", "b:1")
		ctx, cancel = context.WithTimeout(s.Context(), 2*s.cfg.LookupdPollInterval)
		defer cancel()
		if err := s.pool.PublishContext(ctx, "t", []byte("m")); err != nil { // lb still hangs
			s.Error(err)
		}
		s.expectStored(0, 1, 0)
	}, quietly)
}

// While no nsqd is listed, a publish without a deadline fails at once.
func TestPoolWithoutNSQDs(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		start := time.Now()
		for range 3 {
			if err := s.pool.Publish("t", []byte("m")); !errors.Is(err, ErrNotSent) || !strings.Contains(err.Error(), "lists no nsqd") {
				s.Errorf("%v", err)
			}
		}
		if d := time.Since(start); d != 0 {
			s.Errorf("took %v", d)
		}
		time.AfterFunc(3*time.Second, func() { s.lb.Register("u", "c:1") })
		ctx, cancel := context.WithTimeout(s.Context(), time.Hour)
		defer cancel()
		if err := s.pool.PublishContext(ctx, "t", []byte("m")); err != nil || time.Since(start) > 2*s.cfg.LookupdPollInterval {
			s.Errorf("%v after %v", err, time.Since(start))
		}
		s.expectStored(0, 0, 1)
	})
}

// An nsqd that is no longer listed is let go after the grace time, once all
// nsqlookupds respond without it. It still replies to what it was sent.
func TestPoolLetsGo(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1", "b:1")
		s.lb.Register("t", "c:1")
		s.publish(1)
		before := s.stored() // all nsqds are known now
		gained := func(want ...int) {
			s.Helper()
			for i, n := range s.stored() {
				if n -= before[i]; n != want[i] {
					s.Errorf("nsqd %d got %d messages, want %d", i, n, want[i])
				}
			}
		}
		s.publish(9)
		gained(3, 3, 3)
		s.lb.Unregister("t", "c:1") // as if lb had restarted
		after(25 * time.Second)
		s.expectMembers("a:1", "b:1", "c:1")
		s.lb.Register("t", "c:1")
		after(10 * time.Second)
		s.lb.Unregister("t", "c:1")
		after(25 * time.Second)
		s.expectMembers("a:1", "b:1", "c:1")
		s.la.Fail(http.StatusInternalServerError, "INTERNAL_ERROR") // la may list it
		after(2 * time.Minute)
		s.expectMembers("a:1", "b:1", "c:1")
		s.nsqds[2].Inject(nsqtest.Fault{Command: "PUB", Delay: 20 * time.Second})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := s.pool.Publish("t", []byte("slow")); err != nil {
					s.Error(err)
				}
			})
		}
		synctest.Wait()
		s.la.Recover()
		after(10 * time.Second)
		s.expectMembers("a:1", "b:1")
		if n := len(s.nsqds[2].Clients()); n != 1 {
			s.Errorf("%d connections to c, want 1 while it owes a reply", n)
		}
		s.publish(10)
		gained(9, 9, 3)
		wg.Wait()
		gained(9, 9, 4)
		if n := len(s.nsqds[2].Clients()); n != 0 {
			s.Errorf("%d connections to c, want none", n)
		}
		s.lb.Register("t", "c:1") // it is back
		after(10 * time.Second)
		s.expectMembers("a:1", "b:1", "c:1")
	}, quietly, func(s *scene) { s.cfg.LookupdPollInterval = 5 * time.Second })
}

// A publish that waits for the connection to an nsqd that is let go moves on to
// another.
func TestPoolLetsGoWhileConnecting(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.pool.discovery.gate.fleet = fleet.New(fleet.Config{Grace: time.Second})
		s.net.Blackhole("a:1")
		s.la.Register("t", "a:1")
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.pool.Publish("t", []byte("m")); err != nil {
				s.Error(err)
			}
		})
		synctest.Wait()
		s.la.Unregister("t", "a:1")
		s.la.Register("t", "b:1")
		after(31 * time.Second)
		s.expectMembers("b:1")
		s.expectStored(0, 1, 0)
		wg.Wait()
	}, quietly, func(s *scene) { s.cfg.DialTimeout, s.cfg.LookupdPollInterval = time.Minute, 100*time.Millisecond })
}

// When an nsqd fails, nsqlookupds are polled ahead of schedule.
func TestPoolAsksSoonForOthers(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1")
		s.publish(1)
		s.nsqds[0].Kill()
		s.la.Register("t", "b:1")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(s.Context(), 2*time.Second)
		defer cancel()
		if err := s.pool.PublishContext(ctx, "t", []byte("m")); err != nil {
			s.Error(err)
		}
		if n := len(s.nsqds[1].Queued("t", "")); n != 1 {
			s.Errorf("%d stored at b, want 1", n)
		}
	}, quietly)
}

// Stop ends publishes that wait for nsqlookupds.
func TestPoolDiscoveryStops(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Hang()
		s.lb.Hang()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := s.pool.Publish("t", []byte("m")); err != ErrStopped { //nolint:errorlint // as of a Producer
					s.Errorf("%v", err)
				}
			})
		}
		after(time.Second)
		start := time.Now()
		s.pool.Stop()
		wg.Wait()
		if d := time.Since(start); d != 0 {
			s.Errorf("took %v", d)
		}
	})
}

func TestNewDiscoveredProducerPoolRefuses(t *testing.T) {
	bad := NewConfig()
	bad.ReadTimeout = -1
	for want, call := range map[string]func() (*ProducerPool, error){
		"no addresses": func() (*ProducerPool, error) { return NewDiscoveredProducerPool(nil, NewConfig()) },
		"missing port": func() (*ProducerPool, error) { return NewDiscoveredProducerPool([]string{"l"}, NewConfig()) },
		"ReadTimeout":  func() (*ProducerPool, error) { return NewDiscoveredProducerPool([]string{"l:1"}, bad) },
	} {
		if pool, err := call(); pool != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want %q", pool, err, want)
		}
	}
}

// nsqds are listed and unlisted at random, whether they run or not, and still each
// publish says truthfully whether the message may be stored.
func TestRandomLivesOfDiscoveredPools(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inDiscoveredPool(t, func(s *poolDiscovering) {
				s.la.Register("t", "a:1")
				s.pool.discovery.gate.fleet = fleet.New(fleet.Config{Grace: 200 * time.Millisecond})
				rng := rand.New(rand.NewPCG(seed, 1))
				churn := time.NewTicker(100 * time.Millisecond)
				defer churn.Stop()
				end := make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() {
					addrs := []string{"b:1", "c:1"}
					for {
						select {
						case <-churn.C:
							l := []*nsqtest.Lookupd{s.la, s.lb}[rng.IntN(2)]
							l.Register("t", addrs[rng.IntN(2)])
							l.Unregister("t", addrs[rng.IntN(2)])
						case <-end:
							return
						}
					}
				})
				randomPoolLife(s.pooling, rand.New(rand.NewPCG(seed, 0)), 5)
				close(end)
				wg.Wait()
			}, quietly, func(s *scene) { s.cfg.LookupdPollInterval = 50 * time.Millisecond })
		})
	}
}

// When a publish has waited in vain for an nsqd to be listed, its error says why
// nsqlookupds list none.
func TestPoolTellsWhyNoneIsListed(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare   func(s *poolDiscovering)
		want, not []string
	}{
		"both fail": {
			func(s *poolDiscovering) {
				s.la.Fail(http.StatusInternalServerError, "A_BROKE")
				s.lb.Fail(http.StatusInternalServerError, "B_BROKE")
			},
			[]string{"no nsqd is known", "la:1", "A_BROKE", "lb:1", "B_BROKE"}, []string{"lists no nsqd"},
		},
		"one fails": {
			func(s *poolDiscovering) { s.lb.Fail(http.StatusInternalServerError, "B_BROKE") },
			[]string{"no nsqd is known", "lb:1", "B_BROKE"}, []string{"la:1"},
		},
		"none is listed": {
			func(*poolDiscovering) {},
			[]string{"nsqlookupd lists no nsqd"}, []string{"no nsqd is known"},
		},
		"none has responded": {
			func(s *poolDiscovering) { s.la.Hang(); s.lb.Hang() },
			[]string{"producer pool: "}, []string{"no nsqd is known", "lists no nsqd"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inDiscoveredPool(t, func(s *poolDiscovering) {
				tt.prepare(s)
				ctx, cancel := context.WithTimeout(s.Context(), time.Second)
				defer cancel()
				start := time.Now()
				err := s.pool.PublishContext(ctx, "t", []byte("m"))
				if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) || d != time.Second {
					s.Fatalf("%v after %v", err, d)
				}
				for _, want := range tt.want {
					if !strings.Contains(err.Error(), want) {
						s.Errorf("%v does not contain %q", err, want)
					}
				}
				for _, not := range tt.not {
					if strings.Contains(err.Error(), not) {
						s.Errorf("%v contains %q", err, not)
					}
				}
			}, quietly)
		})
	}
}
