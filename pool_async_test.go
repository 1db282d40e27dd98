package nsq

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

func TestPoolAsync(t *testing.T) {
	inPool(t, func(s *pooling) {
		done := make(chan *ProducerTransaction)
		body, many := []byte("one"), [][]byte{[]byte("two"), []byte("three")}
		for i := range 30 {
			if err := s.pool.PublishAsync("t", body, done, i, "a"); err != nil {
				s.Error(err)
			}
		}
		err := errors.Join(
			s.pool.MultiPublishAsync("t", many, done, 30),
			s.pool.DeferredPublishAsync("t", 0, body, done, 31),
			s.pool.PublishAsync("t", body, nil, "nobody sees this"),
			s.pool.DeferredPublishAsync("t", 2*time.Hour, body, done, 32),
		)
		if err != nil {
			s.Error(err)
		}
		copy(body, "xxx")
		copy(many[0], "xxx")
		for i, err := range s.collect(done, 33) {
			if refused := isRefusal(err, "E_INVALID"); refused != (i == 32) || !refused && err != nil {
				s.Errorf("%v: %v", i, err)
			}
		}
		// Those that owe fewer replies are preferred, so the turns are not quite even.
		if got := s.stored(); got[0]+got[1]+got[2] != 34 || slices.Min(got) < 6 {
			s.Errorf("stored %v, want 34 in all and at least 6 at each", got)
		}
		for _, d := range s.nsqds {
			if slices.ContainsFunc(d.Queued("t", ""), func(m string) bool { return m[0] == 'x' }) {
				s.Errorf("stored %q", d.Queued("t", ""))
			}
		}
		if n := len(s.pool.async.queues.open); n != 0 {
			s.Errorf("%d queues", n)
		}
	})
}

// If the nsqd that was sent a message turns out not to have stored it, the message is
// published to another nsqd before its transaction is delivered.
func TestPoolAsyncFailsOver(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.nsqds[0].Reject("PUB", "E_PUB_FAILED", "disk is full")
		s.nsqds[1].Kill()
		done := make(chan *ProducerTransaction, 100)
		body := []byte("m")
		for i := range 100 {
			if err := s.pool.PublishAsync("t", body, done, i); err != nil {
				s.Error(err)
			}
		}
		body[0] = 'x'
		for _, err := range s.collect(done, 100) {
			if err != nil {
				s.Error(err)
			}
		}
		s.expectStored(0, 0, 100)
		if got := s.nsqds[2].Queued("t", ""); slices.Contains(got, "x") {
			s.Errorf("stored %q", got)
		}
		s.nsqds[2].Kill()
		synctest.Wait()
		for i := range 10 { // a is tried first
			if err := s.pool.PublishAsync("t", body, done, i); err != nil {
				s.Error(err)
			}
			for _, err := range s.collect(done, 1) {
				if err == nil || errors.Is(err, ErrUnknownOutcome) {
					s.Errorf("%v", err)
				}
			}
			after(100 * time.Millisecond)
		}
		s.nsqds[0].Kill()
		synctest.Wait()
		if err := s.pool.PublishAsync("t", body, done, "none"); !errors.Is(err, ErrNotSent) {
			s.Errorf("%v", err)
		}
		if err := s.pool.PublishAsync("a b", body, done, "none"); err == nil {
			s.Error("no error")
		}
		s.collect(done, 0)
		if n := len(s.pool.async.queues.open); n != 0 {
			s.Errorf("%d queues", n)
		}
	}, quietly)
}

// The body may be changed after the call, although the pool may publish it again.
func TestPoolAsyncKeepsTheBody(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.nsqds[0].Inject(nsqtest.Fault{
			Delay: time.Second,
			Match: func(c nsqtest.Command) bool { return c.Name == "PUB" || c.Name == "MPUB" },
			Reply: nsqtest.ErrorFrame("E_PUB_FAILED", "disk is full"), Close: true,
		})
		done := make(chan *ProducerTransaction)
		body, bodies := []byte("m"), [][]byte{[]byte("m")}
		if err := s.pool.PublishAsync("t", body, done, 1); err != nil {
			s.Error(err)
		}
		s.publish(2) // it is a's turn again
		if err := s.pool.MultiPublishAsync("t", bodies, done, 2); err != nil {
			s.Error(err)
		}
		body[0], bodies[0][0] = 'x', 'x'
		for _, err := range s.collect(done, 2) {
			if err != nil {
				s.Error(err)
			}
		}
		if got := append(s.nsqds[1].Queued("t", ""), s.nsqds[2].Queued("t", "")...); len(got) != 4 || slices.Contains(got, "x") {
			s.Errorf("stored %q", got)
		}
	}, quietly)
}

