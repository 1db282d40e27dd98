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

// A publish with a deadline goes on while all nsqds are down.
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
			s.Errorf("took %v, want 3s and a little more", d)
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
				s.Errorf("%v does not name %s", err, addr)
			}
		}
		s.expectStored(0, 1, 0)
	}, quietly)
}

// It also goes on when all nsqds fail to store the message, but not when one refuses
// the message itself.
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
		// Each nsqd is tried about every 100 ms.
		if n := len(commands(s.nsqds[0], "PUB")); n < 20 || n > 50 {
			s.Errorf("%d tries in 3s, want about 30", n)
		}
	}, quietly)
}

// With duplicates allowed, a message that may be lost is published to another nsqd.
func TestPoolAllowDuplicates(t *testing.T) {
	for name, fault := range map[string]nsqtest.Fault{
		"no reply": {Command: "MPUB", Mute: true, Close: true},
		"midway":   {Command: "MPUB", Reply: nsqtest.ErrorFrame("E_MPUB_FAILED", "disk is full"), Close: true},
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
					s.Errorf("stored %v, want one at c", got)
				}
				after(time.Second)
				s.nsqds[2].Kill()
				s.nsqds[1].Kill()
				s.nsqds[1].ClearFaults()
				s.nsqds[1].Reject("MPUB", "E_BAD_TOPIC", "") // tried after one that may have it
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

// With duplicates allowed, a message whose publish returns nil is stored, and few
// outcomes are unknown.
func TestRandomLivesWithDuplicates(t *testing.T) {
	inPool(t, func(s *pooling) {
		s.pool.AllowDuplicates(true)
		rng := rand.New(rand.NewPCG(7, 0))
		for _, d := range s.nsqds {
			d.Inject(nsqtest.Fault{Command: "PUB", Match: func(nsqtest.Command) bool { return rng.IntN(5) == 0 }, Mute: true, Close: true})
		}
		unknown := 0
		for i := range 500 { // one after the other: no two use rng at once
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
				s.Errorf("%v, with %d copies stored", err, copies)
			case errors.Is(err, ErrUnknownOutcome):
				unknown++
			case err != nil || copies == 0:
				s.Errorf("%v, with %d copies stored", err, copies)
			}
			after(200 * time.Millisecond)
		}
		if unknown > 20 { // one in 125
			s.Errorf("%d of 500 outcomes are unknown, want about 4", unknown)
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

// An nsqd that is listed after choose found none, and before waitForMember looks, is
// tried. Otherwise a publish whose other nsqds were all let go would end without an
// error.
func TestPoolWaitSeesTheLatest(t *testing.T) {
	inPool(t, func(s *pooling) {
		gone := &poolMember{}
		tries := &poolTries{}
		tries.LetGo(gone)
		if err := s.pool.waitForMember(s.Context(), tries); err != nil {
			s.Errorf("%v, and the publish would return %v", err, triesError(tries, nil))
		}
		if m, err := s.pool.choose(s.Context(), tries); m == nil || err != nil {
			s.Errorf("chose %v, %v", m, err)
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
