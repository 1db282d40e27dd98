package nsq

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// causes returns the causes of an error of Health.
func causes(err error) string {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return ""
	}
	var all []string
	for _, err := range joined.Unwrap() {
		if e, ok := errors.AsType[*HealthError](err); ok {
			all = append(all, string(e.Cause))
		}
	}
	return strings.Join(all, " ")
}

// health checks the causes for which the Consumer is not healthy.
func (s *scene) health(want string) {
	s.Helper()
	err := s.c.Health()
	if got := causes(err); got != want || (err == nil) != (want == "") {
		s.Errorf("after %v: health %v, want %q", s.c.elapsed(), err, want)
	}
}

// healthy checks again and again for d, as a probe does, that the Consumer stays healthy.
func (s *scene) healthy(d time.Duration) {
	s.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); after(min(time.Second, time.Until(end))) {
		s.health("")
	}
}

// A Consumer is healthy while it is connected to an nsqd, or while nsqlookupds respond and
// list none.
func TestHealthOfConnections(t *testing.T) {
	t.Run("given nsqd", func(t *testing.T) {
		inScene(t, func(s *scene) {
			d := s.nsqd("a:1")
			s.consumer(1, noError)
			s.health("not_connected")
			s.connect(d)
			s.healthy(time.Hour) // without a message
			d.Kill()
			synctest.Wait()
			s.health("not_connected")
			after(time.Hour)
			s.health("not_connected")
			d.Restart()
			after(2 * time.Minute)
			s.health("")
		})
	})
	t.Run("nsqd that was let go", func(t *testing.T) {
		inScene(t, func(s *scene) {
			d := s.nsqd("a:1")
			release := make(chan struct{})
			s.consumer(1, func(*Message) error { <-release; return nil })
			s.connect(d)
			flood(d, 1)
			synctest.Wait()
			if err := s.c.DisconnectFromNSQD("a:1"); err != nil {
				s.Fatal(err)
			}
			s.health("not_connected") // though the connection ends only with the handler
			close(release)
		})
	})
	t.Run("refused nsqd", func(t *testing.T) {
		inScene(t, func(s *scene) {
			s.consumer(1, noError)
			if err := s.c.ConnectToNSQD("a:1"); err == nil {
				s.Fatal("connected")
			}
			s.health("not_connected")
		})
	})
	t.Run("empty topic", func(t *testing.T) {
		inScene(t, func(s *scene) {
			l := s.lookupd("l:1")
			s.lookupd("m:1").Kill()
			s.consumer(1, noError)
			s.discover("m:1")
			s.health("not_connected")
			if err := s.c.Health(); !strings.Contains(err.Error(), "consumer of t/c: connected to no nsqd, and no nsqlookupd responds: nsqlookupd http://m:1/lookup") {
				s.Error(err)
			}
			s.discover("l:1") // one that responds is enough
			s.healthy(5 * time.Minute)
			l.Kill()
			after(2 * time.Minute)
			s.health("not_connected")
			l.Restart()
			after(2 * time.Minute)
			s.health("")
			l.Register("t", "gone:1") // is refused
			after(2 * time.Minute)
			s.health("not_connected")
			if err := s.c.Health(); !strings.Contains(err.Error(), "connected to no nsqd, although nsqlookupds list 1") {
				s.Error(err)
			}
		})
	})
	t.Run("filtered", func(t *testing.T) {
		inScene(t, func(s *scene) {
			s.lookupd("l:1", s.nsqd("a:1"))
			s.consumer(1, noError).SetBehaviorDelegate(filterFunc(func([]string) []string { return nil }))
			s.discover("l:1")
			s.health("")
		})
	})
	t.Run("nsqlookupds die while connected", func(t *testing.T) {
		inScene(t, func(s *scene) {
			l := s.lookupd("l:1", s.nsqd("a:1"))
			s.consumer(1, noError)
			s.discover("l:1")
			l.Kill()
			s.healthy(5 * time.Minute)
		})
	})
}

type filterFunc func([]string) []string

