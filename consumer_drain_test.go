package nsq

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// silent makes an nsqd that never replies to CLS.
func silent(d *nsqtest.Nsqd) *nsqtest.Nsqd {
	d.Inject(nsqtest.Fault{Command: "CLS", Reply: []byte{}})
	return d
}

// silenceIsShort fails unless took is the time for which CLOSE_WAIT is waited for: a
// second, and up to a tenth until the run loop looks.
func (s *scene) silenceIsShort(took time.Duration) {
	s.Helper()
	if took < time.Second || took > 1100*time.Millisecond {
		s.Errorf("took %v, want 1 to 1.1 s", took)
	}
}

// D12, N18: an nsqd that does not reply to CLS delays the stop of an idle Consumer by a
// second. Nothing is unfinished.
func TestStopWithHungNSQD(t *testing.T) {
	inScene(t, func(s *scene) {
		a, b := s.nsqd("a:1"), silent(s.nsqd("b:1"))
		s.cfg.StopTimeout = time.Hour
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		s.cfg.MaxInFlight = 2
		s.connect(a, b)
		took, err := s.shutdown(time.Hour)
		s.silenceIsShort(took)
		if err != nil {
			s.Errorf("error %v", err)
		}
		if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "(b:1) nsqd did not reply to CLS") {
			s.Errorf("logged %q, want one warning", got)
		}
	})
}

// N18: a message in flight is waited for: the handler acks it, or its lease ends. The
// second begins then.
func TestSilentNSQDWithAMessageInFlight(t *testing.T) {
	for name, tc := range map[string]struct {
		handler HandlerFunc
		until   time.Duration
	}{
		"acked": {func(*Message) error { sleep(5 * time.Second); return nil }, 5 * time.Second},
		"lease": {func(m *Message) error { m.DisableAutoResponse(); return nil }, 7 * time.Second},
	} {
		for _, how := range []string{"stop", "disconnect"} {
			t.Run(name+" "+how, func(t *testing.T) {
				inScene(t, func(s *scene) {
					d := s.nsqd("a:1", leases(7*time.Second, time.Minute))
					s.consumer(1, tc.handler)
					s.connect(d)
					flood(d, 1)
					synctest.Wait()
					d.StopReading()
					start := time.Now()
					if how == "stop" {
						s.c.Stop()
					} else if err := s.c.DisconnectFromNSQD("a:1"); err != nil {
						s.Error(err)
					}
					for s.net.OpenConns() > 0 {
						sleep(10 * time.Millisecond)
					}
					// nsqd still delivers the message again when its lease is over, and
					// the second may begin with that.
					took := time.Since(start) - tc.until
					if took < time.Second || took > 2210*time.Millisecond {
						s.Errorf("took %v after the message was acked or given up", took)
					}
					s.balanced()
					d.StartReading()
				})
			})
		}
	}
}

// farConn is a connection whose half-close reaches nsqd after 200 ms.
type farConn struct{ *nsqtest.Conn }

func (c farConn) CloseWrite() error {
	sleep(200 * time.Millisecond)
	return c.Conn.CloseWrite()
}

// N18: the second is for CLOSE_WAIT alone. Over a slow network a drain takes longer than
// that, and is left alone.
func TestDrainOverASlowNetwork(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := s.net.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return farConn{conn.(*nsqtest.Conn)}, nil
		}
		d := s.nsqd("a:1")
		d.Inject(nsqtest.Fault{Command: "CLS", Delay: 990 * time.Millisecond})
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		s.connect(d)
		took := s.stopped()
		if got := log.take(); took != 1240*time.Millisecond || len(got) != 0 {
			s.Errorf("took %v, want nsqd's time, 50 ms for a straggler, and the network's time; logged %q", took, got)
		}
	})
}