// A doneChan that is not received from delays nothing else, and Stop for a second
// only.
func TestPoolUndrainedDoneChan(t *testing.T) {
	inPool(t, func(s *pooling) {
		stuck := make(chan *ProducerTransaction)
		for i := range 10_000 {
			if err := s.pool.PublishAsync("t", []byte("m"), stuck, i); err != nil {
				s.Fatal(err)
			}
		}
		synctest.Wait()
		start := time.Now()
		err := s.pool.PublishAsync("t", []byte("m"), stuck)
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, errNoRoom) || d != s.cfg.ReadTimeout {
			s.Errorf("%v after %v", err, d)
		}
		s.expectHealthy(true, true, true)
		done := make(chan *ProducerTransaction)
		s.publish(3)
		if err := s.pool.PublishAsync("t", []byte("m"), done, 1); err != nil {
			s.Error(err)
		}
		s.collect(done, 1)
		start = time.Now()
		s.pool.Stop()
		if d := time.Since(start); d != time.Second {
			s.Errorf("Stop took %v, want 1s", d)
		}
	}, quietly)
}

// Stop waits for the nsqds' replies, and delivers the transactions.
func TestPoolStopDeliversTransactions(t *testing.T) {
	inPool(t, func(s *pooling) {
		for _, d := range s.nsqds {
			d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Second})
		}
		done := make(chan *ProducerTransaction)
		for i := range 3 {
			if err := s.pool.PublishAsync("t", []byte("m"), done, i); err != nil {
				s.Error(err)
			}
		}
		synctest.Wait()
		var wg sync.WaitGroup
		wg.Go(s.pool.Stop)
		synctest.Wait()
		if err := s.pool.PublishAsync("t", []byte("m"), done, 3); err != ErrStopped { //nolint:errorlint // as of a Producer
			s.Errorf("%v", err)
		}
		for i, err := range s.collect(done, 3) {
			if err != nil {
				s.Errorf("%v: %v", i, err)
			}
		}
		wg.Wait()
	})
}

// F2: whatever happens to the nsqds, each transaction comes exactly once and says
// truthfully whether the message may be stored.
func TestRandomLivesOfAsyncPools(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inPool(t, func(s *pooling) { randomAsyncPoolLife(s, rand.New(rand.NewPCG(seed, 0))) }, quietly)
		})
	}
}

func randomAsyncPoolLife(s *pooling, rng *rand.Rand) {
	var mu sync.Mutex
	random := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	oneIn := func(n int) func(nsqtest.Command) bool { return func(nsqtest.Command) bool { return random(n) == 0 } }
	for _, d := range s.nsqds {
		d.Inject(nsqtest.Fault{Command: "PUB", Match: oneIn(200), Mute: true, Close: true})
		d.Inject(nsqtest.Fault{Command: "PUB", Match: oneIn(200), Reply: nsqtest.ErrorFrame("E_PUB_FAILED", ""), Close: true})
		d.Inject(nsqtest.Fault{Command: "PUB", Match: oneIn(20), Delay: 2 * time.Millisecond})
	}
	const publishers, each = 8, 200
	done := make(chan *ProducerTransaction, random(2)*10)
	refused := map[string]error{}
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			for j := range each {
				body := fmt.Sprint(i, " ", j)
				if err := s.pool.PublishAsync("t", []byte(body), done, body); err != nil {
					mu.Lock()
					refused[body] = err
					mu.Unlock()
				}
				sleep(time.Duration(random(20_000)) * time.Microsecond)
			}
		})
	}
	results := map[string]error{}
	var receiver sync.WaitGroup
	receiver.Go(func() {
		for t := range done {
			body := t.Args[0].(string)
			if _, twice := results[body]; twice {
				s.Errorf("the transaction of %q came twice", body)
			}
			results[body] = t.Cause
		}
	})
	for range 4 {
		d := s.nsqds[random(3)]
		d.Kill()
		sleep(time.Duration(random(200)) * time.Millisecond)
		d.Restart()
		sleep(time.Duration(200+random(200)) * time.Millisecond)
	}
	wg.Wait()
	s.pool.Stop()
	close(done)
	receiver.Wait()
	synctest.Wait()
	stored := s.storedOnce()
	for body, err := range refused {
		if _, ok := results[body]; ok || errors.Is(err, ErrUnknownOutcome) {
			s.Errorf("%q: refused with %v", body, err)
		}
		results[body] = err
	}
	if len(results) != publishers*each {
		s.Errorf("%d results", len(results))
	}
	for body, err := range results {
		expectVerdict(s.T, err, stored[body])
	}
}
