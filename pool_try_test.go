package nsq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// With a deadline a publish is not over when all nsqds are down.
func TestPoolTriesUntilTheDeadline(t *testing.T) {
	inPool(t, func(s *pooling) {
		for _, d := range s.nsqds {
			d.Kill()
		}
		time.AfterFunc(3*time.Second, s.nsqds[1].Restart)
		ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if err := s.pool.PublishContext(ctx, "t", []byte("m")); err != nil {
			s.Error(err)
		}
		if d := time.Since(start); d < 3*time.Second || d > 5*time.Second {
			s.Errorf("took %v", d)
		}
		s.nsqds[1].Kill()
		synctest.Wait()
		start = time.Now()
		ctx, cancel = context.WithTimeout(s.Context(), 10*time.Second)
		defer cancel()
		err := s.pool.PublishContext(ctx, "t", []byte("m"))
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) || d != 10*time.Second {
			s.Errorf("%v after %v", err, d)
		}
		for _, addr := range []string{"a:1", "b:1", "c:1"} {
			if !strings.Contains(fmt.Sprint(err), "["+addr+"]") {
				s.Errorf("%v without %s", err, addr)
			}
		}
		s.expectStored(0, 1, 0)
	}, quietly)
}

// So it is when all refuse for reasons of their own, but not when the message is
// refused.
func TestPoolTriesAgainWhatFailed(t *testing.T) {
	inPool(t, func(s *pooling) {
		for _, d := range s.nsqds {
			d.Reject("PUB", "E_PUB_FAILED", "disk is full")
			d.Reject("MPUB", "E_BAD_MESSAGE", "too big")
		}
		ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if err := s.pool.MultiPublishContext(ctx, "t", [][]byte{[]byte("m")}); err == nil || time.Since(start) > 0 {
			s.Errorf("%v after %v", err, time.Since(start))
		}
		time.AfterFunc(3*time.Second, func() {
			for _, d := range s.nsqds {
				d.ClearFaults()
			}
		})
		if err := s.pool.PublishContext(ctx, "t", []byte("m")); err != nil || time.Since(start) > 4*time.Second {
			s.Errorf("%v after %v", err, time.Since(start))
		}
		// About one try in 100 ms of each nsqd.
		if n := len(commands(s.nsqds[0], "PUB")); n < 20 || n > 50 {
			s.Errorf("%d tries", n)
		}
	}, quietly)
}

// Who allows duplicates has no loss: what may be stored is stored elsewhere, too.
func TestPoolAllowDuplicates(t *testing.T) {
	for name, fault := range map[string]nsqtest.Fault{
		"no answer": {Command: "MPUB", Mute: true, Close: true},
		"midway":    {Command: "MPUB", Reply: nsqtest.ErrorFrame("E_MPUB_FAILED", "disk is full"), Close: true},
	} {
		t.Run(name, func(t *testing.T) {
			inPool(t, func(s *pooling) {
				s.pool.AllowDuplicates(true)
				s.nsqds[0].Inject(fault)
				s.nsqds[1].Inject(fault)
				m := [][]byte{[]byte("m")}
				if err := s.pool.MultiPublish("t", m); err != nil {
					s.Error(err)
				}
				if got := s.stored(); got[2] != 1 {
					s.Errorf("stored %v", got)
				}
				after(time.Second)
				s.nsqds[2].Kill()
				s.nsqds[1].Kill()
				s.nsqds[1].ClearFaults()
				s.nsqds[1].Reject("MPUB", "E_BAD_TOPIC", "") // which is after it was given to others
				s.nsqds[1].Restart()
				synctest.Wait()
				for range 2 {
					err := s.pool.MultiPublish("t", m)
					unknown := verdictOf(err).MayBeStored()
					refused := isRefusal(err, "E_BAD_TOPIC")
					if err == nil || errors.Is(err, ErrNotSent) || unknown == refused {
						s.Errorf("%v", err)
					}
					after(time.Second)
				}
				s.pool.AllowDuplicates(false)
			}, quietly)
		})
	}
}

