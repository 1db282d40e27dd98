package nsq

import (
	"errors"
	"fmt"
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

// watchMemory returns the most that the Consumer holds at any time from now on. It looks
// every millisecond.
func (s *scene) watchMemory() (most *atomic.Int64) {
	most = &atomic.Int64{}
	stop := make(chan struct{})
	go func() {
		for {
			most.Store(max(most.Load(), s.c.memory.held.Load()))
			select {
			case <-time.After(time.Millisecond):
			case <-stop:
				return
			}
		}
	}()
	s.Cleanup(func() { close(stop) })
	return most
}

// publishSized publishes n messages of so many bytes.
func publishSized(d *nsqtest.Nsqd, n, bytes int) {
	d.Publish("t", slices.Repeat([]string{strings.Repeat("x", bytes)}, n)...)
}

// N8: what is in hand stays within max_bytes_in_flight, however many messages
// max_in_flight allows.
func TestMaxBytesInFlight(t *testing.T) {
	for _, nsqds := range []int{1, 3} {
		inScene(t, func(s *scene) {
			const budget, body, n = 4 << 20, 64 << 10, 200
			s.cfg.MaxInFlight, s.cfg.MaxBytesInFlight = 600, budget
			all := s.nsqds(nsqds)
			for _, d := range all {
				publishSized(d, n, body)
			}
			s.consumer(4, func(*Message) error { sleep(offBeat); return nil })
			most := s.watchMemory()
			s.connect(all...)
			after(200 * time.Millisecond)
			shown := s.c.Snapshot()
			if shown.BytesInFlight < budget*3/4 || shown.Connections[0].BytesInFlight < budget/4 || shown.MaxBytesInFlight != budget {
				s.Errorf("%d bytes of %d in flight, %d of the first nsqd", shown.BytesInFlight, shown.MaxBytesInFlight, shown.Connections[0].BytesInFlight)
			}
			after(time.Minute)
			if n := most.Load(); n > budget {
				s.Errorf("%d nsqds: %d bytes in hand, want %d at most", nsqds, n, budget)
			}
			if done := s.balanced().Finished; done != uint64(n*nsqds) { // #nosec G115 -- positive
				s.Errorf("%d nsqds: %d messages finished", nsqds, done)
			}
			if left := s.c.Snapshot().BytesInFlight; left != 0 {
				s.Errorf("%d bytes are left", left)
			}
		})
	}
}

// N8: 2,500 small messages are in flight 25 ms after the first ones came, although these
// were taken for 1 MiB each.
func TestSmallMessagesNeedNoBudget(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 2500
		d := s.nsqd("a:1")
		s.consumer(1, func(*Message) error { sleep(offBeat); return nil })
		s.connect(d)
		after(time.Second)
		if rdy := rdyOf(d); rdy != 64 {
			s.Errorf("RDY %d before the first message, want 64", rdy)
		}
		publishSized(d, 5000, 200)
		after(30 * time.Millisecond)
		if rdy, inFlight := granted([]*nsqtest.Nsqd{d}); rdy != 2500 || inFlight != 2500 {
			s.Errorf("RDY %d, %d in flight", rdy, inFlight)
		}
	})
}

// N8: a message that is larger than the budget comes, alone.
func TestMessageLargerThanTheBudget(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.MaxBytesInFlight = 10, 1000
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		publishSized(a, 5, 1500)
		publishSized(b, 5, 1500)
		s.consumer(10, func(*Message) error { sleep(offBeat); return nil })
		s.connect(a)
		most := s.watchMemory()
		after(time.Minute)
		s.connect(b)
		after(time.Minute)
		if n := most.Load(); n != 1500 {
			s.Errorf("%d bytes in hand at a time, want one message of 1500", n)
		}
		if n := s.balanced().Finished; n != 10 {
			s.Errorf("%d messages finished", n)
		}
	})
}