func (f filterFunc) Filter(addrs []string) []string { return f(addrs) }

// Failing handlers, backoff and Pause do not make a Consumer unhealthy.
func TestHealthInBackoffAndPause(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, func(*Message) error { return errBoom })
		s.connect(d)
		flood(d, 10)
		after(time.Second)
		if s.c.Snapshot().BackoffLevel == 0 {
			s.Fatal("no backoff")
		}
		s.healthy(10 * time.Minute)
		s.c.Pause()
		s.healthy(10 * time.Minute)
	})
}

func TestHealthOfAStop(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		release := make(chan struct{})
		s.consumer(1, func(*Message) error { <-release; return nil })
		s.connect(d)
		flood(d, 1)
		synctest.Wait()
		s.c.Stop()
		s.health("stopping")
		synctest.Wait()
		s.health("stopping")
		close(release)
		<-s.c.Stopped()
		s.health("stopping")
		if err := s.c.Health(); !errors.Is(err, ErrStopped) {
			s.Error(err)
		}
		for range 60 { // a run loop that has ended is not stuck
			after(time.Second)
			s.health("stopping")
		}
	})
}

// A handler is stuck if it is still at work more than stuck_after after the latest end of its
// message's lease, and only then.
func TestHealthOfHandlers(t *testing.T) {
	const stuckAfter = 5 * time.Minute
	for name, tt := range map[string]struct {
		config  func(*Config)
		handler HandlerFunc
		during  func(s *scene, d *nsqtest.Nsqd) // after a second
		stuck   time.Duration                   // when it is stuck; 0: never
	}{
		"quick":          {handler: noError},
		"within a lease": {handler: func(*Message) error { sleep(59 * time.Second); return nil }},
		"honours its context": {handler: func(m *Message) error {
			<-m.Context().Done()
			return m.Context().Err()
		}},
		"ends just in time": {handler: func(m *Message) error {
			<-m.Context().Done()
			sleep(stuckAfter)
			return nil
		}},
		"ignores its context": {
			handler: func(m *Message) error { m.Context(); sleep(time.Hour); return nil },
			stuck:   time.Minute + stuckAfter,
		},
		"asks for no context": {handler: func(*Message) error { sleep(time.Hour); return nil }, stuck: time.Minute + stuckAfter},
		"touches": {handler: func(m *Message) error {
			for range 30 {
				m.Touch()
				sleep(30 * time.Second)
			}
			return nil
		}},
		"touches and then hangs": {
			handler: func(m *Message) error { sleep(30 * time.Second); m.Touch(); sleep(time.Hour); return nil },
			stuck:   90*time.Second + stuckAfter,
		},
		"auto_touch": {
			config:  func(c *Config) { c.AutoTouch = 14 * time.Minute },
			handler: func(*Message) error { sleep(14 * time.Minute); return nil },
		},
		"auto_touch, hangs": {
			config:  func(c *Config) { c.AutoTouch = 10 * time.Minute },
			handler: func(*Message) error { sleep(2 * time.Hour); return nil },
			stuck:   11*time.Minute + stuckAfter,
		},
		"auto_touch beyond max-msg-timeout": {
			config:  func(c *Config) { c.AutoTouch = time.Hour },
			handler: func(*Message) error { sleep(2 * time.Hour); return nil },
			stuck:   15*time.Minute + stuckAfter,
		},
		"loses its connection": { // the handler may need as long as ever
			config:  func(c *Config) { c.AutoTouch = 10 * time.Minute },
			handler: func(*Message) error { sleep(11*time.Minute + stuckAfter); return nil },
			during:  func(_ *scene, d *nsqtest.Nsqd) { d.Disconnect(1) },
		},
		"loses its connection and hangs": {
			handler: func(*Message) error { sleep(time.Hour); return nil },
			during:  func(_ *scene, d *nsqtest.Nsqd) { d.Disconnect(1) },
			stuck:   time.Minute + stuckAfter,
		},
		"has acked":                    {handler: func(m *Message) error { m.Finish(); sleep(time.Hour); return nil }},
		"leaves the message for later": {handler: func(m *Message) error { m.DisableAutoResponse(); return nil }},
		"off": {
			config:  func(c *Config) { c.StuckAfter = 0 },
			handler: func(*Message) error { sleep(time.Hour); return nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.StopTimeout = 3 * time.Hour
				if tt.config != nil {
					tt.config(s.cfg)
				}
				d := s.nsqd("a:1")
				var begun atomic.Int32
				s.consumer(2, func(m *Message) error {
					if begun.Add(1) > 1 { // a redelivery
						m.DisableAutoResponse()
						return nil
					}
					return tt.handler(m)
				})
				s.connect(d)
				flood(d, 1)
				after(time.Second)
				if tt.during != nil {
					tt.during(s, d)
					after(5 * time.Second) // until it is connected again
				}
				if tt.stuck == 0 {
					s.healthy(40 * time.Minute)
					return
				}
				s.healthy(tt.stuck - s.c.elapsed())
				s.health("")
				after(time.Second)
				s.health("handler_stuck")
				e, _ := errors.AsType[*HealthError](s.c.Health())
				if want := "stuck handlers: 1, the longest for 5m1s beyond its lease, with message "; e == nil ||
					e.Topic != "t" || e.Channel != "c" || !e.Cause.NeedsRestart() || !strings.Contains(e.Error(), want) {
					s.Errorf("%+v", e)
				}
			})
		})
	}
}

