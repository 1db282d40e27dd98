package nsq

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// takeOver ends an nsqd and has another one, which no nsqlookupd lists, listen at its
// address.
func (s *poolDiscovering) takeOver(i int) (stranger *nsqtest.Nsqd) {
	addr := s.nsqds[i].Addr()
	s.nsqds[i].Kill()
	s.la.Unregister("t", addr)
	stranger = s.nsqd(addr)
	synctest.Wait()
	return stranger
}

// N4: another nsqd takes the address of one that has left. It gets no message and no
// connection, whether all nsqlookupds respond or one is down for good.
func TestPoolKeepsOutOfAStranger(t *testing.T) {
	for name, second := range map[string]func(l *nsqtest.Lookupd){
		"all respond": func(*nsqtest.Lookupd) {},
		"one fails":   func(l *nsqtest.Lookupd) { l.Fail(http.StatusInternalServerError, "DOWN") },
		"one hangs":   func(l *nsqtest.Lookupd) { l.Hang() },
	} {
		t.Run(name, func(t *testing.T) {
			inDiscoveredPool(t, func(s *poolDiscovering) {
				second(s.lb)
				s.la.Register("t", "a:1", "b:1")
				after(time.Second)
				if err := s.pool.Publish("t", []byte("m")); err != nil {
					s.Error(err)
				}
				s.publish(9)
				stranger := s.takeOver(0)
				for range 100 {
					s.publish(1)
					after(100 * time.Millisecond)
				}
				after(time.Hour)
				s.publish(10)
				if n := len(stranger.Commands()); n != 0 {
					s.Errorf("the stranger got %d commands: %q", n, stranger.Commands())
				}
				if n := len(s.nsqds[1].Queued("t", "")); n != 115 {
					s.Errorf("%d stored at b, want 115", n)
				}
				s.expectMembers("b:1")
			}, quietly)
		})
	}
}

// N4: a publish to the only nsqd, without a deadline, fails as soon as nsqlookupd says
// that the nsqd has left, and until it is back.
func TestPoolOfAStranger(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1")
		s.publish(1)
		stranger := s.takeOver(0)
		start := time.Now()
		for range 3 {
			err := s.pool.Publish("t", []byte("m"))
			if !errors.Is(err, ErrNotSent) || !errors.Is(err, errNoConsent) || !strings.Contains(err.Error(), "[a:1]") {
				s.Error(err)
			}
		}
		if d := time.Since(start); d > 500*time.Millisecond {
			s.Errorf("took %v, want the time until one poll", d)
		}
		if err := s.pool.Snapshot()[0].LastError; !errors.Is(err, errNoConsent) {
			s.Errorf("last error %v", err)
		}
		if n := len(stranger.Commands()); n != 0 {
			s.Errorf("the stranger got %q", stranger.Commands())
		}
		s.la.Register("t", "a:1") // no stranger after all
		after(time.Second)
		s.expectHealthy(true)
		s.publish(1)
		if n := len(stranger.Queued("t", "")); n != 1 {
			s.Errorf("%d stored, want 1", n)
		}
	}, quietly)
}

// N4: an nsqd that restarts is used again within a second of its registration, at the
// same address or at another.
func TestPoolFindsWhatRestarts(t *testing.T) {
	for addr, i := range map[string]int{"a:1": 0, "c:1": 2} {
		t.Run(addr, func(t *testing.T) {
			for downFor := range 20 {
				inDiscoveredPool(t, func(s *poolDiscovering) {
					s.la.Register("t", "a:1")
					s.publish(1)
					s.nsqds[0].Kill()
					s.la.Unregister("t", "a:1")
					after(time.Duration(downFor) * 970 * time.Millisecond)
					ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
					defer cancel()
					var back time.Time
					time.AfterFunc(time.Second, func() {
						back = time.Now()
						s.nsqds[i].Restart()
						s.la.Register("t", addr)
					})
					if err := s.pool.PublishContext(ctx, "t", []byte("m")); err != nil {
						s.Error(err)
					}
					if d := time.Since(back); d > time.Second {
						s.Errorf("down for %ds: used %v after its registration", downFor, d)
					}
				}, quietly)
			}
		})
	}
}

