package nsq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWindowServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := window{limit: 10}
		if !w.tryAcquire(6) || w.tryAcquire(5) || !w.tryAcquire(4) || w.tryAcquire(1) {
			t.Error("tryAcquire does not grant exactly what fits")
		}
		var mu sync.Mutex
		var got []string
		claim := func(ctx context.Context, size int64) {
			go func() {
				err := w.wait(ctx, t.Context(), size)
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprint(size, err))
			}()
			synctest.Wait()
		}
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			got = nil
		}
		reason := errors.New("over")
		ctx, cancel := context.WithCancelCause(t.Context())
		claim(t.Context(), 7)
		claim(ctx, 9)
		claim(t.Context(), 3)
		claim(t.Context(), 11)
		claim(t.Context(), 1)
		w.release(6)
		expect() // 3 would fit, but 7 is first
		w.release(4)
		expect("7 <nil>")
		cancel(reason)
		synctest.Wait()
		slices.Sort(got)
		expect("3 <nil>", "9 over")
		w.release(10)
		expect("11 <nil>") // it exceeds the limit, and is alone
		if w.tryAcquire(1) {
			t.Error("granted beside what exceeds the limit")
		}
		w.release(11)
		expect("1 <nil>")
		w.release(1)
		if w.used != 0 || len(w.waiting) != 0 {
			t.Errorf("%d used at the end, %d waiting", w.used, len(w.waiting))
		}
	})
}

// In any order of claims and releases no more than the limit is granted, no room is
// lost, and every claim ends.
func TestWindowRandomWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := window{limit: 100}
		var mu sync.Mutex
		held := int64(0)
		hold := func(n int64) {
			mu.Lock()
			defer mu.Unlock()
			if held += n; n > 0 && held > 100 && held != n {
				t.Errorf("%d held", held)
			}
		}
		var wg sync.WaitGroup
		for i := range 50 {
			rng := rand.New(rand.NewPCG(uint64(i), 0))
			wg.Go(func() {
				for range 200 {
					size := int64(1 + rng.IntN(120))
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(500)))
					if w.tryAcquire(size) || w.wait(ctx, t.Context(), size) == nil {
						hold(size)
						sleep(time.Duration(rng.IntN(20)))
						hold(-size)
						w.release(size)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		if w.used != 0 || len(w.waiting) != 0 {
			t.Errorf("%d used at the end, %d waiting", w.used, len(w.waiting))
		}
	})
}

// The bytes that wait for nsqd are bounded. A publish beyond the bound waits until
// its context ends, and is not sent.
func TestOutstandingBytesAreBounded(t *testing.T) {
	const size = 1<<20 - 64 // a command counts 64 bytes more
	produce(t, func(s *producing) {
		if err := s.p.Ping(); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		s.d.StopReading()
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				body := make([]byte, size)
				if err := s.p.PublishContext(s.Context(), "t", body); err != nil {
					s.Errorf("%d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := s.p.PublishContext(ctx, "t", []byte("m"))
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) || d != time.Second {
			s.Errorf("%v after %v", err, d)
		}
		start = time.Now()
		err = s.p.PublishAsync("t", []byte("m"), nil)
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, errNoRoom) || d != s.cfg.ReadTimeout {
			s.Errorf("%v after %v", err, d)
		}
		for range 4 {
			wg.Go(func() {
				if err := s.p.PublishContext(s.Context(), "t", make([]byte, size)); err != nil {
					s.Error(err)
				}
			})
		}
		after(time.Second)
		s.d.StartReading()
		wg.Wait()
		if n := len(s.stored()); n != 20 || s.p.nsqd.outstanding.used != 0 {
			s.Errorf("%d stored, want 20; %d bytes are left of the window", n, s.p.nsqd.outstanding.used)
		}
		s.d.StopReading() // a publish that waits for room when Stop is called is not sent
		wg.Go(func() { _ = s.p.MultiPublishContext(s.Context(), "t", slices.Repeat([][]byte{make([]byte, size)}, 20)) })
		synctest.Wait()
		wg.Go(func() {
			if err := s.p.PublishContext(s.Context(), "t", []byte("m")); !errors.Is(err, ErrStopped) {
				s.Errorf("stopped: %v", err)
			}
		})
		synctest.Wait()
		s.p.Stop()
		wg.Wait()
	}, func(s *scene) { s.cfg.WriteTimeout = 5 * time.Minute })
}