// Every stuck handler counts, and the Consumer is healthy again when all have returned.
func TestHealthRecovers(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		release := make(chan struct{})
		var begun atomic.Int32
		s.consumer(5, func(m *Message) error {
			if begun.Add(1) > 3 {
				m.DisableAutoResponse()
				return nil
			}
			<-release
			return nil
		})
		s.connect(d)
		flood(d, 3)
		after(time.Hour)
		s.health("handler_stuck")
		if err := s.c.Health(); !strings.Contains(fmt.Sprint(err), "handlers: 3, the longest for 59m0s") {
			s.Error(err)
		}
		close(release)
		synctest.Wait()
		s.health("")
	})
}

// Health notices a run loop that does not respond, without waiting for it as Snapshot would.
// A run loop that is merely slow does not count.
func TestHealthOfTheLoop(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		s.connect(d)
		s.health("")
		synctest.Wait()
		release := make(chan struct{})
		s.c.post(func(time.Time) { <-release }) // as a Logger may
		for range loopStuckAfter / time.Second {
			s.health("")
			after(time.Second)
		}
		s.health("")
		after(time.Second)
		s.health("loop_stuck")
		begin := time.Now()
		if err := s.c.Health(); !strings.Contains(fmt.Sprint(err), "has not responded for 11s") || time.Since(begin) != 0 {
			s.Errorf("%v after %v", err, time.Since(begin))
		}
		close(release)
		synctest.Wait()
		s.healthy(time.Minute)
	})
}

// Many goroutines may call Health at once, even while the Consumer stops.
func TestHealthAtOnce(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(3, func(*Message) error { return s.c.Health() })
		s.connect(d)
		flood(d, 100)
		done := make(chan struct{})
		for range 4 {
			go func() {
				for range 100 {
					_ = s.c.Health()
					sleep(time.Millisecond)
				}
				done <- struct{}{}
			}()
		}
		after(50 * time.Millisecond)
		s.c.Stop()
		for range 4 {
			<-done
		}
		<-s.c.Stopped()
		if sent := s.c.probed.Load(); sent != 0 {
			s.Errorf("the probe of %v waits", time.Duration(sent))
		}
		after(time.Minute)
		s.health("stopping")
	})
}

func TestNeedsRestart(t *testing.T) {
	all := []HealthCause{CauseLoopStuck, CauseHandlerStuck, CauseNotConnected, CauseStopping}
	if got := slices.DeleteFunc(all, func(c HealthCause) bool { return !c.NeedsRestart() }); !slices.Equal(got, []HealthCause{CauseLoopStuck, CauseHandlerStuck}) {
		t.Errorf("%q need a restart", got)
	}
}
