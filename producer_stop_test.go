package nsq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// D50: Stop waits for nsqd's replies, and a second Stop for the first.
func TestStopDrains(t *testing.T) {
	produce(t, func(s *producing) {
		var log logLines
		s.p.SetLogger(&log, LogLevelWarning)
		s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Second})
		var publishers, stops sync.WaitGroup
		for range 20 {
			publishers.Go(func() {
				if err := s.p.PublishContext(s.Context(), "t", []byte("m")); err != nil {
					s.Error(err)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		for range 2 {
			stops.Go(s.p.Stop)
			after(time.Second)
			expectStopped(s.T, s.p)
		}
		stops.Wait()
		if d := time.Since(start); d != 20*time.Second {
			s.Errorf("took %v", d)
		}
		publishers.Wait()
		if n := len(s.stored()); n != 20 || s.net.Dials() != 1 || s.net.OpenConns() != 0 {
			s.Errorf("%d stored over %d connections, %d still open, want 20 over one", n, s.net.Dials(), s.net.OpenConns())
		}
		if got := log.take(); len(got) != 0 {
			s.Errorf("logged %q", got)
		}
	})
}

// D50: stop_timeout bounds Stop, whatever nsqd still replies.
func TestStopTimeoutOfProducer(t *testing.T) {
	for timeout, replied := range map[time.Duration]int{0: 0, 10 * time.Second: 3} {
		produce(t, func(s *producing) {
			s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: 3 * time.Second})
			errs := make([]error, 6)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() {
					sleep(time.Duration(i))
					errs[i] = s.p.PublishContext(s.Context(), "t", []byte("m"))
				})
			}
			after(6)
			start := time.Now()
			for range 2 {
				wg.Go(func() {
					s.p.Stop()
					if d := time.Since(start); d != timeout {
						s.Errorf("took %v, want %v", d, timeout)
					}
				})
				after(timeout / 3)
			}
			wg.Wait()
			for i, err := range errs {
				lost := errors.Is(err, ErrUnknownOutcome) && errors.Is(err, errStopTimeout)
				if i < replied && err != nil || i >= replied && !lost {
					s.Errorf("%d: %v", i, err)
				}
			}
			expectStopped(s.T, s.p)
		}, func(s *scene) { s.cfg.StopTimeout = timeout })
	}
}

func TestStopInAnyState(t *testing.T) {
	ping := func(s *producing) { _ = s.p.Ping() }
	ignore := func(s *producing) {
		dial := s.p.cfg.DialContext
		s.p.cfg.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
			sleep(time.Minute)
			return dial(s.Context(), network, addr)
		}
	}
	for name, tt := range map[string]struct {
		prepare func(s *producing)
		want    time.Duration
	}{
		"unused":                   {nil, 0},
		"idle":                     {func(s *producing) { s.publishes() }, 0},
		"lost":                     {func(s *producing) { s.publishes(); s.d.Disconnect(1) }, 0},
		"refused":                  {func(s *producing) { s.net.Refuse("a:1", nil); ping(s) }, 0},
		"dial":                     {func(s *producing) { s.net.Blackhole("a:1"); go ping(s) }, 0},
		"handshake":                {func(s *producing) { s.d.StopReading(); go ping(s) }, 0},
		"dial that takes a minute": {func(s *producing) { ignore(s); go ping(s) }, 30 * time.Second},
		"nsqd that does not close": {func(s *producing) { s.publishes(); s.d.StopReading() }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			produce(t, func(s *producing) {
				if tt.prepare != nil {
					tt.prepare(s)
					synctest.Wait()
				}
				start := time.Now()
				s.p.Stop()
				if d := time.Since(start); d != tt.want {
					s.Errorf("took %v, want %v", d, tt.want)
				}
				expectStopped(s.T, s.p)
				s.p.Stop()
				after(time.Minute) // the dial that ignores its context ends
			})
		})
	}
}

// Stop races with publishes that connect: each of them is stored or returns
// ErrStopped. Without time to drain, other errors are possible.
func TestStopRacesPublish(t *testing.T) {
	// With no timeout there is one Stop only: two timers of a bubble that fire at
	// once, on two threads, can crash the race detector (Go 1.26).
	for stops, timeout := range map[int]time.Duration{1: 0, 2: time.Second} {
		produce(t, func(s *producing) {
			results := map[string]error{}
			for i := range 300 {
				p, err := NewProducer("a:1", s.cfg)
				if err != nil {
					s.Fatal(err)
				}
				errs := make([]error, 6)
				var wg sync.WaitGroup
				for j := range errs {
					wg.Go(func() { errs[j] = p.PublishContext(context.Background(), "t", fmt.Append(nil, i, j)) })
				}
				for range stops {
					wg.Go(func() {
						for range i * i / 30 { // now before the connection is up, now long after
							runtime.Gosched()
						}
						p.Stop()
						expectStopped(s.T, p)
					})
				}
				wg.Wait()
				for j, err := range errs {
					results[fmt.Sprint(i, j)] = err
					if err != nil && err != ErrStopped && timeout > 0 { //nolint:errorlint // go-nsq's users compare
						s.Errorf("%v", err)
					}
				}
			}
			synctest.Wait()
			stored := s.stored()
			for body, err := range results {
				expectVerdict(s.T, err, slices.Contains(stored, body))
			}
			if n := len(stored); n == 0 || n == len(results) {
				s.Errorf("%d of %d stored", n, len(results))
			}
		}, quietly, func(s *scene) { s.cfg.StopTimeout = timeout })
	}
}

