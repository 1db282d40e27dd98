package nsq

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// N16: Stop waits 5 seconds for an nsqd that shows no sign of life, and longer for one
// that does.
func TestStopWithALifelessNSQD(t *testing.T) {
	for name, tt := range map[string]struct {
		freeze func(s *producing)
		took   time.Duration
		stored int
	}{
		"frozen":      {func(s *producing) { s.d.StopReading() }, 5 * time.Second, 0},
		"silent":      {func(s *producing) { s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Hour}) }, 5 * time.Second, 0},
		"slow":        {func(s *producing) { s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: 4 * time.Second}) }, 20 * time.Second, 5},
		"slow, lives": {func(s *producing) { s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: 2 * time.Second}) }, 10 * time.Second, 5},
	} {
		t.Run(name, func(t *testing.T) {
			produce(t, func(s *producing) {
				if err := s.p.Ping(); err != nil {
					s.Fatal(err)
				}
				synctest.Wait()
				tt.freeze(s)
				errs := make([]error, 5)
				var wg sync.WaitGroup
				for i := range errs {
					wg.Go(func() { errs[i] = s.p.PublishContext(s.Context(), "t", make([]byte, 100)) })
				}
				synctest.Wait()
				start := time.Now()
				s.p.Stop()
				if d := time.Since(start); d != tt.took {
					s.Errorf("took %v, want %v", d, tt.took)
				}
				wg.Wait()
				for i, err := range errs {
					if stored := tt.stored > 0; stored != (err == nil) || !stored && !errors.Is(err, errLifeless) {
						s.Errorf("%d: %v", i, err)
					}
				}
				s.d.StartReading()
			}, quietly)
		})
	}
}

// N16: a heartbeat is a sign of life.
func TestStopCountsHeartbeats(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: 12 * time.Second})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.p.PublishContext(s.Context(), "t", []byte("m")); err != nil {
				s.Error(err)
			}
		})
		synctest.Wait()
		start := time.Now()
		s.p.Stop()
		if d := time.Since(start); d != 12*time.Second {
			s.Errorf("took %v, want 12s", d)
		}
		wg.Wait()
	}, quietly, func(s *scene) { s.cfg.HeartbeatInterval = 2 * time.Second })
}

// N16: a pool that lets an nsqd go waits for its replies. Once Stop is called, it waits for
// an nsqd that shows no sign of life only as long as for a member.
func TestPoolStopWithALifelessNSQDThatIsLetGo(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		frozen := s.nsqds[1]
		s.la.Register("t", "a:1", "b:1")
		s.publish(2)
		frozen.StopReading()
		s.la.Unregister("t", "b:1")
		unknown := make(chan error, 2)
		for range 2 {
			go func() { unknown <- s.pool.Publish("t", []byte("m")) }()
			synctest.Wait()
		}
		after(time.Minute)
		s.expectMembers("a:1")
		if n := len(frozen.Clients()); n != 1 {
			s.Errorf("%d connections to b, want 1 while it owes a reply", n)
		}
		start := time.Now()
		s.pool.Stop()
		if d := time.Since(start); d < 5*time.Second || d > 6*time.Second {
			s.Errorf("took %v, want 5s", d)
		}
		if a, b := <-unknown, <-unknown; a != nil || !errors.Is(b, ErrUnknownOutcome) {
			s.Errorf("%v, %v; want the outcome of the second to be unknown", a, b)
		}
		frozen.StartReading()
	}, quietly, func(s *scene) { s.cfg.LookupdPollInterval, s.cfg.StopTimeout = 5*time.Second, 5*time.Minute })
}

// N16: one frozen nsqd keeps a pool's Stop for 5 seconds.
func TestPoolStopWithALifelessNSQD(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.nsqds[1].Inject(nsqtest.Fault{Command: "PUB", Delay: time.Hour})
		done := make(chan *ProducerTransaction, 10)
		unknown := make(chan error, 10)
		for range 3 {
			go func() { unknown <- s.pool.Publish("t", []byte("m")) }()
			if err := s.pool.PublishAsync("t", []byte("m"), done); err != nil {
				s.Error(err)
			}
			synctest.Wait()
		}
		start := time.Now()
		s.pool.Stop()
		if d := time.Since(start); d < 5*time.Second || d > 6*time.Second {
			s.Errorf("took %v, want 5s", d)
		}
		lost := 0
		for range 3 {
			if errors.Is(<-unknown, ErrUnknownOutcome) {
				lost++
			}
			if errors.Is((<-done).Cause, ErrUnknownOutcome) {
				lost++
			}
		}
		if lost != 1 { // once b owes a reply, a gets the others
			s.Errorf("%d outcomes are unknown, want one", lost)
		}
	}, quietly)
}

// N16: a doneChan that is closed while publishes are outstanding costs its transactions and
// a line in the log, and nothing else.
func TestClosedDoneChan(t *testing.T) {
	for _, capacity := range []int{0, 5} {
		for _, closeAfter := range []time.Duration{0, 10 * time.Second} { // before, and after, they wait to be received
			t.Run(fmt.Sprint(capacity, closeAfter), func(t *testing.T) {
				produce(t, func(s *producing) {
					var log logLines
					s.p.SetLogger(&log, LogLevelWarning)
					s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 20, Delay: 100 * time.Millisecond})
					done, other := make(chan *ProducerTransaction, capacity), make(chan *ProducerTransaction)
					for i := range 10 {
						if err := s.p.PublishAsync("t", []byte("m"), done, i); err != nil {
							s.Error(err)
						}
					}
					after(closeAfter)
					close(done)
					if err := s.p.PublishAsync("t", []byte("m"), other, "mine"); err != nil || s.result(other, "mine") != nil {
						s.Error("another doneChan gets nothing")
					}
					after(time.Minute)
					s.publishes()
					s.expectNoQueues()
					if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "doneChan is closed") {
						s.Errorf("logged %q", got)
					}
					if n := len(s.stored()); n != 12 {
						s.Errorf("%d stored, want 12", n)
					}
				})
			})
		}
	}
}

func TestClosedDoneChanOfPool(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.nsqds[0].Inject(nsqtest.Fault{Command: "PUB", Delay: time.Second})
		done, other := make(chan *ProducerTransaction), make(chan *ProducerTransaction, 10)
		publish := func(done chan *ProducerTransaction) {
			if err := s.pool.PublishAsync("t", []byte("m"), done); err != nil {
				s.Error(err)
			}
		}
		for range 10 {
			publish(done)
		}
		synctest.Wait()
		close(done)
		for range 3 {
			publish(other)
		}
		for range 3 {
			if tr := <-other; tr.Error != nil {
				s.Error(tr.Cause)
			}
		}
		after(time.Minute)
	}, quietly)
}

func TestNewBatcherWithoutPublisher(t *testing.T) {
	for _, to := range []Publisher{nil, (*Producer)(nil), (*ProducerPool)(nil)} {
		if b, err := NewBatcher(to, BatchOptions{}); b != nil || err == nil {
			t.Errorf("%T: %v, %v", to, b, err)
		}
	}
}
