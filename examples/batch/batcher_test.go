package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// scene is a consumer with a batcher, in virtual time. A batch has three
// messages.
type scene struct {
	*testing.T
	d     *nsqtest.Nsqd
	takes time.Duration   // how long storing a batch takes
	fail  map[string]bool // bodies whose first store fails
	stop  func()          // stops the consumer

	mu      sync.Mutex // guards what follows
	batches [][]string
}

func batch(t *testing.T, test func(s *scene)) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		s := &scene{T: t, d: nsqtest.NewNsqd(t, nsqtest.Options{Network: network}), fail: map[string]bool{}}
		cfg := nsq.NewConfig()
		cfg.DialContext = network.DialContext
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		cfg.MaxInFlight = 6
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- consume(ctx, cfg, s.d.Addr(), &batcher{size: 3, wait: 5 * time.Minute, touchEvery: 20 * time.Second, store: s.store})
		}()
		s.stop = func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			s.stop = func() {}
		}
		synctest.Wait()
		test(s)
		s.stop()
		if st := s.stats(); st.InFlight != 0 || st.TimedOut != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func (s *scene) store(batch []*nsq.Message) (failures []error) {
	sleep(s.takes)
	var bodies []string
	for _, m := range batch {
		body := string(m.Body)
		bodies = append(bodies, body)
		var err error
		if s.fail[body] {
			err = errors.New("no")
			delete(s.fail, body)
		}
		failures = append(failures, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, bodies)
	return failures
}

func (s *scene) stats() nsqtest.Stats { return s.d.Stats("orders", "archive") }

// stored checks which batches have been stored so far.
func (s *scene) stored(want ...[]string) {
	s.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.EqualFunc(s.batches, want, slices.Equal) {
		s.Errorf("stored %q, want %q", s.batches, want)
	}
}

// sleep lets virtual time pass.
func sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
}

// Messages wait for a full batch, even longer than nsqd's msg-timeout.
func TestFullBatch(t *testing.T) {
	batch(t, func(s *scene) {
		s.d.Publish("orders", "a", "b")
		sleep(4 * time.Minute)
		s.stored()
		s.takes = 4 * time.Minute // nothing times out during a slow store either
		s.d.Publish("orders", "c", "d", "e", "f")
		sleep(5 * time.Minute)
		s.stored([]string{"a", "b", "c"})
		sleep(5 * time.Minute)
		s.stored([]string{"a", "b", "c"}, []string{"d", "e", "f"})
		if st := s.stats(); st.Finished != 6 || st.Delivered != 6 {
			s.Errorf("%+v", st)
		}
	})
}

// A batch that does not fill is stored after the wait.
func TestBatchThatDoesNotFill(t *testing.T) {
	batch(t, func(s *scene) {
		s.d.Publish("orders", "a", "b")
		sleep(5 * time.Minute)
		s.stored([]string{"a", "b"})
	})
}

// Only the messages that failed are delivered again.
func TestFailuresInABatch(t *testing.T) {
	batch(t, func(s *scene) {
		s.fail["b"] = true
		s.d.Publish("orders", "a", "b", "c")
		sleep(10 * time.Minute)
		s.stored([]string{"a", "b", "c"}, []string{"b"})
		if st := s.stats(); st.Finished != 3 || st.Requeued != 1 {
			s.Errorf("%+v", st)
		}
	})
}

// A stop stores the batch that is being filled.
func TestStop(t *testing.T) {
	batch(t, func(s *scene) {
		s.d.Publish("orders", "a")
		synctest.Wait()
		start := time.Now()
		s.stop()
		s.stored([]string{"a"})
		if st := s.stats(); st.Finished != 1 || time.Since(start) > time.Second {
			s.Errorf("after %v: %+v", time.Since(start), st)
		}
	})
}