// D52, D54: whatever happens to the connection, and whatever other goroutines call,
// each publish says truthfully whether nsqd may have the message.
func TestRandomLivesOfProducers(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			produce(t, func(s *producing) { randomProducerLife(s, rand.New(rand.NewPCG(seed, 0))) }, quietly)
		})
	}
}

func randomProducerLife(s *producing, rng *rand.Rand) {
	var mu sync.Mutex
	chance := func(n int) bool {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n) == 0
	}
	pause := func() {
		mu.Lock()
		d := rng.IntN(3000)
		mu.Unlock()
		sleep(time.Duration(d) * time.Microsecond)
	}
	oneIn := func(n int) func(nsqtest.Command) bool { return func(nsqtest.Command) bool { return chance(n) } }
	s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Match: oneIn(5), Close: true})
	s.d.Inject(nsqtest.Fault{Command: "PUB", Match: oneIn(50), Mute: true, Close: true})
	s.d.Inject(nsqtest.Fault{Command: "PUB", Match: oneIn(50), Reply: []byte{}, Close: true})
	s.d.Inject(nsqtest.Fault{Command: "PUB", Match: oneIn(50), Reply: nsqtest.ErrorFrame("E_PUB_FAILED", ""), Close: true})
	s.d.Inject(nsqtest.Fault{Command: "DPUB", Match: oneIn(20), Reply: nsqtest.ErrorFrame("E_DPUB_FAILED", ""), Close: true})
	s.d.Inject(nsqtest.Fault{Command: "DPUB", Match: oneIn(20), Delay: 2 * time.Millisecond})
	s.d.Inject(nsqtest.Fault{Command: "PUB", Match: oneIn(20), Delay: 2 * time.Millisecond})

	results := map[string]error{}
	var wg sync.WaitGroup
	for i := range 8 {
		done := make(chan *ProducerTransaction)
		wg.Go(func() {
			for j := 0; ; j++ {
				body := fmt.Sprint(i, " ", j)
				ctx, cancel := context.WithCancel(s.Context())
				if chance(4) {
					ctx, cancel = context.WithTimeout(s.Context(), time.Millisecond)
				}
				var err error
				switch j % 3 {
				case 0:
					err = s.p.PublishContext(ctx, "t", []byte(body))
				case 1:
					err = s.p.DeferredPublishContext(ctx, "t", time.Hour, []byte(body))
				case 2:
					if err = s.p.PublishAsync("t", []byte(body), done, body); err == nil {
						err = (<-done).Cause
					}
				}
				cancel()
				mu.Lock()
				results[body] = err
				mu.Unlock()
				if errors.Is(err, ErrStopped) {
					return
				}
				pause()
			}
		})
	}
	stopped := make(chan struct{})
	for _, use := range []func(){
		func() { _ = s.p.Ping() },
		func() { s.p.SetLogger(&logLines{}, LogLevelDebug); _ = s.p.String() },
		func() { s.p.SetLoggerForLevel(nil, LogLevelError); s.p.SetLoggerLevel(LogLevelInfo) },
	} {
		wg.Go(func() {
			for {
				select {
				case <-stopped:
					return
				default:
					use()
					pause()
				}
			}
		})
	}
	for range 10 {
		sleep(200 * time.Millisecond) // a dial is allowed again
		s.d.Kill()
		pause()
		s.d.Restart()
	}
	s.p.Stop()
	close(stopped)
	wg.Wait()
	synctest.Wait()

	stored := map[string]bool{}
	for _, body := range s.stored() {
		if stored[body] {
			s.Errorf("%q is stored twice", body)
		}
		stored[body] = true
	}
	counts := map[bool]int{}
	for body, err := range results {
		expectVerdict(s.T, err, stored[body])
		counts[err == nil]++
	}
	if counts[true] < 100 || counts[false] < 100 {
		s.Errorf("%d successes, %d failures", counts[true], counts[false])
	}
}
