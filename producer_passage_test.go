package nsq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

const (
	mib      = 1 << 20
	onePause = 50 * time.Millisecond // which the link makes where nsqd may refuse
)

// overTheLimits are publishes that nsqd refuses before it has read all of them.
func overTheLimits(s *producing) map[string]func() error {
	many := slices.Repeat([][]byte{make([]byte, mib)}, 6)
	return map[string]func() error{
		"E_BAD_MESSAGE PUB message too big 2097152 > 1048576": func() error {
			return s.p.PublishContext(s.Context(), "t", make([]byte, 2*mib))
		},
		"E_BAD_MESSAGE DPUB message too big 2097152 > 1048576": func() error {
			return s.p.DeferredPublishContext(s.Context(), "t", time.Minute, make([]byte, 2*mib))
		},
		"E_INVALID DPUB timeout 7200000 out of range 0-3600000": func() error {
			return s.p.DeferredPublishContext(s.Context(), "t", 2*time.Hour, []byte("m"))
		},
		"E_BAD_BODY MPUB body too big 6291484 > 5242880": func() error {
			return s.p.MultiPublishContext(s.Context(), "t", many)
		},
		"E_BAD_MESSAGE MPUB message too big 2097152 > 1048576": func() error {
			return s.p.MultiPublishContext(s.Context(), "t", [][]byte{[]byte("m"), make([]byte, 2*mib)})
		},
		"E_BAD_MESSAGE PUB message too big 1048577 > 1048576": func() error {
			done := make(chan *ProducerTransaction, 1)
			if err := s.p.PublishAsync("t", make([]byte, mib+1), done); err != nil {
				return err
			}
			return (<-done).Error
		},
	}
}

// N15: a publish over nsqd's limits is sent when nothing else is outstanding, and nothing
// follows it: with its connection no other publish is lost, and none is sent twice.
func TestDoubtfulPublishGoesAlone(t *testing.T) {
	for want := range overTheLimits(&producing{}) {
		t.Run(want, func(t *testing.T) {
			var tr *traffic
			produce(t, func(s *producing) {
				s.d.Inject(nsqtest.Fault{Command: "PUB", Match: func(c nsqtest.Command) bool { return len(c.Body) > 0 }, Delay: time.Second})
				var wg sync.WaitGroup
				others := func(from int) {
					for i := range 10 {
						wg.Go(func() {
							if err := s.p.PublishContext(s.Context(), "t", fmt.Appendf(nil, "other %d", from+i)); err != nil {
								s.Errorf("other: %v", err)
							}
						})
					}
					synctest.Wait()
				}
				others(0)
				var err error
				wg.Go(func() { err = overTheLimits(s)[want]() })
				synctest.Wait()
				others(10)
				wg.Wait()
				if err != (ErrProtocol{Reason: want}) { //nolint:errorlint // go-nsq's users compare
					s.Errorf("%v", err)
				}
				tr.mu.Lock()
				defer tr.mu.Unlock()
				sent := strings.Join(tr.writes, "")
				again := strings.LastIndex(sent, "  V2")
				if n := strings.Count(sent[:max(again, 0)], "other"); n != 10 {
					s.Errorf("%d others are sent before the next connection, want 10", n)
				}
				if n := strings.Count(sent, "other"); n != 20 || s.net.Dials() != 2 {
					s.Errorf("%d others are sent over %d connections, want 20 over 2", n, s.net.Dials())
				}
				// Unlike nsqd, the fake reads an MPUB whole before it looks at its messages.
				if len(sent) > mib && !strings.Contains(want, "MPUB message") {
					s.Errorf("%d bytes are sent, the refused body among them", len(sent))
				}
			}, quietly, func(s *scene) { tr = tapped(s) })
		})
	}
}

// N15: nsqd's refusal names the limit. For a minute, or until the connection is lost in
// another way, more is refused without nsqd.
func TestLimitIsRemembered(t *testing.T) {
	for want := range overTheLimits(&producing{}) {
		t.Run(want, func(t *testing.T) {
			produce(t, func(s *producing) {
				publish := overTheLimits(s)[want]
				expect := func(dials int) {
					s.Helper()
					if err := publish(); err != (ErrProtocol{Reason: want}) { //nolint:errorlint // go-nsq's users compare
						s.Errorf("%v", err)
					}
					if n := s.net.Dials(); n != dials {
						s.Errorf("%d dials, want %d", n, dials)
					}
				}
				expect(1)
				s.publishes()
				expect(2)
				expect(2)
				after(time.Minute)
				expect(2) // is sent again
				s.publishes()
				expect(3)
				s.d.Disconnect(s.net.Dials())
				s.publishes()
				expect(4)
				s.publishes()
				if n := s.net.Dials(); n != 5 {
					s.Errorf("%d dials, want 5", n)
				}
			}, quietly)
		})
	}
}

// N15: an nsqd that could not be reached may have restarted with a higher limit.
func TestLimitIsForgottenWithoutNSQD(t *testing.T) {
	produce(t, func(s *producing) {
		publish := func() error { return s.p.Publish("t", make([]byte, mib+1)) }
		if err := publish(); !isRefusal(err, "E_BAD_MESSAGE") {
			s.Error(err)
		}
		s.net.Refuse("a:1", nil)
		if err := s.p.Publish("t", []byte("m")); err == nil {
			s.Error("published without nsqd")
		}
		s.net.Allow("a:1")
		redialAllowed()
		if err := publish(); !isRefusal(err, "E_BAD_MESSAGE") {
			s.Error(err)
		}
		if n := len(commands(s.d, "PUB")); n != 2 {
			s.Errorf("nsqd was asked %d times, want 2", n)
		}
	}, quietly)
}

