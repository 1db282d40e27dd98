package nsq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// A single message is sent at once. The more messages are in flight, the more are sent
// together.
func TestBatcherGrowsWithTheLoad(t *testing.T) {
	inBatcher(t, BatchOptions{}, func(s *batching) {
		if err := s.b.Publish("t", []byte("alone")); err != nil {
			s.Error(err)
		}
		s.expectPublished("PUB t")
		s.expectIdle()
		s.slowly()
		s.publishAll(0, 100)
		s.expectNoResult()
		s.wg.Wait()
		want := []string{"alone"}
		for i := range 100 {
			want = append(want, fmt.Sprint(i))
			if err := s.result(fmt.Sprint(i)); err != nil {
				s.Error(err)
			}
		}
		if got := s.stored(); !slices.Equal(got, want) {
			s.Errorf("stored %q, want %q", got, want)
		}
		// The first 17 alone, then 8 batches of 2, 6 of 3, 4 of 4, 3 of 5 and 3 of 6.
		s.expectPublished(slices.Concat(slices.Repeat([]string{"PUB t"}, 1+17), slices.Repeat([]string{"MPUB t"}, 24))...)
		s.expectIdle()
	})
}

// A full batch is sent at once, whatever is in flight.
func TestBatcherFullBatches(t *testing.T) {
	for name, opts := range map[string]BatchOptions{
		"messages": {MaxMessages: 10},
		"bytes":    {MaxBytes: 4 + 10*(4+5)},
		"not even": {MaxBytes: 4 + 10*(4+5) + 8},
	} {
		t.Run(name, func(t *testing.T) {
			inBatcher(t, opts, func(s *batching) {
				release := s.hold()
				for i := range 25 {
					s.publish(s.Context(), fmt.Sprintf("%05d", i))
				}
				s.expectPublished("MPUB t", "MPUB t")
				if n := len(s.stored()); n != 20 {
					s.Errorf("%d stored, want 20", n)
				}
				release()
				s.wg.Wait()
				s.expectPublished("MPUB t", "MPUB t", "MPUB t")
				if n := len(s.stored()); n != 25 {
					s.Errorf("%d stored, want 25", n)
				}
			})
		})
	}
}

// A message that exceeds MaxBytes by itself is sent alone.
func TestBatcherLargeMessage(t *testing.T) {
	inBatcher(t, BatchOptions{MaxBytes: 100}, func(s *batching) {
		release := s.hold()
		s.publishAll(0, 3)
		s.publish(s.Context(), strings.Repeat("m", 101))
		s.publishAll(3, 5)
		release()
		s.wg.Wait()
		got := commands(s.d, "PUB", "MPUB")
		slices.Sort(got) // the first two are sent at the same time
		if want := []string{"MPUB t", "MPUB t", "PUB t"}; !slices.Equal(got, want) {
			s.Errorf("nsqd got %q, want %q", got, want)
		}
	})
}

// With a MaxDelay a message waits that long for others, and no longer.
func TestBatcherDelay(t *testing.T) {
	inBatcher(t, BatchOptions{MaxMessages: 5, MaxDelay: 100 * time.Millisecond}, func(s *batching) {
		s.publishAll(0, 1)
		after(60 * time.Millisecond)
		s.publishAll(1, 3)
		after(39 * time.Millisecond)
		s.expectNoResult()
		s.expectPublished()
		after(time.Millisecond)
		s.expectPublished("MPUB t")
		s.publishAll(3, 8) // full
		s.expectPublished("MPUB t", "MPUB t")
		s.publishAll(8, 9)
		after(99 * time.Millisecond)
		s.expectPublished("MPUB t", "MPUB t")
		after(time.Millisecond)
		s.expectPublished("MPUB t", "MPUB t", "PUB t")
		s.wg.Wait()
		for i := range 9 {
			if err := s.result(fmt.Sprint(i)); err != nil {
				s.Error(err)
			}
		}
	})
}

// Batches of different topics do not wait for each other.
func TestBatcherTopics(t *testing.T) {
	inBatcher(t, BatchOptions{}, func(s *batching) {
		release := s.hold()
		s.publishAll(0, 2)
		for _, topic := range []string{"u", "v"} {
			if err := s.b.Publish(topic, []byte("m")); err != nil {
				s.Error(err)
			}
		}
		s.expectNoResult()
		s.expectPublished("PUB u", "PUB v")
		release()
		s.wg.Wait()
		s.expectPublished("PUB u", "PUB v", "MPUB t")
	})
}

