package nsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// freeze makes an nsqd reply to nothing until thawed is closed. Heartbeats go on.
func freeze(d *nsqtest.Nsqd, thawed <-chan struct{}) {
	d.Inject(nsqtest.Fault{Match: func(nsqtest.Command) bool { <-thawed; return true }, Times: 1})
}

// publishFor publishes every 20 ms for some time, by every method in turn, with
// contexts of 500 ms. It returns the errors.
func (s *pooling) publishFor(d time.Duration) (errs []error) {
	for i, end := 0, time.Now().Add(d); time.Now().Before(end); i++ {
		ctx, cancel := context.WithTimeout(s.Context(), 500*time.Millisecond)
		var err error
		switch i % 3 {
		case 0:
			err = s.pool.PublishContext(ctx, "t", []byte("m"))
		case 1:
			err = s.pool.MultiPublishContext(ctx, "t", [][]byte{[]byte("m")})
		case 2:
			err = s.pool.DeferredPublishContext(ctx, "t", 0, []byte("m"))
		}
		cancel()
		if err != nil {
			errs = append(errs, err)
		}
		sleep(20 * time.Millisecond)
	}
	return errs
}

// N14: an nsqd that hangs fails one publish, whatever the contexts of the others. With
// its late reply it takes its turns again.
func TestPoolPassesOverWhatHangs(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.publish(3)
		thawed := make(chan struct{})
		freeze(s.nsqds[1], thawed)
		errs := s.publishFor(time.Minute)
		if len(errs) != 1 || !errors.Is(errs[0], ErrUnknownOutcome) || !errors.Is(errs[0], context.DeadlineExceeded) {
			s.Errorf("%d publishes failed: %v; want one whose outcome is unknown", len(errs), errors.Join(errs...))
		}
		s.expectHealthy(true, false, true)
		if err := s.pool.Snapshot()[1].LastError; !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("last error %v", err)
		}
		close(thawed)
		synctest.Wait()
		s.expectHealthy(true, true, true)
		before := s.stored()
		s.publish(30)
		for i, n := range s.stored() {
			if n -= before[i]; n != 10 {
				s.Errorf("nsqd %d got %d messages, want 10", i, n)
			}
		}
	}, quietly)
}

// N14: publishes at the same time, each of its own caller, keep out of an nsqd that
// hangs before the first context ends.
func TestPoolCallersAvoidWhatHangs(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.publish(3)
		thawed := make(chan struct{})
		freeze(s.nsqds[1], thawed)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var errs []error
		for range 10 {
			wg.Go(func() {
				failed := s.publishFor(10 * time.Second)
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, failed...)
			})
			sleep(time.Millisecond)
		}
		wg.Wait()
		if len(errs) > 1 {
			s.Errorf("%d publishes failed: %v; want one", len(errs), errors.Join(errs...))
		}
		close(thawed)
	}, quietly)
}

// N14: an nsqd that cannot be reached fails no publish whose context leaves time for
// another.
func TestPoolReachesAnotherInTime(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.net.Blackhole("a:1")
		if errs := s.publishFor(10 * time.Second); len(errs) > 0 {
			s.Errorf("%d publishes failed: %v", len(errs), errors.Join(errs...))
		}
		s.expectHealthy(false, true, true)
	}, quietly)
}

// N14: a context that is too short passes a healthy nsqd over only until the reply.
func TestPoolShortContext(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.publish(3)
		s.nsqds[0].Inject(nsqtest.Fault{Command: "PUB", Delay: 3 * time.Millisecond})
		ctx, cancel := context.WithTimeout(s.Context(), time.Millisecond)
		defer cancel()
		if err := s.pool.PublishContext(ctx, "t", []byte("m")); !errors.Is(err, ErrUnknownOutcome) {
			s.Error(err)
		}
		s.expectHealthy(false, true, true)
		after(2*time.Millisecond - 1)
		s.expectHealthy(false, true, true)
		after(1)
		s.expectHealthy(true, true, true)
	}, quietly)
}

// N14: the reply to another publish counts as well, and it may have come already.
func TestPoolAnyReplyCounts(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.publish(3)
		s.nsqds[0].Inject(nsqtest.Fault{Command: "PUB", Delay: time.Second, Times: 2})
		done := make(chan *ProducerTransaction, 1)
		if err := s.pool.PublishAsync("t", []byte("m"), done, 1); err != nil {
			s.Error(err)
		}
		synctest.Wait()
		s.publish(2) // the others' turns
		ctx, cancel := context.WithTimeout(s.Context(), time.Millisecond)
		defer cancel()
		s.nsqds[1].Kill()
		s.nsqds[2].Kill()
		if err := s.pool.PublishContext(ctx, "t", []byte("m")); !errors.Is(err, ErrUnknownOutcome) {
			s.Error(err)
		}
		after(990 * time.Millisecond)
		s.expectHealthy(false, false, false)
		after(10 * time.Millisecond) // the reply to the first
		s.expectHealthy(true, false, false)
		s.collect(done, 1)
		after(time.Second)
		m := s.pool.members[0]
		s.pool.passOver(m, errors.New("its reply came before this"))
		s.expectHealthy(false, false, false)
		after(time.Second)
		s.expectHealthy(true, false, false)
	}, quietly)
}

