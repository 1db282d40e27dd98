package nsq

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// D51: while nsqd is down, publishes and pings fail at once. nsqd is dialled after
// 100 ms, after 200 ms and so on up to a second. A success resets the delay.
func TestFailFast(t *testing.T) {
	var dials *[]time.Time
	produce(t, func(s *producing) {
		for range 2 {
			s.net.Refuse("a:1", nil)
			*dials = nil
			for range 10_000 {
				start := time.Now()
				for _, err := range []error{s.p.PublishContext(s.Context(), "t", []byte("m")), s.p.nsqd.ping(), s.p.publishAsync(pub("t", []byte("m")), nil, nil)} {
					if !errors.Is(err, ErrNotSent) || !strings.Contains(err.Error(), "connection refused") {
						s.Fatalf("%v", err)
					}
				}
				if d := time.Since(start); d != 0 {
					s.Fatalf("took %v", d)
				}
				sleep(time.Millisecond)
			}
			want := []time.Duration{100, 200, 400, 800, 1000, 1000, 1000}
			for i, at := range (*dials)[1:] {
				wait := want[min(i, len(want)-1)] * time.Millisecond
				if d := at.Sub((*dials)[i]); d < wait*3/4 || d > wait*5/4+time.Millisecond {
					s.Errorf("dial %d came after %v, want about %v", i+1, d, wait)
				}
			}
			if n := len(*dials); n < 4+7 || n > 4+13 {
				s.Errorf("%d dials in 10 s", n)
			}
			s.net.Allow("a:1")
			redialAllowed()
			s.publishes()
			s.d.Disconnect(s.d.Clients()[0].Conn)
			synctest.Wait()
		}
	}, quietly, func(s *scene) { dials = dialTimes(s) })
}

// D51: nsqd is a black hole. The callers that wait for the attempt wait for one
// dial_timeout; callers after it fail at once.
func TestFailFastAfterBlackHole(t *testing.T) {
	produce(t, func(s *producing) {
		s.net.Blackhole("a:1")
		start := time.Now()
		_ = s.p.PublishContext(s.Context(), "t", []byte("m"))
		for range 100 {
			if err := s.p.PublishContext(s.Context(), "t", []byte("m")); !errors.Is(err, context.DeadlineExceeded) {
				s.Errorf("%v", err)
			}
		}
		if d := time.Since(start); d != s.cfg.DialTimeout {
			s.Errorf("took %v", d)
		}
	})
}

// D52: when the connection is lost, commands that were never written are sent once
// over the next one. A command that nsqd may have seen is not.
func TestUnsentIsSentAgain(t *testing.T) {
	produce(t, func(s *producing) {
		if err := s.p.Ping(); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		s.d.StopReading()
		var wg sync.WaitGroup
		publish := func(body string, want error) {
			wg.Go(func() {
				if err := s.p.PublishContext(s.Context(), "t", []byte(body)); !errors.Is(err, want) {
					s.Errorf("%.3s: %v", body, err)
				}
			})
			synctest.Wait()
		}
		publish(strings.Repeat("x", 2000), ErrUnknownOutcome)
		publish("one", nil)
		publish("two", nil)
		s.d.Disconnect(1)
		synctest.Wait()
		s.d.StartReading()
		wg.Wait()
		got := s.stored()
		slices.Sort(got)
		if !slices.Equal(got, []string{"one", "two"}) || s.net.Dials() != 2 {
			s.Errorf("stored %q over %d connections, want one and two over 2", got, s.net.Dials())
		}
	}, func(s *scene) { s.net.Capacity = 1000 })
}

// If no new connection is made in time, the error says why, and how the old one was
// lost.
func TestUnsentIsNotSentAgain(t *testing.T) {
	produce(t, func(s *producing) {
		if err := s.p.Ping(); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		s.d.StopReading()
		ctx, cancel := context.WithTimeout(s.Context(), 500*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		publish := func(ctx context.Context, size int, want ...error) {
			wg.Go(func() {
				err := s.p.PublishContext(ctx, "t", make([]byte, size))
				for _, want := range want {
					if !errors.Is(err, want) || !strings.Contains(err.Error(), "reset") {
						s.Errorf("%d bytes: %v", size, err)
					}
				}
				expectVerdict(s.T, err, false)
			})
			synctest.Wait()
		}
		publish(s.Context(), 2000, ErrUnknownOutcome)
		publish(s.Context(), 1, ErrNotSent)
		publish(ctx, 1, ErrNotSent, context.DeadlineExceeded)
		start := time.Now()
		s.net.Blackhole("a:1")
		s.d.Disconnect(1)
		wg.Wait()
		if d := time.Since(start); d != s.cfg.DialTimeout || s.net.Attempts("a:1") != 2 {
			s.Errorf("%d dials, took %v", s.net.Attempts("a:1"), d)
		}
	}, func(s *scene) { s.net.Capacity = 1000 })
}