// N8: if messages suddenly become heavy, readers stop at about twice the budget. The
// connection lives on for as long as that lasts, and everything is handled in the end.
func TestReadersStopAtTwiceTheBudget(t *testing.T) {
	for _, recycle := range []bool{false, true} {
		inScene(t, func(s *scene) {
			const budget, body = 1 << 20, 32 << 10
			s.cfg.MaxInFlight, s.cfg.MaxBytesInFlight, s.cfg.RecycleBodies = 2500, budget, recycle
			s.cfg.HeartbeatInterval, s.cfg.WriteTimeout = 10*time.Second, 5*time.Minute
			d := s.nsqd("a:1", leases(10*time.Minute, 15*time.Minute))
			hold := make(chan struct{})
			s.consumer(4, func(m *Message) error {
				if len(m.Body) == body {
					<-hold
				}
				return nil
			})
			s.connect(d)
			publishSized(d, 5000, 20)
			after(time.Second)
			publishSized(d, 1000, body)
			after(200 * time.Millisecond)
			if n := s.c.memory.held.Load(); n < 2*budget || n > 2*budget+3*body {
				s.Errorf("%d bytes in hand, want about %d", n, 2*budget)
			}
			after(time.Minute)
			if n := s.c.memory.held.Load(); n > 2*budget+3*body+6*2<<20 {
				s.Errorf("%d bytes in hand after a minute: more than a trickle", n)
			}
			if n := len(commands(d, "NOP")); n < 5 || s.net.Dials() != 1 {
				s.Errorf("%d NOPs in a minute, %d dials", n, s.net.Dials())
			}
			close(hold)
			after(time.Minute)
			if n := s.balanced().Finished; n != 6000 || s.c.memory.held.Load() != 0 {
				s.Errorf("%d messages finished, %d bytes left", n, s.c.memory.held.Load())
			}
		})
	}
}

// A stop does not wait for room: nsqd's CLOSE_WAIT is read although too much is in hand.
func TestStopWhileReadersWait(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.MaxBytesInFlight = 2500, 1<<20
		d := s.nsqd("a:1")
		s.consumer(1, func(m *Message) error {
			if len(m.Body) > 20 {
				sleep(5 * time.Second)
			}
			return nil
		})
		s.connect(d)
		publishSized(d, 5000, 20)
		after(time.Second)
		publishSized(d, 1000, 32<<10)
		after(time.Second)
		if !s.c.memory.full() {
			s.Fatal("the reader does not wait")
		}
		if took := s.stopped(); took > 5*time.Second {
			s.Errorf("the stop took %v, the handler 5 s at most", took)
		}
	})
}

// N11: a body beyond twice the budget is not read, but requeued and reported, unless
// max_msg_size allows it by name.
func TestBodyBeyondTwiceTheBudget(t *testing.T) {
	for _, tt := range []struct {
		budget   int64
		most     int32
		handled  []int
		requeued int
	}{
		{1000, 0, []int{1, 2000}, 2},
		{1000, 2001, []int{1, 2000, 2001}, 1},
		{1000, 100, []int{1}, 3},
		{0, 0, []int{1, 2000, 2001, 300_000}, 0},
	} {
		inScene(t, func(s *scene) {
			s.cfg.MaxInFlight, s.cfg.MaxBytesInFlight, s.cfg.MaxMsgSize = 10, tt.budget, tt.most
			d := s.nsqd("a:1")
			var sizes []int
			s.consumer(1, func(m *Message) error { sizes = append(sizes, len(m.Body)); return nil })
			log := s.logged(LogLevelError)
			for _, size := range []int{1, 2000, 2001, 300_000} {
				publishSized(d, 1, size)
			}
			s.connect(d)
			after(time.Second)
			slices.Sort(sizes)
			if !slices.Equal(sizes, tt.handled) {
				s.Errorf("%+v: handled bodies of %v bytes", tt, sizes)
			}
			if st := d.Stats("t", "c"); st.Requeued != tt.requeued || s.net.Dials() != 1 {
				s.Errorf("%+v: %+v, %d dials", tt, st, s.net.Dials())
			}
			lines := log.take()
			told := slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "set max_msg_size to allow it") })
			if len(lines) != min(tt.requeued, 1) || told != (tt.requeued > 0 && tt.most == 0) { // repeats are folded
				s.Errorf("%+v: logged %q", tt, lines)
			}
		})
	}
}

