package nsq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// When a caller's context ends, its message is taken out of the batch if the batch has
// not been sent yet.
func TestBatcherContexts(t *testing.T) {
	inBatcher(t, BatchOptions{}, func(s *batching) {
		s.slowly()
		release := s.hold()
		ctx, cancel := context.WithCancel(s.Context())
		short, cancelShort := context.WithTimeout(s.Context(), 500*time.Millisecond)
		defer cancelShort()
		s.publishAll(0, 2)
		s.publish(ctx, "taken out")
		s.publish(short, "late")
		s.publishAll(2, 3)
		cancel()
		if err := s.result("taken out"); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
			s.Errorf("left before the batch was sent: %v", err)
		}
		release()
		after(500 * time.Millisecond)
		if err := s.result("late"); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("left after the batch was sent: %v", err)
		}
		s.wg.Wait()
		if got := s.stored(); !slices.Equal(got, []string{"0", "1", "late", "2"}) {
			s.Errorf("stored %q", got)
		}
		for i := range 3 {
			if err := s.result(fmt.Sprint(i)); err != nil {
				s.Error(err)
			}
		}
	})
}

// A caller whose context has ended may change its body, although the batch is still to
// be written.
func TestBatcherBodyAfterLeaving(t *testing.T) {
	inBatcher(t, BatchOptions{MaxDelay: time.Millisecond}, func(s *batching) {
		s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Delay: 500 * time.Millisecond})
		s.publishAll(0, 1)
		ctx, cancel := context.WithTimeout(s.Context(), 100*time.Millisecond)
		defer cancel()
		body := []byte("original")
		if err := s.b.PublishContext(ctx, "t", body); !errors.Is(err, ErrUnknownOutcome) {
			s.Error(err)
		}
		copy(body, "changed!")
		s.wg.Wait()
		if got := s.stored(); !slices.Equal(got, []string{"0", "original"}) {
			s.Errorf("stored %q", got)
		}
	})
}

// A batch is given up when its last caller stops waiting, whether it was sent or not.
func TestBatcherAllCallersLeave(t *testing.T) {
	inBatcher(t, BatchOptions{MaxDelay: time.Minute}, func(s *batching) {
		ctx, cancel := context.WithCancel(s.Context())
		s.publish(ctx, "1")
		s.publish(ctx, "2")
		cancel()
		for _, body := range []string{"1", "2"} {
			if err := s.result(body); !errors.Is(err, ErrNotSent) {
				s.Errorf("%v, want ErrNotSent", err)
			}
		}
		s.expectIdle()
		after(time.Hour)
		s.expectPublished()
	})
	inBatcher(t, BatchOptions{}, func(s *batching) {
		s.net.Blackhole("a:1")
		ctx, cancel := context.WithCancel(s.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		start := time.Now()
		err := s.b.PublishContext(ctx, "t", []byte("m")) // no other caller waits: the error is exact
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) || d != 100*time.Millisecond {
			s.Errorf("%v after %v", err, d)
		}
		s.expectIdle()
	})
}

// When all callers of a batch have deadlines, a pool that is down tries until the
// latest of them.
func TestBatcherDeadlines(t *testing.T) {
	inPool(t, func(s *pooling) {
		for _, d := range s.nsqds {
			d.Kill()
		}
		time.AfterFunc(3*time.Second, s.nsqds[1].Restart)
		b, err := NewBatcher(s.pool, BatchOptions{MaxDelay: time.Millisecond})
		if err != nil {
			s.Fatal(err)
		}
		defer b.Stop()
		var wg sync.WaitGroup
		for _, patience := range []time.Duration{time.Second, 10 * time.Second} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(s.Context(), patience)
				defer cancel()
				start := time.Now()
				err := b.PublishContext(ctx, "t", []byte("m"))
				if d := time.Since(start); errors.Is(err, ErrUnknownOutcome) != (d == time.Second) || d > 5*time.Second {
					s.Errorf("%v after %v", err, d)
				}
			})
		}
		wg.Wait()
		s.expectStored(0, 2, 0)
		if err := b.Publish("t", nil); err == nil {
			s.Error("no error")
		}
	}, quietly)
}

// When a caller leaves while a refused batch is published one by one, its message is
// left out unless it has been sent.
func TestBatcherLeavingARefusedBatch(t *testing.T) {
	inBatcher(t, BatchOptions{MaxDelay: time.Millisecond}, func(s *batching) {
		s.d.Reject("MPUB", "E_BAD_MESSAGE", "one of them")
		s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Second})
		ctx, cancel := context.WithCancel(s.Context())
		s.publish(ctx, "first")
		s.publish(ctx, "second")
		s.publishAll(2, 3)
		after(500 * time.Millisecond)
		cancel()
		if err := s.result("first"); !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrNotSent) {
			s.Errorf("in flight: %v", err)
		}
		if err := s.result("second"); !errors.Is(err, ErrNotSent) || errors.Is(err, ErrUnknownOutcome) {
			s.Errorf("not begun: %v", err)
		}
		s.wg.Wait()
		if err := s.result("2"); err != nil {
			s.Error(err)
		}
		if got := s.stored(); !slices.Equal(got, []string{"first", "2"}) {
			s.Errorf("stored %q", got)
		}
	})
}

// Messages that were taken out of an open batch do not count: the batch is sent when
// the others fill it.
func TestBatcherBytesAfterLeaving(t *testing.T) {
	inBatcher(t, BatchOptions{MaxBytes: 4 + 10*(4+5), MaxDelay: time.Minute}, func(s *batching) {
		ctx, cancel := context.WithCancel(s.Context())
		for i := range 4 {
			s.publish(s.Context(), fmt.Sprintf("%05d", i))
			s.publish(ctx, fmt.Sprintf("gone%d", i))
		}
		cancel()
		for i := range 4 {
			if err := s.result(fmt.Sprintf("gone%d", i)); !errors.Is(err, ErrNotSent) {
				s.Errorf("%d: %v", i, err)
			}
		}
		for i := range 5 {
			s.publish(s.Context(), fmt.Sprintf("%05d", 4+i))
		}
		s.expectPublished() // nine of ten
		s.publish(s.Context(), "00009")
		s.expectPublished("MPUB t")
		s.wg.Wait()
		if n := len(s.stored()); n != 10 {
			s.Errorf("%d stored, want 10", n)
		}
	})
}