// An invalid message is refused before it joins a batch.
func TestBatcherValidates(t *testing.T) {
	inBatcher(t, BatchOptions{MaxDelay: time.Second}, func(s *batching) {
		for want, err := range map[string]error{
			"invalid topic name":     s.b.Publish("a b", []byte("m")),
			"empty message body":     s.b.Publish("t", nil),
			"exceeds max_msg_size 5": s.b.Publish("t", []byte("123456")),
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				s.Errorf("%v, want %q", err, want)
			}
		}
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		if err := s.b.PublishContext(ctx, "t", []byte("m")); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
			s.Errorf("with an ended context: %v", err)
		}
		s.expectIdle()
		if n := s.net.Attempts("a:1"); n != 0 {
			s.Errorf("%d dials, want none", n)
		}
	}, func(s *scene) { s.cfg.MaxMsgSize = 5 })
}

// When nsqd refuses a batch because of its content, the messages are published one by
// one, and each caller gets its own result.
func TestBatcherRefusedBatch(t *testing.T) {
	produce(t, func(base *producing) {
		d := base.nsqd("b:1", func(o *nsqtest.Options) { o.MaxMsgSize, o.MaxBodySize = 20, 1000 })
		p, err := NewProducer("b:1", base.cfg)
		if err != nil {
			base.Fatal(err)
		}
		defer p.Stop()
		b, err := NewBatcher(p, BatchOptions{MaxDelay: time.Millisecond})
		if err != nil {
			base.Fatal(err)
		}
		defer b.Stop()
		var wg sync.WaitGroup
		publish := func(body string, good bool) {
			wg.Go(func() {
				err := b.Publish("t", []byte(body))
				refused, _ := errors.AsType[*ProtocolError](err)
				if good != (err == nil) || !good && (refused == nil || refused.Code != "E_BAD_MESSAGE") {
					base.Errorf("%q: %v", body, err)
				}
			})
		}
		for i := range 6 { // two of them are too big
			publish(strings.Repeat("m", 10+i*2+i/4*20), i < 4)
		}
		wg.Wait()
		synctest.Wait()
		if n := len(d.Queued("t", "")); n != 4 {
			base.Errorf("%d stored, want 4", n)
		}
		for i := range 100 { // all of them together are too big
			publish(fmt.Sprintf("%010d", i), true)
		}
		wg.Wait()
		synctest.Wait()
		if n := len(d.Queued("t", "")); n != 104 {
			base.Errorf("%d stored, want 104", n)
		}
		// The refusal of the batch has named the limit that two exceed: they are not sent.
		if n := len(commands(d, "PUB")); n != 104 {
			base.Errorf("%d PUBs, want 104", n)
		}
	})
}

// When nsqd refuses a batch for another reason, all callers get that result. If any of
// the messages may be stored it is ErrUnknownOutcome.
func TestBatcherRefusals(t *testing.T) {
	for refusal, unknown := range map[string]bool{
		"E_MPUB_FAILED MPUB failed exiting":     true,
		"E_MPUB_FAILED disk is full":            true,
		"E_UNAUTHORIZED AUTH failed":            false,
		"E_INVALID cannot MPUB":                 false,
		"E_SOMETHING_NEW of which we know none": false,
	} {
		t.Run(refusal, func(t *testing.T) {
			inBatcher(t, BatchOptions{MaxDelay: time.Millisecond}, func(s *batching) {
				code, desc, _ := strings.Cut(refusal, " ")
				s.d.Reject("MPUB", code, desc)
				s.publishAll(0, 10)
				s.wg.Wait()
				for i := range 10 {
					err := s.result(fmt.Sprint(i))
					refused, ok := errors.AsType[*ProtocolError](err)
					if !ok || refused.Code != code || errors.Is(err, ErrUnknownOutcome) != unknown || errors.Is(err, ErrNotSent) {
						s.Errorf("%v, want %s, of unknown outcome: %v", err, code, unknown)
					}
				}
				s.expectPublished("MPUB t")
			})
		})
	}
}