// Whatever becomes of messages, what their bodies weighed is counted back once, and not
// while a handler that runs has them.
func TestMemoryAddsUp(t *testing.T) {
	for _, recycle := range []bool{false, true} {
		inScene(t, func(s *scene) {
			s.cfg.MaxInFlight, s.cfg.MaxAttempts, s.cfg.RecycleBodies = 100, 3, recycle
			s.cfg.DefaultRequeueDelay, s.cfg.BackoffMultiplier = 0, 10*time.Millisecond
			a, b := s.nsqd("a:1", leases(2*time.Second, 4*time.Second)), s.nsqd("b:1", leases(2*time.Second, 4*time.Second))
			r := rand.New(rand.NewPCG(1, 1))
			for range 2000 {
				a.Publish("t", strings.Repeat("a", 1+r.IntN(9000)))
				b.Publish("t", strings.Repeat("b", 1+r.IntN(9000)))
			}
			var mu sync.Mutex
			running := int64(0) // what the bodies weigh that running handlers have
			var kept []*Message
			s.consumer(20, func(m *Message) error {
				mu.Lock()
				size := int64(len(m.Body))
				running += size
				what := r.IntN(12)
				mu.Unlock()
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					running -= size
				}()
				sleep(time.Duration(what) * time.Millisecond)
				switch what {
				case 0:
					return errBoom
				case 1:
					panic("boom")
				case 2:
					sleep(3 * time.Second) // the lease ends first
				case 3:
					sleep(3 * time.Second)
					m.Finish()
				case 4:
					m.DisableAutoResponse()
				case 5:
					m.DisableAutoResponse()
					mu.Lock()
					kept = append(kept, m)
					mu.Unlock()
				case 6:
					m.Requeue(0)
				case 7:
					m.Body = m.Body[:0]
				case 8:
					m.Finish()
					m.Finish()
				case 9:
					return Discard(errBoom)
				}
				return nil
			})
			s.connect(a, b)
			for range 40 {
				after(500 * time.Millisecond)
				mu.Lock()
				for _, m := range kept[:len(kept)/2] {
					m.Finish() // some of them too late
				}
				kept = kept[len(kept)/2:]
				held := s.c.memory.held.Load()
				if held < 0 || !recycle && held < running {
					s.Errorf("%d bytes in hand, of which %d with handlers", held, running)
				}
				mu.Unlock()
			}
			a.Kill()
			after(time.Second)
			if err := s.c.DisconnectFromNSQD("b:1"); err != nil && !errors.Is(err, ErrNotConnected) {
				s.Error(err)
			}
			after(20 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			if held := s.c.memory.held.Load(); held != 0 || running != 0 {
				s.Errorf("%d bytes are left, of which %d with handlers", held, running)
			}
		})
	}
}

// The budget is not leaked by connections that come and go while handlers run.
func TestMemoryOfLostConnections(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 50
		a := s.nsqd("a:1")
		publishSized(a, 200, 5000)
		release := make(chan struct{})
		s.consumer(10, func(m *Message) error {
			if m.Attempts == 1 {
				<-release
			}
			return nil
		})
		s.connect(a)
		after(time.Second)
		a.Disconnect(1)
		synctest.Wait()
		if held := s.c.memory.held.Load(); held < 10*5000 || held > 11*5000 {
			s.Errorf("%d bytes in hand, want those of 10 running handlers", held)
		}
		close(release)
		after(time.Minute)
		if held := s.c.memory.held.Load(); held != 0 {
			s.Errorf("%d bytes are left", held)
		}
	})
}

// A weight is exact for small bodies, and never less than the body, nor much more.
func TestWeight(t *testing.T) {
	last := int64(-1)
	for n := int64(0); n < 1<<31-1; n += 1 + n/1000 {
		w := weigh(int(n)).bytes()
		if w < n || n < 2048 && w != n || w-n > n/1000 || w < last {
			t.Fatalf("%d bytes weigh %d, after %d", n, w, last)
		}
		last = w
	}
	if w := weigh(1<<31 - 1).bytes(); w != 1<<31 {
		t.Errorf("the longest body weighs %d", w)
	}
}

// Readers that wait go on when there is room, however release and room interleave.
func TestMemoryWakesReaders(t *testing.T) {
	m := &memory{limit: 10}
	const readers, rounds = 4, 20_000
	var wg sync.WaitGroup
	taken := make(chan struct{}, readers)
	for range readers {
		wg.Go(func() {
			for range rounds {
				for freed := m.room(); freed != nil; freed = m.room() {
					<-freed
				}
				m.held.Add(10)
				taken <- struct{}{}
			}
		})
	}
	for range readers * rounds {
		<-taken
		m.release(10)
	}
	wg.Wait()
	if m.held.Load() != 0 || fmt.Sprint(m.room()) != "<nil>" {
		t.Errorf("%d bytes held", m.held.Load())
	}
}

// What is in hand already counts when the budget begins to matter, although no reader
// brings anything then.
func TestBudgetFindsWhatIsInHand(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.MaxBytesInFlight = 1, 4<<20
		d := s.nsqd("a:1", func(o *nsqtest.Options) { o.MaxMsgSize = 2 << 20 })
		publishSized(d, 1, 2<<20)
		s.consumer(1, func(*Message) error { sleep(10 * time.Second); return nil })
		s.connect(d)
		after(time.Second)
		s.c.ChangeMaxInFlight(10)
		after(time.Second)
		if rdy := rdyOf(d); rdy != 2 {
			s.Errorf("RDY %d with half of the budget in hand, want 2", rdy)
		}
	})
}