// Whoever allows duplicates is told of no message that is not stored that it is,
// and of few that it may not be.
func TestRandomLivesWithDuplicates(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.pool.AllowDuplicates(true)
		rng := rand.New(rand.NewPCG(7, 0))
		for _, d := range s.nsqds {
			d.Inject(nsqtest.Fault{Command: "PUB", Match: func(nsqtest.Command) bool { return rng.IntN(5) == 0 }, Mute: true, Close: true})
		}
		unknown := 0
		for i := range 500 { // one after the other: rng is theirs by turns
			body := fmt.Sprint(i)
			err := s.pool.Publish("t", []byte(body))
			synctest.Wait()
			copies := 0
			for _, d := range s.nsqds {
				for _, m := range d.Queued("t", "") {
					if m == body {
						copies++
					}
				}
			}
			switch {
			case errors.Is(err, ErrNotSent):
				s.Errorf("%v with %d copies", err, copies)
			case errors.Is(err, ErrUnknownOutcome):
				unknown++
			case err != nil || copies == 0:
				s.Errorf("%v with %d copies", err, copies)
			}
			after(200 * time.Millisecond)
		}
		if unknown > 20 { // one in 125
			s.Errorf("%d of 500 unknown", unknown)
		}
	}, quietly)
}

func TestPoolLoggers(t *testing.T) {
	inPool(t, func(s *pooling) {
		var all, errs logLines
		s.pool.SetLogger(&all, LogLevelInfo)
		s.pool.SetLoggerForLevel(&errs, LogLevelError)
		s.nsqds[1].Kill()
		s.publish(3)
		if got := errs.take(); len(got) != 1 || !strings.Contains(got[0], "(b:1) not connected") {
			s.Errorf("errors: %q", got)
		}
		if got := strings.Join(all.take(), "\n"); !strings.Contains(got, "(a:1) connecting") || !strings.Contains(got, "(c:1) connecting") {
			s.Errorf("lines: %q", got)
		}
		s.pool.SetLoggerLevel(LogLevelError)
		s.pool.Stop()
		if got := all.take(); len(got) != 0 {
			s.Errorf("lines: %q", got)
		}
	})
}

// An nsqd that is listed between the last look for one and the wait is tried.
// That it was not is no success when all before it were let go.
func TestPoolWaitSeesTheLatest(t *testing.T) {
	inPool(t, func(s *pooling) {
		gone := &poolMember{}
		tries := &poolTries{}
		tries.LetGo(gone)
		if err := s.pool.wait(s.Context(), tries); err != nil {
			s.Errorf("%v, verdict %v", err, triesError(tries, nil))
		}
		if m, err := s.pool.choose(tries); m == nil || err != nil {
			s.Errorf("%v, %v", m, err)
		}
	})
}

// A member's last error is that of the latest ping, and stays when it is healthy
// again.
func TestPoolLastErrorWhileProbing(t *testing.T) {
	inPool(t, func(s *pooling) {
		lastError := func() error { return s.pool.Snapshot()[1].LastError }
		s.publish(3)
		if err := lastError(); err != nil {
			s.Errorf("before a failure: %v", err)
		}
		s.nsqds[1].Reject("PUB", "E_PUB_FAILED", "disk is full")
		s.publish(3)
		if err := lastError(); !isRefusal(err, "E_PUB_FAILED") {
			s.Errorf("after the publish: %v", err)
		}
		s.nsqds[1].Kill()
		after(5 * time.Second)
		if err := lastError(); !errors.Is(err, syscall.ECONNREFUSED) {
			s.Errorf("while it is down: %v", err)
		}
		s.net.Blackhole("b:1")
		after(5 * time.Second)
		if err := lastError(); !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("while it is a black hole: %v", err)
		}
		s.net.Allow("b:1")
		s.nsqds[1].Restart()
		after(5 * time.Second)
		s.expectHealthy(true, true, true)
		if err := lastError(); !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("when it is healthy again: %v", err)
		}
	}, quietly)
}