// The bytes that wait are bounded. A publish beyond the bound waits until its context
// ends.
func TestBatcherIsBounded(t *testing.T) {
	const size = 1<<20 - 64 // a command counts 64 bytes more
	inBatcher(t, BatchOptions{}, func(s *batching) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Minute, Times: 1})
		for range 17 {
			s.wg.Go(func() {
				if err := s.b.Publish("t", make([]byte, size)); err != nil {
					s.Error(err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := s.b.PublishContext(ctx, "t", []byte("m"))
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) || d != time.Second {
			s.Errorf("%v after %v", err, d)
		}
		s.wg.Wait()
		if n := len(s.stored()); n != 17 {
			s.Errorf("%d stored, want 17", n)
		}
		s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Second, Times: 1})
		for range 16 {
			s.wg.Go(func() { _ = s.b.Publish("t", make([]byte, size)) })
		}
		synctest.Wait()
		s.publish(s.Context(), "no room")
		s.b.Stop()
		if err := s.result("no room"); err != ErrStopped { //nolint:errorlint // as of a Producer
			s.Errorf("no room when stopped: %v", err)
		}
	}, func(s *scene) { s.cfg.WriteTimeout = 5 * time.Minute })
}

func TestBatcherStop(t *testing.T) {
	inBatcher(t, BatchOptions{MaxDelay: time.Minute}, func(s *batching) {
		s.slowly()
		s.publishAll(0, 10)
		start := time.Now()
		s.wg.Go(s.b.Stop)
		s.b.Stop()
		if d := time.Since(start); d != time.Second {
			s.Errorf("took %v, want 1s", d)
		}
		s.wg.Wait()
		for i := range 10 {
			if err := s.result(fmt.Sprint(i)); err != nil {
				s.Error(err)
			}
		}
		s.expectPublished("MPUB t")
		if err := s.b.Publish("t", []byte("m")); err != ErrStopped { //nolint:errorlint // as of a Producer
			s.Errorf("after Stop: %v", err)
		}
		s.publishes() // the Batcher does not stop the Producer
	})
}

// N16: Stop gives up on an nsqd that replies to nothing for 5 seconds, and after 30 seconds
// in any case.
func TestBatcherStopTimeout(t *testing.T) {
	for delay, tt := range map[time.Duration]struct {
		took    time.Duration
		replied int
		cause   error
	}{
		time.Hour:       {5 * time.Second, 0, errLifeless},
		4 * time.Second: {30 * time.Second, 7, errStopTimeout},
	} {
		inBatcher(t, BatchOptions{MaxMessages: 1}, func(s *batching) {
			s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: delay})
			for i := range 10 {
				s.publishAll(i, i+1)
				synctest.Wait()
			}
			start := time.Now()
			s.b.Stop()
			if d := time.Since(start); d != tt.took {
				s.Errorf("took %v, want %v", d, tt.took)
			}
			for i := range 10 {
				err := s.result(fmt.Sprint(i))
				lost := errors.Is(err, ErrUnknownOutcome) && errors.Is(err, tt.cause)
				if i < tt.replied && err != nil || i >= tt.replied && !lost {
					s.Errorf("%d: %v", i, err)
				}
			}
		})
	}
}

func TestNewBatcherRefuses(t *testing.T) {
	for want, opts := range map[string]BatchOptions{
		"MaxMessages -1":      {MaxMessages: -1},
		"MaxMessages 100001":  {MaxMessages: 100_001},
		"MaxBytes -1":         {MaxBytes: -1},
		"MaxBytes 16777217":   {MaxBytes: 16<<20 + 1},
		"MaxDelay -1ns":       {MaxDelay: -1},
		"MaxDelay 1m0.000000": {MaxDelay: time.Minute + 1},
	} {
		if b, err := NewBatcher(&Producer{}, opts); b != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want %q", b, err, want)
		}
	}
}

// F17: whatever happens, each caller learns truthfully whether its message may be
// stored.
func TestRandomLivesOfBatchers(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inPool(t, func(s *pooling) {
				var to Publisher = s.pool
				if seed%2 == 1 {
					p, err := NewProducer("a:1", s.cfg)
					if err != nil {
						s.Fatal(err)
					}
					defer p.Stop()
					to = p
				}
				opts := BatchOptions{MaxMessages: 1 + int(seed)*4, MaxDelay: time.Duration(seed/2) * time.Millisecond}
				randomBatcherLife(s, to, opts, rand.New(rand.NewPCG(seed, 0)))
			}, quietly)
		})
	}
}

