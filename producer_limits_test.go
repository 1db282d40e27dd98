package nsq

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// These tests check the figures that the documentation gives, at the limit and just
// beyond it. The figures are literals on purpose. TestAsyncWindow checks those of
// transactions, and internal/fleet those of redials.

// A delay below 0 by less than a millisecond is sent as 0, as go-nsq sends it: what is left
// until a time that has just passed.
func TestDelayJustPassed(t *testing.T) {
	produce(t, func(s *producing) {
		if err := s.p.DeferredPublish("t", 1-time.Millisecond, []byte("m")); err != nil {
			s.Error(err)
		}
		if err := s.p.DeferredPublish("t", -time.Millisecond, []byte("m")); err == nil {
			s.Error("a delay of -1 ms was published")
		}
		if got := commands(s.d, "DPUB"); !slices.Equal(got, []string{"DPUB t 0"}) {
			s.Errorf("nsqd got %q", got)
		}
	})
}

// A delay of a year is sent, a longer one is not.
func TestDelayLimit(t *testing.T) {
	const year = 365 * 24 * time.Hour
	produce(t, func(s *producing) {
		err := s.p.DeferredPublishContext(s.Context(), "t", year, []byte("m"))
		if !isRefusal(err, "E_INVALID") {
			s.Errorf("a year: %v, want nsqd's refusal", err)
		}
		if err := s.p.DeferredPublishContext(s.Context(), "t", year+1, []byte("m")); err == nil || !strings.Contains(err.Error(), "out of range") {
			s.Errorf("over a year: %v", err)
		}
		if got := commands(s.d, "DPUB"); !slices.Equal(got, []string{"DPUB t 31536000000"}) {
			s.Errorf("nsqd got %q", got)
		}
	})
}

// 16 MiB may wait for nsqd, and not a byte more. A message counts its body and 64
// bytes.
func TestOutstandingLimit(t *testing.T) {
	const mebibyte = 1 << 20
	type publish = func(topic string, body []byte) error
	for name, use := range map[string]func(s *batching) (publish, *window){
		"Producer": func(s *batching) (publish, *window) { return s.p.Publish, &s.p.nsqd.outstanding },
		"Batcher":  func(s *batching) (publish, *window) { return s.b.Publish, &s.b.room },
	} {
		for _, beyond := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s+%d", name, beyond), func(t *testing.T) {
				inBatcher(t, BatchOptions{}, func(s *batching) {
					call, w := use(s)
					s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Minute, Times: 1})
					publish := func(size int) {
						s.wg.Go(func() {
							if err := call("t", make([]byte, size)); err != nil {
								s.Error(err)
							}
						})
						synctest.Wait()
					}
					for range 15 {
						publish(mebibyte - 64)
					}
					publish(mebibyte - 64 - 65)
					publish(1 + beyond)
					w.mu.Lock()
					if n := len(w.waiting); n != beyond {
						s.Errorf("%d of 17 publishes wait for room, want %d", n, beyond)
					}
					w.mu.Unlock()
					s.wg.Wait()
					if n := len(s.stored()); n != 17 {
						s.Errorf("%d stored, want 17", n)
					}
				}, func(s *scene) { s.cfg.WriteTimeout = 5 * time.Minute })
			})
		}
	}
}

// The largest BatchOptions are accepted. TestNewBatcherRefuses tries larger ones.
func TestBatchOptionsLimits(t *testing.T) {
	most := BatchOptions{MaxMessages: 100_000, MaxBytes: 16 << 20, MaxDelay: time.Minute}
	if _, err := NewBatcher(&Producer{}, most); err != nil {
		t.Error(err)
	}
}

// A batch has 1000 messages or 1 MiB, unless BatchOptions says otherwise.
func TestBatchDefaults(t *testing.T) {
	inBatcher(t, BatchOptions{MaxDelay: time.Minute}, func(s *batching) {
		s.publishAll(0, 999)
		s.expectPublished()
		s.publishAll(999, 1000)
		s.expectPublished("MPUB t")
		s.publish(s.Context(), strings.Repeat("x", 1<<20-4-4-1)) // a byte less than 1 MiB
		s.expectPublished("MPUB t")
		after(time.Minute)
		s.expectPublished("MPUB t", "PUB t")
		s.publish(s.Context(), strings.Repeat("x", 1<<20-4-4))
		s.expectPublished("MPUB t", "PUB t", "PUB t")
	})
}

// A pool lets an nsqd go that is unlisted for three poll intervals, or for 30 seconds
// if that is longer.
func TestPoolUnlistedLimit(t *testing.T) {
	for interval, grace := range map[time.Duration]time.Duration{
		time.Minute:     3 * time.Minute,
		5 * time.Second: 30 * time.Second,
	} {
		t.Run(interval.String(), func(t *testing.T) {
			inDiscoveredPool(t, func(s *poolDiscovering) {
				s.la.Register("t", "a:1", "b:1")
				s.publish(1)
				s.la.Unregister("t", "b:1")
				after(interval + grace - time.Millisecond) // the next poll finds it missing
				s.expectMembers("a:1", "b:1")
				after(2 * time.Millisecond)
				s.expectMembers("a:1")
			}, func(s *scene) { s.cfg.LookupdPollInterval, s.cfg.LookupdPollJitter = interval, 0 })
		})
	}
}