// N4: if no nsqlookupd responds at all, the old address is dialled.
func TestPoolDialsWithoutLookupds(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1")
		s.publish(1)
		s.la.Fail(http.StatusInternalServerError, "DOWN")
		s.lb.Fail(http.StatusInternalServerError, "DOWN")
		s.nsqds[0].Disconnect(1)
		start := time.Now()
		if err := s.pool.Publish("t", []byte("m")); err != nil {
			s.Error(err)
		}
		if d := time.Since(start); d > 500*time.Millisecond {
			s.Errorf("took %v, want the time until one poll", d)
		}
		s.nsqds[0].Kill()
		after(5 * time.Second)
		s.nsqds[0].Restart()
		ctx, cancel := context.WithTimeout(s.Context(), 3*time.Second)
		defer cancel()
		if err := s.pool.PublishContext(ctx, "t", []byte("m")); err != nil {
			s.Error(err)
		}
	}, quietly)
}

// N4: a publish that waits for the consent of an nsqlookupd obeys its context, others go to
// other nsqds, and Stop waits for none of them.
func TestPoolWaitsForConsent(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1", "b:1")
		s.publish(10)
		s.la.Hang()
		s.lb.Hang()
		s.nsqds[0].Disconnect(1)
		synctest.Wait()
		s.publish(10) // all at b
		s.nsqds[1].Kill()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(s.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := s.pool.PublishContext(ctx, "t", []byte("m"))
		if d := time.Since(start); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) || d != 100*time.Millisecond {
			s.Errorf("%v after %v", err, d)
		}
		ended := make(chan error, 1)
		go func() { ended <- s.pool.Publish("t", []byte("m")) }()
		after(time.Second)
		if n := s.net.Attempts("a:1"); n != 1 {
			s.Errorf("%d dials of a, want 1", n)
		}
		start = time.Now()
		s.pool.Stop()
		if err := <-ended; !errors.Is(err, ErrStopped) {
			s.Error(err)
		}
		if d := time.Since(start); d != 0 {
			s.Errorf("Stop took %v", d)
		}
	}, quietly)
}

// N4: a publish without a deadline waits for an nsqlookupd that hangs for a second at
// most, once another has said that it does not list the nsqd.
func TestPoolDoubtEnds(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1")
		s.publish(1)
		after(5 * time.Minute)
		s.takeOver(0)
		s.lb.Hang()
		start := time.Now()
		if err := s.pool.Publish("t", []byte("m")); !errors.Is(err, errNoConsent) {
			s.Error(err)
		}
		if d := time.Since(start); d > 1500*time.Millisecond {
			s.Errorf("took %v, want the time until one poll, and a second", d)
		}
	}, quietly)
}

// While a listed nsqd is down, a publish without a deadline fails at once, and the nsqd
// is dialled with each poll.
func TestPoolOfOneThatIsDown(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1")
		s.publish(1)
		s.nsqds[0].Kill()
		after(time.Second)
		for range 100 {
			start := time.Now()
			if err := s.pool.Publish("t", []byte("m")); !errors.Is(err, ErrNotSent) || time.Since(start) > 0 {
				s.Errorf("%v after %v", err, time.Since(start))
			}
			after(100 * time.Millisecond)
		}
		if n := s.net.Attempts("a:1"); n < 10 || n > 50 {
			s.Errorf("%d dials in 11s, want about 20", n)
		}
		polls := len(s.la.Requests())
		if polls > 30 {
			s.Errorf("%d polls in 11s, want at most one in 0.4s", polls)
		}
		after(time.Hour)
		if n := len(s.la.Requests()) - polls; n > 180 {
			s.Errorf("%d polls in an hour", n)
		}
	}, quietly)
}