func randomBatcherLife(s *pooling, to Publisher, opts BatchOptions, rng *rand.Rand) {
	var mu sync.Mutex
	random := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	oneIn := func(n int) func(nsqtest.Command) bool { return func(nsqtest.Command) bool { return random(n) == 0 } }
	for _, d := range s.nsqds {
		for _, name := range []string{"PUB", "MPUB"} {
			d.Inject(nsqtest.Fault{Command: name, Match: oneIn(100), Mute: true, Close: true})
			d.Inject(nsqtest.Fault{Command: name, Match: oneIn(50), Reply: nsqtest.ErrorFrame("E_BAD_MESSAGE", ""), Close: true})
			d.Inject(nsqtest.Fault{Command: name, Match: oneIn(100), Reply: nsqtest.ErrorFrame("E_"+name+"_FAILED", name+" failed exiting"), Close: true})
			d.Inject(nsqtest.Fault{Command: name, Match: oneIn(5), Delay: 2 * time.Millisecond})
		}
	}
	b, err := NewBatcher(to, opts)
	if err != nil {
		s.Fatal(err)
	}
	results := map[string]error{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for j := 0; ; j++ {
				body := fmt.Sprint(i, " ", j)
				ctx, cancel := context.WithTimeout(s.Context(), time.Duration(random(20_000))*time.Microsecond)
				err := b.PublishContext(ctx, "t", []byte(body))
				cancel()
				mu.Lock()
				results[body] = err
				mu.Unlock()
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(random(5_000)) * time.Microsecond):
				}
			}
		})
	}
	for range 5 {
		sleep(time.Duration(200+random(300)) * time.Millisecond)
		d := s.nsqds[random(3)]
		d.Kill()
		sleep(time.Duration(random(100)) * time.Millisecond)
		d.Restart()
	}
	go func() { // some callers publish after Stop
		sleep(time.Millisecond)
		close(stop)
	}()
	b.Stop()
	wg.Wait()
	s.pool.Stop()
	synctest.Wait()
	stored := s.storedOnce()
	good := 0
	for body, err := range results {
		expectVerdict(s.T, err, stored[body])
		if err == nil {
			good++
		}
	}
	if good*4 < len(results) { // callers that fail at once publish more often
		s.Errorf("%d of %d succeeded, want a quarter at least", good, len(results))
	}
	if len(b.topics) > 0 || b.room.used != 0 {
		s.Errorf("%d topics and %d bytes are left", len(b.topics), b.room.used)
	}
}

// poolOfOne returns a pool of the scene's nsqd.
func poolOfOne(s *batching) Publisher {
	s.Helper()
	pool, err := NewProducerPool([]string{s.d.Addr()}, s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	return pool
}

// A body over max_msg_size fails its own caller only, also when others are in the
// same batch, and when the Batcher does not know the limit.
func TestBatcherTooLargeAmongOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		to        func(s *batching) Publisher
		published []string
	}{
		"Producer":      {func(s *batching) Publisher { return s.p }, []string{"MPUB t"}},
		"ProducerPool":  {poolOfOne, []string{"MPUB t"}},
		"own Publisher": {func(s *batching) Publisher { return wrapped{s.p} }, slices.Repeat([]string{"PUB t"}, 5)},
	} {
		t.Run(name, func(t *testing.T) {
			inBatcher(t, BatchOptions{}, func(s *batching) {
				var err error
				to := tt.to(s)
				if pool, ok := to.(*ProducerPool); ok {
					defer pool.Stop()
				}
				if s.b, err = NewBatcher(to, BatchOptions{MaxDelay: time.Millisecond}); err != nil {
					s.Fatal(err)
				}
				s.publishAll(0, 3)
				s.publish(s.Context(), "123456")
				s.publishAll(3, 5)
				after(time.Second)
				for i := range 5 {
					if err := s.result(fmt.Sprint(i)); err != nil {
						s.Errorf("%d: %v", i, err)
					}
				}
				if err := s.result("123456"); err == nil || !strings.Contains(err.Error(), "message body of 6 bytes exceeds max_msg_size 5") {
					s.Errorf("too large: %v", err)
				}
				if got := s.stored(); !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
					s.Errorf("stored %q", got)
				}
				s.expectPublished(tt.published...)
			}, func(s *scene) { s.cfg.MaxMsgSize = 5 })
		})
	}
}
