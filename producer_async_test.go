package nsq

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

func TestAsync(t *testing.T) {
	for _, capacity := range []int{0, 1, 10} {
		produce(t, func(s *producing) {
			done := make(chan *ProducerTransaction, capacity)
			body, many := []byte("one"), [][]byte{[]byte("two"), []byte("three")}
			err := errors.Join(
				s.p.PublishAsync("t", body, done, 1, "a"),
				s.p.MultiPublishAsync("t", many, done),
				s.p.DeferredPublishAsync("t", 0, body, done, nil),
				s.p.PublishAsync("t", []byte("four"), nil, "nobody sees this"),
				s.p.DeferredPublishAsync("t", 2*time.Hour, body, done, 2),
			)
			if err != nil {
				s.Error(err)
			}
			copy(body, "xxx")
			copy(many[0], "xxx")
			for _, err := range []error{s.result(done, 1, "a"), s.result(done), s.result(done, nil)} {
				if err != nil {
					s.Error(err)
				}
			}
			if err := s.result(done, 2); err == nil || err.Error() != "E_INVALID DPUB timeout 7200000 out of range 0-3600000" {
				s.Errorf("refused: %v", err)
			}
			if got := s.stored(); !slices.Equal(got, []string{"one", "two", "three", "one", "four"}) {
				s.Errorf("stored %q", got)
			}
			s.expectNoQueues()
		})
	}
}

// A failure before anything is sent is the error of the call. No transaction follows.
func TestAsyncRefusedHere(t *testing.T) {
	produce(t, func(s *producing) {
		done := make(chan *ProducerTransaction, 10)
		m := []byte("m")
		for _, err := range []error{
			s.p.PublishAsync("a b", m, done),
			s.p.PublishAsync("t", nil, done),
			s.p.MultiPublishAsync("t", nil, done),
			s.p.DeferredPublishAsync("t", -time.Millisecond, m, done),
		} {
			if err == nil {
				s.Error("no error")
			}
		}
		if n := s.net.Attempts("a:1"); n != 0 {
			s.Errorf("%d dials", n)
		}
		s.net.Refuse("a:1", nil)
		if err := s.p.publishAsync(pub("t", m), done, nil); !errors.Is(err, ErrNotSent) {
			s.Errorf("without nsqd: %v", err)
		}
		s.p.Stop()
		if err := s.p.PublishAsync("t", m, done); err != ErrStopped { //nolint:errorlint // go-nsq's users compare
			s.Errorf("stopped: %v", err)
		}
		s.expectNoQueues()
		if n := len(done); n != 0 {
			s.Errorf("%d transactions, want none", n)
		}
	})
}

// Each call may have a doneChan of its own. None of them is kept.
func TestAsyncOneShot(t *testing.T) {
	produce(t, func(s *producing) {
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				done := make(chan *ProducerTransaction)
				if err := s.p.PublishAsync("t", []byte("m"), done, i); err != nil {
					s.Error(err)
				} else if err := s.result(done, i); err != nil {
					s.Error(err)
				}
			})
		}
		wg.Wait()
		s.expectNoQueues()
		if n := len(s.stored()); n != 500 {
			s.Errorf("%d stored", n)
		}
	})
}

// D48: a doneChan that is not received from delays neither other publishes nor
// heartbeats, and Stop for a second only.
func TestUndrainedDoneChan(t *testing.T) {
	produce(t, func(s *producing) {
		var log logLines
		s.p.SetLogger(&log, LogLevelWarning)
		stuck, drained := make(chan *ProducerTransaction), make(chan *ProducerTransaction)
		for i := range 100 {
			if err := s.p.PublishAsync("t", []byte("stuck"), stuck, i); err != nil {
				s.Error(err)
			}
		}
		for range 10 {
			after(time.Minute)
			start := time.Now()
			s.publishes()
			if err := s.p.PublishAsync("t", []byte("drained"), drained, "mine"); err != nil {
				s.Error(err)
			} else if err := s.result(drained, "mine"); err != nil {
				s.Error(err)
			}
			if d := time.Since(start); d != 0 {
				s.Errorf("took %v", d)
			}
		}
		if n := len(commands(s.d, "NOP")); n != 19 && n != 20 {
			s.Errorf("%d replies to heartbeats, want about 20", n)
		}
		for i := range 60 { // the earlier transactions were kept, in order
			if err := s.result(stuck, i); err != nil {
				s.Error(err)
			}
		}
		start := time.Now()
		s.p.Stop()
		if d := time.Since(start); d != time.Second {
			s.Errorf("Stop took %v, want 1s", d)
		}
		if n := len(s.stored()); n != 120 || s.net.Dials() != 1 {
			s.Errorf("%d stored, %d connections", n, s.net.Dials())
		}
		if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "transactions=40") {
			s.Errorf("logged %q", got)
		}
	})
}

