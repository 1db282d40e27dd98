package nsq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// distant is a Publisher at some distance from its nsqd, which stores in no time.
type distant struct {
	roundTrip time.Duration

	mu       sync.Mutex // guards what follows
	stored   []string
	inFlight int
	most     int // in flight at a time
	commands int
}

func (d *distant) PublishContext(ctx context.Context, topic string, body []byte) error {
	return d.MultiPublishContext(ctx, topic, [][]byte{body})
}

func (d *distant) MultiPublishContext(_ context.Context, _ string, bodies [][]byte) error {
	d.mu.Lock()
	d.commands++
	d.inFlight++
	d.most = max(d.most, d.inFlight)
	for _, b := range bodies {
		d.stored = append(d.stored, string(b))
	}
	d.mu.Unlock()
	sleep(d.roundTrip)
	d.mu.Lock()
	d.inFlight--
	d.mu.Unlock()
	return nil
}

// overDistance runs a test for several round trips, with a Batcher over a distant.
func overDistance(t *testing.T, test func(t *testing.T, d *distant, b *Batcher)) {
	t.Helper()
	for _, roundTrip := range []time.Duration{100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond} {
		t.Run(roundTrip.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &distant{roundTrip: roundTrip}
				b, err := NewBatcher(d, BatchOptions{})
				if err != nil {
					t.Fatal(err)
				}
				test(t, d, b)
				b.Stop()
				if len(b.topics) > 0 || b.room.used != 0 {
					t.Errorf("%d topics and %d bytes are left", len(b.topics), b.room.used)
				}
			})
		})
	}
}

// Callers that publish again and again lose no time, however far nsqd is: none starves, and
// the messages of each are stored in order.
func TestBatcherCallersInStep(t *testing.T) {
	const callers, rounds = 64, 100
	overDistance(t, func(t *testing.T, d *distant, b *Batcher) {
		ctx, cancel := context.WithTimeout(t.Context(), rounds*d.roundTrip-d.roundTrip/2)
		defer cancel()
		var published [callers]int
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for ctx.Err() == nil {
					if err := b.Publish("t", fmt.Appendf(nil, "%d %d", c, published[c])); err != nil {
						t.Error(err)
					}
					published[c]++
				}
			})
		}
		wg.Wait()
		for c, n := range published {
			if n < rounds*3/4 { // one that waits for the reply to another batch gets half
				t.Errorf("caller %d: %d messages in %d round trips", c, n, rounds)
			}
		}
		var next [callers]int
		for _, body := range d.stored {
			var c, i int
			if n, err := fmt.Sscan(body, &c, &i); n != 2 || i != next[c] {
				t.Fatalf("stored %q, want message %d of the caller: %v", body, next[c], err)
			}
			next[c]++
		}
		if next != published {
			t.Errorf("stored %v, want %v", next, published)
		}
		if d.commands > len(d.stored)/2 {
			t.Errorf("%d commands for %d messages", d.commands, len(d.stored))
		}
	})
}

// When messages arrive one at a time, the part of a round trip that they wait and the
// number of batches in flight stay small, however many messages are in flight.
func TestBatcherSteadyArrivals(t *testing.T) {
	for _, perRoundTrip := range []int{1, 16, 100, 1000} {
		overDistance(t, func(t *testing.T, d *distant, b *Batcher) {
			var mu sync.Mutex
			var longest time.Duration
			var wg sync.WaitGroup
			for range 20 * perRoundTrip {
				wg.Go(func() {
					start := time.Now()
					if err := b.Publish("t", []byte("m")); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					longest = max(longest, time.Since(start))
				})
				sleep(d.roundTrip / time.Duration(perRoundTrip))
			}
			wg.Wait()

			if longest > d.roundTrip*5/4 {
				t.Errorf("%d in a round trip of %v: took up to %v", perRoundTrip, d.roundTrip, longest)
			}
			if want := min(perRoundTrip+1, 100); d.most > want {
				t.Errorf("%d in a round trip: %d batches in flight, want %d at most", perRoundTrip, d.most, want)
			}
		})
	}
}

// A message that goes alone is published with a context that ends with the caller's, for
// its reason, and has its deadline but none of its values.
func TestBatcherAloneContext(t *testing.T) {
	type key struct{}
	inBatcher(t, BatchOptions{}, func(s *batching) {
		seen := make(chan context.Context, 1)
		var err error
		if s.b, err = NewBatcher(publisherFunc(func(ctx context.Context, _ string, _ []byte) error {
			seen <- ctx
			<-ctx.Done()
			return context.Cause(ctx)
		}), BatchOptions{}); err != nil {
			s.Fatal(err)
		}
		reason := errors.New("reason")
		base, cancel := context.WithCancelCause(context.WithValue(s.Context(), key{}, 1))
		ctx, end := context.WithTimeout(base, time.Minute)
		defer end()
		s.publish(ctx, "m")
		own := <-seen
		got, ok := own.Deadline()
		if want, _ := ctx.Deadline(); !ok || !got.Equal(want) {
			s.Errorf("deadline %v, want %v", got, want)
		}
		if own.Value(key{}) != nil {
			s.Error("the context has the caller's values")
		}
		cancel(reason)
		if err := s.result("m"); !errors.Is(err, reason) {
			s.Errorf("%v, want the reason", err)
		}
		s.publish(context.Background(), "until Stop")
		<-seen
	})
}

// A Publisher that panics in its caller's goroutine leaves nothing in flight.
func TestBatcherAlonePanics(t *testing.T) {
	inBatcher(t, BatchOptions{}, func(s *batching) {
		var err error
		if s.b, err = NewBatcher(publisherFunc(func(context.Context, string, []byte) error { panic("mistake") }), BatchOptions{}); err != nil {
			s.Fatal(err)
		}
		func() {
			defer func() {
				if recover() == nil {
					s.Error("no panic")
				}
			}()
			_ = s.b.Publish("t", []byte("m"))
		}()
		s.expectIdle()
	})
}

// refusing is a distant that refuses every batch for its content.
type refusing struct{ distant }

func (r *refusing) MultiPublishContext(context.Context, string, [][]byte) error {
	return ErrProtocol{Reason: "E_BAD_MESSAGE MPUB message too big 2 > 1"}
}

// While the messages of a refused batch are published one by one, that batch is in flight,
// and others do not wait for its end.
func TestBatcherRefusedBatchHoldsUpNoOther(t *testing.T) {
	const refused = 100
	synctest.Test(t, func(t *testing.T) {
		r := &refusing{distant{roundTrip: time.Second}}
		b, err := NewBatcher(r, BatchOptions{MaxMessages: refused})
		if err != nil {
			t.Fatal(err)
		}
		publish := func() {
			if err := b.Publish("t", []byte("m")); err != nil {
				t.Error(err)
			}
		}
		var wg sync.WaitGroup
		for range aloneInFlight { // the batch fills up behind them
			wg.Go(publish)
		}
		synctest.Wait()
		for range refused {
			wg.Go(publish)
		}
		sleep(2 * time.Second)
		start := time.Now()
		publish()
		if took := time.Since(start); took != r.roundTrip {
			t.Errorf("took %v, want %v", took, r.roundTrip)
		}
		wg.Wait()
		b.Stop()
		if len(b.topics) > 0 || b.room.used != 0 {
			t.Errorf("%d topics and %d bytes are left", len(b.topics), b.room.used)
		}
	})
}