// N14: the end of the connection is no reply. What hangs and is then lost is passed over
// until it can be connected to.
func TestPoolLosesWhatHangs(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.publish(3)
		thawed := make(chan struct{})
		defer close(thawed)
		freeze(s.nsqds[0], thawed)
		s.publishFor(time.Second)
		s.expectHealthy(false, true, true)
		s.net.Blackhole("a:1")
		s.nsqds[0].ClearFaults()
		s.nsqds[0].Disconnect(1)
		synctest.Wait()
		s.expectHealthy(false, true, true)
		if errs := s.publishFor(10 * time.Second); len(errs) > 0 {
			s.Errorf("%d publishes failed: %v", len(errs), errors.Join(errs...))
		}
		s.expectHealthy(false, true, true)
		s.net.Allow("a:1")
		after(3 * time.Second)
		s.expectHealthy(true, true, true)
	}, quietly)
}

// N14: while all nsqds hang all are tried, and those that reply are used at once.
func TestPoolAllHang(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.publish(3)
		thawed := make(chan struct{})
		for _, d := range s.nsqds {
			freeze(d, thawed)
		}
		if errs := s.publishFor(5 * time.Second); len(errs) != 10 {
			s.Errorf("%d publishes failed, want 10: %v", len(errs), errors.Join(errs...))
		}
		s.expectHealthy(false, false, false)
		for i, m := range s.pool.members {
			if n := m.Owes(); n != 0 {
				s.Errorf("nsqd %d: %d callers wait", i, n)
			}
		}
		close(thawed)
		synctest.Wait()
		s.expectHealthy(true, true, true)
		s.publish(10)
	}, quietly)
}

// A context that ended before the publish counts against no nsqd, and none is dialled.
func TestPoolContextEndedBefore(t *testing.T) {
	inPool(t, func(s *pooling) {
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		if err := s.pool.PublishContext(ctx, "t", []byte("m")); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
			s.Error(err)
		}
		s.expectHealthy(true, true, true)
		if n := s.net.Dials(); n != 0 {
			s.Errorf("%d dials", n)
		}
	})
}

// N14: asynchronous publishes have no context. They keep out of an nsqd that hangs
// because it owes more replies than the others.
func TestPoolAsyncAvoidsWhatHangs(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.publish(3)
		thawed := make(chan struct{})
		freeze(s.nsqds[1], thawed)
		done := make(chan *ProducerTransaction, 1000)
		for i := range 1000 {
			if err := s.pool.PublishAsync("t", []byte("m"), done, i); err != nil {
				s.Error(err)
			}
			sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if n := len(done); n < 999 {
			s.Errorf("%d of 1000 transactions came, want all but one", n)
		}
		close(thawed)
		for i, err := range s.collect(done, 1000) {
			if err != nil {
				s.Errorf("%v: %v", i, err)
			}
		}
		for i, m := range s.pool.members {
			if n := m.Owes(); n != 0 {
				s.Errorf("nsqd %d owes %d replies", i, n)
			}
		}
	}, quietly)
}

// N14: a Batcher over a pool loses one batch to an nsqd that hangs.
func TestPoolBatcherAvoidsWhatHangs(t *testing.T) {
	inPool(t, func(s *pooling) {
		b, err := NewBatcher(s.pool, BatchOptions{MaxDelay: time.Millisecond})
		if err != nil {
			s.Fatal(err)
		}
		s.publish(3)
		thawed := make(chan struct{})
		freeze(s.nsqds[1], thawed)
		failed := 0
		for range 500 {
			ctx, cancel := context.WithTimeout(s.Context(), 500*time.Millisecond)
			if err := b.PublishContext(ctx, "t", []byte("m")); err != nil {
				failed++
			}
			cancel()
		}
		if failed != 1 {
			s.Errorf("%d publishes failed, want one", failed)
		}
		close(thawed)
		b.Stop()
	}, quietly)
}

// N12: new members are made while the mutex is free, so that publishes go on while a
// poll of very many nsqds is adopted.
func TestPoolAdoptsWithoutItsMutex(t *testing.T) {
	made := 0
	var pool *ProducerPool // set while members are made
	seen := func() {
		if pool == nil {
			return
		}
		made++
		if !pool.mu.TryLock() {
			t.Error("a member is made under the pool's mutex")
			return
		}
		pool.mu.Unlock()
	}
	inDiscoveredPool(t, func(s *poolDiscovering) {
		for i := range 100 {
			s.la.Register("t", fmt.Sprint("n", i, ":1"))
		}
		s.la.Register("t", "a:1")
		pool = s.pool
		s.publish(1)
		pool = nil
		if made != 101 {
			s.Errorf("saw %d members being made, want 101", made)
		}
	}, func(s *scene) { s.cfg.Logger = slog.New(seesAttrs{slog.DiscardHandler, seen}) })
}

// seesAttrs calls seen when a logger with more attributes is derived from its own, as
// each new Producer does.
type seesAttrs struct {
	slog.Handler
	seen func()
}

func (h seesAttrs) WithAttrs([]slog.Attr) slog.Handler {
	h.seen()
	return h
}

// nextRelease waits for room to be released, or for the last claim to be withdrawn.
func TestWindowNextRelease(t *testing.T) {
	w := &window{limit: 10}
	if w.nextRelease() != nil {
		t.Error("nothing is claimed")
	}
	w.tryAcquire(4)
	w.tryAcquire(4)
	first, second := w.nextRelease(), w.nextRelease()
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	if closed(first) || closed(second) {
		t.Error("closed before a release")
	}
	w.release(4)
	if !closed(first) || !closed(second) {
		t.Error("not closed by a release")
	}
	w.tryAcquire(4)
	next := w.nextRelease()
	w.withdraw(&claim{size: 4}) // granted in the meantime
	if closed(next) {
		t.Error("closed by a withdrawal, although a claim is left")
	}
	w.withdraw(&claim{size: 4})
	if !closed(next) {
		t.Error("not closed although nothing is claimed any longer")
	}
}