// D48: 10,000 transactions of a doneChan may be outstanding. A further call waits
// until one is received, or for read_timeout.
func TestAsyncWindow(t *testing.T) {
	produce(t, func(s *producing) {
		done, other := make(chan *ProducerTransaction), make(chan *ProducerTransaction, 1)
		for i := range 10_000 {
			if err := s.p.PublishAsync("t", []byte("m"), done, i); err != nil {
				s.Fatal(err)
			}
		}
		synctest.Wait()
		start := time.Now()
		err := s.p.PublishAsync("t", []byte("m"), done)
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, errNoRoom) || d != s.cfg.ReadTimeout {
			s.Errorf("%v after %v", err, d)
		}
		if err := s.p.PublishAsync("t", []byte("m"), other); err != nil || s.result(other) != nil {
			s.Errorf("another doneChan: %v", err)
		}
		for i := range 3 {
			var waiting sync.WaitGroup
			waiting.Go(func() {
				if err := s.p.PublishAsync("t", []byte("m"), done, 10_000+i); err != nil {
					s.Errorf("after one was received: %v", err)
				}
			})
			after(time.Second)
			if n := len(s.stored()); n != 10_000+1+i {
				s.Errorf("%d stored, want %d", n, 10_000+1+i)
			}
			if err := s.result(done, i); err != nil {
				s.Error(err)
			}
			waiting.Wait()
		}
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if err := s.p.PublishAsync("t", []byte("m"), done); !errors.Is(err, ErrStopped) {
				s.Errorf("stopped: %v", err)
			}
		})
		synctest.Wait()
		s.p.Stop()
		waiting.Wait()
	}, quietly)
}

// Stop delivers transactions as long as they are received, within stop_timeout.
func TestStopDeliversTransactions(t *testing.T) {
	for _, tt := range []struct {
		timeout, took time.Duration
		received      int
	}{
		{30 * time.Second, 49 * 500 * time.Millisecond, 50},
		{2250 * time.Millisecond, 2250 * time.Millisecond, 5},
		{0, 0, 1},
	} {
		produce(t, func(s *producing) {
			done := make(chan *ProducerTransaction)
			for i := range 50 {
				if err := s.p.PublishAsync("t", []byte("m"), done, i); err != nil {
					s.Error(err)
				}
			}
			synctest.Wait()
			var receiver sync.WaitGroup
			gone := make(chan struct{})
			received := 0
			receiver.Go(func() {
				for {
					select {
					case tr := <-done:
						if tr.Error != nil || tr.Args[0] != received {
							s.Errorf("%d: %v %v", received, tr.Args, tr.Error)
						}
						received++
						sleep(500 * time.Millisecond)
					case <-gone:
						return
					}
				}
			})
			synctest.Wait()
			start := time.Now()
			s.p.Stop()
			if d := time.Since(start); d != tt.took {
				s.Errorf("took %v, want %v", d, tt.took)
			}
			close(gone)
			receiver.Wait()
			if received != tt.received {
				s.Errorf("%d of 50 received within %v, want %d", received, tt.timeout, tt.received)
			}
		}, func(s *scene) { s.cfg.StopTimeout = tt.timeout })
	}
}

// Stop waits for nsqd's replies to what was published before.
func TestStopDrainsAsync(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Second})
		done := make(chan *ProducerTransaction, 20)
		for i := range 20 {
			if err := s.p.PublishAsync("t", []byte("m"), done, i); err != nil {
				s.Error(err)
			}
		}
		s.p.Stop()
		for i := range 20 {
			if err := s.result(done, i); err != nil {
				s.Error(err)
			}
		}
	})
}

// When the connection is lost, each transaction says whether nsqd may have the
// message.
func TestAsyncVerdicts(t *testing.T) {
	produce(t, func(s *producing) {
		if err := s.p.Ping(); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		s.d.StopReading()
		done := make(chan *ProducerTransaction)
		for i, size := range []int{2000, 1, 1} {
			if err := s.p.PublishAsync("t", make([]byte, size), done, i); err != nil {
				s.Error(err)
			}
			synctest.Wait()
		}
		s.d.Disconnect(1)
		for i, want := range []error{ErrUnknownOutcome, ErrNotSent, ErrNotSent} {
			err := s.result(done, i)
			if !errors.Is(err, want) {
				s.Errorf("%d: %v", i, err)
			}
			expectVerdict(s.T, err, false)
		}
		s.d.StartReading()
		if err := s.p.PublishAsync("t", fmt.Append(nil, "again"), done); err != nil || s.result(done) != nil {
			s.Errorf("after the loss: %v", err)
		}
	}, func(s *scene) { s.net.Capacity = 1000 })
}

// A transaction does not overtake others that wait to be received.
func TestTransactionsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		qs := newTransactionQueues(t.Context(), slog.New(slog.DiscardHandler), "", 0)
		done := make(chan *ProducerTransaction, 1)
		posted, received := 0, 0
		post := func() {
			q, err := qs.reserve(done)
			if err != nil {
				t.Fatal(err)
			}
			qs.post(q, &ProducerTransaction{Args: []any{posted}})
			posted++
		}
		receive := func() {
			if tr := <-done; tr.Args[0] != received {
				t.Errorf("received %v, want %d", tr.Args, received)
			}
			received++
		}
		for range 1000 {
			for range 5 {
				post()
			}
			synctest.Wait()
			receive()
			receive()
			post() // done has room, but the goroutine that drains the queue has not used it yet
			for received < posted {
				receive()
			}
			synctest.Wait()
		}
		qs.deliverRest(t.Context())
		if len(qs.open) != 0 {
			t.Errorf("%d queues", len(qs.open))
		}
	})
}
