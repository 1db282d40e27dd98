package nsq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

func TestPoolTakesTurns(t *testing.T) {
	inPool(t, func(s *pooling) {
		for range 10 {
			for _, err := range []error{
				s.pool.Publish("t", []byte("m")),
				s.pool.MultiPublish("t", [][]byte{[]byte("m"), []byte("m")}),
				s.pool.DeferredPublish("t", time.Minute, []byte("m")),
			} {
				if err != nil {
					s.Error(err)
				}
			}
		}
		s.expectStored(10, 20, 10)
		if n := s.net.Dials(); n != 3 {
			s.Errorf("%d connections, want 3", n)
		}
	})
}

// F2: an nsqd that is down costs no message and, after the first publish, no time. When
// it is back it gets its share again.
func TestPoolPassesOverWhatIsDown(t *testing.T) {
	for name, down := range map[string]func(s *pooling){
		"killed":  func(s *pooling) { s.nsqds[1].Kill() },
		"refused": func(s *pooling) { s.net.Refuse("b:1", nil); s.nsqds[1].Disconnect(1) },
	} {
		t.Run(name, func(t *testing.T) {
			inPool(t, func(s *pooling) {
				s.publish(30)
				s.expectStored(10, 10, 10)
				down(s)
				synctest.Wait()
				s.publish(30)
				s.expectHealthy(true, false, true)
				if m := s.pool.Snapshot()[1]; m.Addr != "b:1" || !errors.Is(m.LastError, ErrNotSent) {
					s.Errorf("member %+v, want b:1 with an ErrNotSent", m)
				}
				before := s.net.Attempts("b:1")
				after(time.Minute)
				if n := s.net.Attempts("b:1") - before; n < 30 || n > 90 {
					s.Errorf("%d dials in a minute, want about 60", n)
				}
				s.publish(30)
				if got := s.stored(); got[0]+got[1]+got[2] != 90 || got[1] != 10 {
					s.Errorf("stored %v, want 90 in all and 10 at b", got)
				}
				s.net.Allow("b:1")
				s.nsqds[1].Restart()
				after(2 * time.Second)
				s.expectHealthy(true, true, true)
				s.publish(30)
				if got := s.stored(); got[1] != 20 {
					s.Errorf("stored %v, want 20 at b", got)
				}
			}, quietly)
		})
	}
}

// An nsqd that is a black hole costs only the first publish a dial_timeout.
func TestPoolBlackHole(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.net.Blackhole("a:1")
		start := time.Now()
		if err := s.pool.Publish("t", []byte("m")); err != nil {
			s.Error(err)
		}
		if d := time.Since(start); d != s.cfg.DialTimeout {
			s.Errorf("took %v, want one dial_timeout", d)
		}
		for range 30 { // whether a probe is under way or not
			s.publish(3)
			after(330 * time.Millisecond)
		}
		if got := s.stored(); got[0] != 0 || got[1]+got[2] != 91 {
			s.Errorf("stored %v, want none at a and 91 at the others", got)
		}
	}, quietly)
}