// N4: nsqd ends the connection of a publish that it refuses. That nsqd still listens,
// so no nsqlookupd is asked.
func TestPoolRefusalNeedsNoConsent(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1")
		s.publish(1)
		after(time.Second)
		polls := len(s.la.Requests())
		s.nsqds[0].Inject(nsqtest.Fault{Command: "PUB", Times: 1, Reply: nsqtest.ErrorFrame("E_BAD_TOPIC", ""), Close: true})
		if err := s.pool.Publish("t", []byte("m")); !isRefusal(err, "E_BAD_TOPIC") {
			s.Error(err)
		}
		s.publish(1)
		if n := len(s.la.Requests()) - polls; n != 0 {
			s.Errorf("%d polls", n)
		}
		s.nsqds[0].Reject("PUB", "E_PUB_FAILED", "exiting") // it may be
		if err := s.pool.Publish("t", []byte("m")); !isRefusal(err, "E_PUB_FAILED") {
			s.Error(err)
		}
		after(time.Second)
		if n := len(s.la.Requests()) - polls; n == 0 {
			s.Error("no poll")
		}
	}, quietly)
}

// An nsqd that was let go while it still owed a reply is listed again. The end of the
// old connection says nothing about the new one.
func TestPoolMemberAfterMember(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1")
		s.publish(1)
		s.nsqds[0].Inject(nsqtest.Fault{Command: "PUB", Delay: time.Minute, Times: 1})
		ended := make(chan error, 1)
		go func() { ended <- s.pool.Publish("t", []byte("m")) }()
		synctest.Wait()
		s.la.Unregister("t", "a:1")
		after(40 * time.Second)
		s.expectMembers()
		s.la.Register("t", "a:1")
		after(6 * time.Second)
		s.expectMembers("a:1")
		s.publish(1)
		if err := <-ended; err != nil {
			s.Error(err)
		}
		polls := len(s.la.Requests())
		after(50 * time.Second)
		if n := len(s.la.Requests()) - polls; n > 11 {
			s.Errorf("%d polls in 50s, want 10: no nsqd is lost", n)
		}
		s.expectHealthy(true)
	}, quietly, func(s *scene) { s.cfg.LookupdPollInterval = 5 * time.Second })
}

// An nsqd that is connected needs no consent to take its turns again.
func TestPoolUnlistedButConnected(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1", "b:1")
		s.publish(10)
		s.la.Unregister("t", "a:1") // as if la had restarted
		after(10 * time.Second)
		s.pool.passOver(s.pool.members[0], errors.New("a context has ended"))
		s.expectHealthy(false, true)
		after(time.Second)
		s.expectHealthy(true, true)
	}, quietly, func(s *scene) { s.cfg.LookupdPollInterval = 5 * time.Second })
}

// N4: a response that comes after a publish has stopped waiting for it counts, and lets
// the nsqd be dialled at once.
func TestPoolLateConsent(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		s.la.Register("t", "a:1")
		s.publish(1)
		s.la.Unregister("t", "a:1")
		synctest.Wait() // lb has responded to the first request, too
		s.lb.Handle(func(w http.ResponseWriter, _ *http.Request) {
			sleep(5 * time.Second)
			_, _ = w.Write([]byte(`{"producers":[{"broadcast_address":"a","tcp_port":1,"http_port":2}]}`))
		})
		after(time.Second)
		s.nsqds[0].Disconnect(1)
		lost := time.Now()
		if err := s.pool.Publish("t", []byte("m")); !errors.Is(err, errNoConsent) || time.Since(lost) > 2*time.Second {
			s.Errorf("%v after %v", err, time.Since(lost))
		}
		s.expectHealthy(false)
		sleep(time.Until(lost.Add(5500 * time.Millisecond)))
		synctest.Wait()
		s.expectHealthy(true)
		s.publish(1)
	}, quietly)
}