// N15: what nsqd has accepted on a connection goes with others from then on, and without
// a pause.
func TestAcceptedPublishGoesWithOthers(t *testing.T) {
	produce(t, func(s *producing) {
		d := s.nsqd("b:1", func(o *nsqtest.Options) { o.MaxMsgSize = 10 * mib })
		p, err := NewProducer("b:1", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		defer p.Stop()
		publish := func(size int, want time.Duration) {
			s.Helper()
			start := time.Now()
			if err := p.PublishContext(s.Context(), "t", make([]byte, size)); err != nil {
				s.Error(err)
			}
			if d := time.Since(start); d != want {
				s.Errorf("%d bytes took %v, want %v", size, d, want)
			}
		}
		publish(mib, 0)
		publish(3*mib, onePause)
		publish(2*mib, 0)
		publish(3*mib, 0)
		publish(3*mib+1, onePause)
		// nsqd reads nothing during a delay: it is to end well before a write times out.
		delay := s.cfg.WriteTimeout / 2
		d.Inject(nsqtest.Fault{Command: "PUB", Delay: delay})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				sleep(time.Duration(i))
				publish(2*mib, time.Duration(i+1)*delay-time.Duration(i))
			})
		}
		after(time.Millisecond)
		p.nsqd.outstanding.mu.Lock()
		if n := p.nsqd.outstanding.used; n != 4*(2*mib+commandSize) {
			s.Errorf("%d bytes are outstanding, want four publishes", n)
		}
		p.nsqd.outstanding.mu.Unlock()
		wg.Wait()
		d.ClearFaults()
		d.Disconnect(1)
		synctest.Wait()
		publish(3*mib, onePause) // nsqd may have restarted
	}, quietly)
}

// N15: callers that wait to go alone leave when their contexts end, and Stop ends them.
func TestDoubtfulPublishGivesUp(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: 3 * time.Second})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.p.PublishContext(s.Context(), "t", []byte("m")); err != nil {
				s.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := s.p.PublishContext(s.Context(), "t", make([]byte, 2*mib)); !errors.Is(err, ErrStopped) {
				s.Errorf("%v", err)
			}
		})
		synctest.Wait()
		start := time.Now()
		s.p.Stop()
		wg.Wait()
		if d := time.Since(start); d != 3*time.Second {
			s.Errorf("Stop took %v, want 3s", d)
		}
	}, quietly)
}

// N15: publishes wait to go alone, and nsqd refuses the first and names its limit. The others
// that exceed the limit are refused without another connection.
func TestDoubtfulPublishesWaitForOneRefusal(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Delay: time.Second}) // meanwhile all of them wait
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := s.p.PublishContext(s.Context(), "t", make([]byte, 2*mib)); !isRefusal(err, "E_BAD_MESSAGE") {
					s.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		if n := len(commands(s.d, "PUB")); n != 1 || s.net.Dials() != 1 {
			s.Errorf("nsqd was asked %d times over %d connections, want once", n, s.net.Dials())
		}
	}, quietly)
}

// N15: nsqd's refusal counts when it comes. It also ends the connection, and is the reason
// that other publishes get when that has ended. nsqd may have restarted by then.
func TestRefusalCountsOnce(t *testing.T) {
	inScene(t, func(s *scene) {
		quietly(s)
		s.cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := s.net.DialContext(ctx, network, addr)
			return slowToClose{conn}, err
		}
		d := s.nsqd("a:1", func(o *nsqtest.Options) { o.MaxMsgSize = 1000 })
		d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Delay: time.Second})
		p, err := NewProducer("a:1", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		defer p.Stop()
		tooBig := func() {
			if err := p.PublishContext(s.Context(), "t", make([]byte, 1001)); !isRefusal(err, "E_BAD_MESSAGE") {
				s.Errorf("%v", err)
			}
		}
		var wg sync.WaitGroup
		wg.Go(tooBig) // refused after 1 s, when the connection begins to close
		synctest.Wait()
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(s.Context(), time.Second)
			defer cancel()
			if err := p.PublishContext(ctx, "t", []byte("behind it")); !errors.Is(err, ErrUnknownOutcome) {
				s.Errorf("%v", err)
			}
		})
		after(2 * time.Second)
		s.net.Refuse("a:1", nil)
		if err := p.Publish("t", []byte("m")); err == nil {
			s.Error("published without nsqd")
		}
		s.net.Allow("a:1")
		wg.Wait()
		redialAllowed()
		tooBig()
		if n := len(commands(d, "PUB")); n != 2 {
			s.Errorf("nsqd was asked %d times, want twice", n)
		}
	})
}

// slowToClose is a connection whose Close takes two seconds, as that of TLS may.
type slowToClose struct{ net.Conn }

func (c slowToClose) Close() error {
	sleep(2 * time.Second)
	return c.Conn.Close()
}

// After a reply that is none to a publish, a later one cannot be matched to its publish,
// even if it came in the same piece.
func TestRepliesBehindAnUnexpectedOne(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{
			Command: "PUB", Times: 1, Delay: time.Second,
			Reply: slices.Concat(nsqtest.ResponseFrame("WHAT"), nsqtest.ResponseFrame("OK")),
		})
		var wg sync.WaitGroup
		for _, body := range []string{"first", "second"} {
			wg.Go(func() {
				err := s.p.PublishContext(s.Context(), "t", []byte(body))
				if !errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), `unexpected reply: "WHAT"`) {
					s.Errorf("%s: %v", body, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		s.publishes()
	}, quietly)
}