// nsqd's refusal decides whether another nsqd is tried.
func TestPoolRefusals(t *testing.T) {
	for refusal, retried := range map[string]bool{
		"PUB E_PUB_FAILED PUB failed exiting":       true,
		"PUB E_PUB_FAILED disk is full":             true,
		"DPUB E_DPUB_FAILED disk is full":           true,
		"MPUB E_MPUB_FAILED MPUB failed exiting":    false,
		"MPUB E_MPUB_FAILED disk is full":           false,
		"PUB E_BAD_TOPIC no":                        false,
		"PUB E_BAD_MESSAGE too big":                 false,
		"DPUB E_INVALID DPUB timeout out of range":  false,
		"MPUB E_UNAUTHORIZED AUTH failed for MPUB":  false,
		"PUB E_SOMETHING_NEW of which we know none": false,
	} {
		t.Run(refusal, func(t *testing.T) {
			inPool(t, func(s *pooling) {
				part := strings.SplitN(refusal, " ", 3)
				for _, d := range s.nsqds[:2] {
					d.Reject(part[0], part[1], part[2])
				}
				err := map[string]func() error{
					"PUB":  func() error { return s.pool.Publish("t", []byte("m")) },
					"MPUB": func() error { return s.pool.MultiPublish("t", [][]byte{[]byte("m")}) },
					"DPUB": func() error { return s.pool.DeferredPublish("t", time.Second, []byte("m")) },
				}[part[0]]()
				if retried {
					if err != nil {
						s.Error(err)
					}
					s.expectStored(0, 0, 1)
					s.expectHealthy(false, false, true)
					after(time.Second) // they can be pinged
					s.expectHealthy(true, true, true)
					return
				}
				if _, ok := errors.AsType[ErrProtocol](err); !ok {
					s.Errorf("%v, want an ErrProtocol", err)
				}
				s.expectStored(0, 0, 0)
				// An nsqd that fails midway is no healthier than one that stores nothing.
				s.expectHealthy(part[1] != "E_MPUB_FAILED", true, true)
				after(time.Second)
				s.expectHealthy(true, true, true)
			})
		})
	}
}

// An nsqd that fails to store MPUBs fails few of a pool's: it is passed over as one that
// fails to store a message.
func TestPoolPassesOverWhatFailsMidway(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.nsqds[0].Reject("MPUB", "E_MPUB_FAILED", "disk is full")
		failed := 0
		for range 3000 {
			if err := s.pool.MultiPublish("t", [][]byte{[]byte("m")}); err != nil {
				failed++
			}
			sleep(time.Millisecond)
		}
		if failed < 1 || failed > 40 { // one for each ping, of which there is one in 75 ms at most
			s.Errorf("%d of 3000 publishes failed", failed)
		}
	}, quietly)
}

// A message that may be stored is not published again.
func TestPoolUnknownOutcome(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.nsqds[0].Inject(nsqtest.Fault{Command: "PUB", Mute: true, Close: true})
		if err := s.pool.Publish("t", []byte("m")); !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrNotSent) {
			s.Errorf("%v, want ErrUnknownOutcome", err)
		}
		s.expectStored(1, 0, 0)
	})
}

// While all nsqds are down the error names them all. When one is back it is used.
func TestPoolAllDown(t *testing.T) {
	inPool(t, func(s *pooling) {
		for _, d := range s.nsqds {
			d.Kill()
		}
		for range 5 {
			err := s.pool.Publish("t", []byte("m"))
			if !errors.Is(err, ErrNotSent) {
				s.Errorf("%v, want ErrNotSent", err)
			}
			for _, addr := range []string{"a:1", "b:1", "c:1"} {
				if !strings.Contains(fmt.Sprint(err), "["+addr+"] failed to connect") {
					s.Errorf("%v does not name %s", err, addr)
				}
			}
		}
		s.expectHealthy(false, false, false)
		s.nsqds[2].Restart()
		after(2 * time.Second)
		s.expectHealthy(false, false, true)
		s.publish(10)
	}, quietly)
}

// The context bounds all tries together. Each nsqd has half of what is left of it.
func TestPoolContext(t *testing.T) {
	inPool(t, func(s *pooling) {
		for _, addr := range []string{"a:1", "b:1", "c:1"} {
			s.net.Blackhole(addr)
		}
		ctx, cancel := context.WithTimeout(s.Context(), 1500*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := s.pool.PublishContext(ctx, "t", []byte("m"))
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) || d != 1500*time.Millisecond {
			s.Errorf("%v after %v", err, d)
		}
		for _, addr := range []string{"a:1", "b:1", "c:1"} {
			if n := s.net.Attempts(addr); n == 0 {
				s.Errorf("%s was not dialled", addr)
			}
		}
		s.expectHealthy(false, false, false)
	}, quietly)
}

func TestPoolStop(t *testing.T) {
	inPool(t, func(s *pooling) {
		for _, d := range s.nsqds {
			d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Second})
		}
		s.net.Blackhole("c:1")
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if err := s.pool.Publish("t", []byte("m")); err != nil && !errors.Is(err, ErrStopped) {
					s.Error(err)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		wg.Go(s.pool.Stop)
		s.pool.Stop()
		if d := time.Since(start); d != 2*time.Second {
			s.Errorf("took %v, want 2s", d)
		}
		wg.Wait()
		s.expectStored(2, 2, 0)
		if err := s.pool.Publish("t", []byte("m")); err != ErrStopped { //nolint:errorlint // as of a Producer
			s.Errorf("after Stop: %v", err)
		}
	}, quietly)
}

func TestNewProducerPoolRefuses(t *testing.T) {
	bad := NewConfig()
	bad.ReadTimeout = -1
	for want, call := range map[string]func() (*ProducerPool, error){
		"no addresses":          func() (*ProducerPool, error) { return NewProducerPool(nil, NewConfig()) },
		"duplicate address a:1": func() (*ProducerPool, error) { return NewProducerPool([]string{"a:1", "b:1", "a:1"}, NewConfig()) },
		"ReadTimeout":           func() (*ProducerPool, error) { return NewProducerPool([]string{"a:1"}, bad) },
	} {
		if pool, err := call(); pool != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want %q", pool, err, want)
		}
	}
}

// F2: whatever happens to the nsqds, a message that is published without an error is
// stored, a message whose error is ErrNotSent is not, and none is stored twice.
func TestRandomLivesOfPools(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inPool(t, func(s *pooling) { randomPoolLife(s, rand.New(rand.NewPCG(seed, 0)), 50) }, quietly)
		})
	}
}

// randomPoolLife fails if more than one publish in notSentOneIn returns ErrNotSent.
func randomPoolLife(s *pooling, rng *rand.Rand, notSentOneIn int) {
	var mu sync.Mutex
	random := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	oneIn := func(n int) func(nsqtest.Command) bool { return func(nsqtest.Command) bool { return random(n) == 0 } }
	for _, d := range s.nsqds {
		d.Inject(nsqtest.Fault{Command: "IDENTIFY", Match: oneIn(50), Close: true})
		d.Inject(nsqtest.Fault{Command: "PUB", Match: oneIn(200), Mute: true, Close: true})
		d.Inject(nsqtest.Fault{Command: "PUB", Match: oneIn(200), Reply: nsqtest.ErrorFrame("E_PUB_FAILED", ""), Close: true})
		d.Inject(nsqtest.Fault{Command: "PUB", Match: oneIn(20), Delay: 2 * time.Millisecond})
	}
	results := map[string]error{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := 0; ; j++ {
				body := fmt.Sprint(i, " ", j)
				err := s.pool.Publish("t", []byte(body))
				mu.Lock()
				results[body] = err
				mu.Unlock()
				_ = s.pool.Snapshot()
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(random(20_000)) * time.Microsecond):
				}
			}
		})
	}
	for range 10 {
		d := s.nsqds[random(3)]
		d.Kill()
		sleep(time.Duration(random(200)) * time.Millisecond)
		d.Restart()
		sleep(time.Duration(500+random(500)) * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	s.pool.Stop()
	synctest.Wait()
	stored := s.storedOnce()
	notSent, unknown := 0, 0
	for body, err := range results {
		expectVerdict(s.T, err, stored[body])
		switch {
		case errors.Is(err, ErrUnknownOutcome):
			unknown++
		case err != nil:
			notSent++
		}
	}
	if unknown == 0 || notSent*notSentOneIn > len(results) {
		s.Errorf("of %d publishes %d have an unknown outcome and %d were not sent", len(results), unknown, notSent)
	}
}
