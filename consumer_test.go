package nsq

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// Each message of two nsqds is handled once and finished at the nsqd that it came from.
// RDY is split evenly in the end.
func TestConsumeFromTwoNSQDs(t *testing.T) {
	inScene(t, func(s *scene) {
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		var mu sync.Mutex
		got := map[string]string{}
		s.consumer(3, func(m *Message) error {
			mu.Lock()
			defer mu.Unlock()
			got[string(m.Body)] = m.NSQDAddress
			if m.Attempts != 1 || m.Timestamp == 0 {
				return fmt.Errorf("attempts %d, timestamp %d", m.Attempts, m.Timestamp)
			}
			return nil
		})
		s.connect(a, b)
		after(rdyMoves)
		want := map[string]string{}
		for i := range 100 {
			for _, d := range []*nsqtest.Nsqd{a, b} {
				body := fmt.Sprintf("%s-%d", d.Addr(), i)
				d.Publish("t", body)
				want[body] = d.Addr()
			}
		}
		synctest.Wait()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("handled %v, want %v", got, want)
		}
		for _, d := range []*nsqtest.Nsqd{a, b} {
			if st := d.Stats("t", "c"); st.Finished != 100 || st.InFlight != 0 {
				s.Errorf("%s: %+v", d.Addr(), st)
			}
			if rdy := commands(d, "RDY"); len(rdy) == 0 || rdy[len(rdy)-1] != "RDY 5" {
				s.Errorf("%s was sent %v, want its half of 10 in the end", d.Addr(), rdy)
			}
		}
		if st := s.c.Stats(); *st != (ConsumerStats{MessagesReceived: 200, MessagesFinished: 200, Connections: 2}) {
			s.Errorf("stats %+v", st)
		}
	})
}

// NewConsumer returns an error for an invalid name or option, and panics for a Config
// that NewConfig did not make.
func TestNewConsumerRefusesWhatIsInvalid(t *testing.T) {
	tests := []struct {
		topic, channel string
		change         func(*Config)
		want           string
	}{
		{"", "c", nil, `invalid topic name ""`},
		{"t", "a b", nil, `invalid channel name "a b"`},
		{"t", "c", func(c *Config) { c.MaxInFlight = -1 }, "MaxInFlight"},
		{"t", "c", func(c *Config) { c.Snappy, c.Deflate = true, true }, "snappy"},
	}
	for _, tt := range tests {
		cfg := NewConfig()
		if tt.change != nil {
			tt.change(cfg)
		}
		_, err := NewConsumer(tt.topic, tt.channel, cfg)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tt.want)) {
			t.Errorf("NewConsumer(%q, %q): error %v, want one about %q", tt.topic, tt.channel, err, tt.want)
		}
	}
	for name, cfg := range map[string]*Config{"nil": nil, "literal": {}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s config: no panic", name)
				}
			}()
			_, _ = NewConsumer("t", "c", cfg)
		}()
	}
}

// Adding a handler after a connect call panics, with go-nsq's text.
func TestAddHandlerAfterConnectPanics(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consumer(1, noError)
		s.connect(s.nsqd("a:1"))
		defer func() {
			if p := recover(); p != "already connected" {
				s.Errorf("recovered %v", p)
			}
		}()
		s.c.AddHandler(HandlerFunc(noError))
	})
}

// Connect and disconnect calls in the wrong state return go-nsq's errors.
func TestConnectErrors(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(0, nil)
		if err := s.c.ConnectToNSQD(d.Addr()); err == nil || err.Error() != "no handlers" {
			s.Errorf("without handlers: error %v", err)
		}
		s.c.AddHandler(HandlerFunc(noError))
		s.connect(d)
		if err := s.c.ConnectToNSQD(d.Addr()); !errors.Is(err, ErrAlreadyConnected) {
			s.Errorf("connected already: error %v", err)
		}
		if err := s.c.DisconnectFromNSQD("b:1"); !errors.Is(err, ErrNotConnected) {
			s.Errorf("disconnect from an unknown address: error %v", err)
		}
		s.stopped()
		if err := s.c.ConnectToNSQD("b:1"); err == nil || err.Error() != "consumer stopped" || !errors.Is(err, ErrStopped) {
			s.Errorf("after the stop: error %v", err)
		}
	})
}

// D1: while all handlers hang for ten minutes the Consumer replies to each heartbeat, and
// the connection stays, even when nsqd delivers a message over it again.
func TestSlowHandlersKeepTheConnection(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", func(o *nsqtest.Options) { o.MsgTimeout = time.Hour; o.MaxMsgTimeout = 2 * time.Hour })
		release := make(chan struct{})
		s.consumer(4, func(*Message) error { <-release; return nil })
		s.connect(d)
		ids := d.Publish("t", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11")
		after(5 * time.Minute)
		d.Resend(ids[0])
		after(5*time.Minute + time.Second)
		if n := len(commands(d, "NOP")); n != 20 {
			s.Errorf("%d NOPs, want one for each of 20 heartbeats", n)
		}
		if n := s.net.Dials(); n != 1 {
			s.Errorf("%d dials, want the first connection to stay", n)
		}
		close(release)
		synctest.Wait()
		if st := d.Stats("t", "c"); st.Finished != 11 || st.InFlight != 0 {
			s.Errorf("after the handlers returned: %+v", st)
		}
	})
}

// D43: an idle connection stays with heartbeats as far apart as read_timeout allows,
// and with nsqd's default interval, 30 s, under a read_timeout that is shorter.
func TestIdleConnectionStays(t *testing.T) {
	for _, tt := range []struct{ heartbeat, read time.Duration }{{time.Minute, time.Minute}, {0, 20 * time.Second}} {
		inScene(t, func(s *scene) {
			s.cfg.HeartbeatInterval, s.cfg.ReadTimeout = tt.heartbeat, tt.read
			d := s.nsqd("a:1")
			s.consumer(1, noError)
			s.connect(d)
			after(time.Hour)
			if n := s.net.Dials(); n != 1 {
				s.Errorf("%+v: %d dials in an idle hour, want 1", tt, n)
			}
		})
	}
}

// D2: a lost connection is dropped and redialled at once, even while handlers hang on its
// messages. Their FINs come too late and do not count as sent.
func TestLostConnectionDoesNotWaitForHandlers(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		release := make(chan struct{})
		s.consumer(2, func(*Message) error { <-release; return nil })
		s.connect(d)
		d.Publish("t", "stuck", "stuck too")
		synctest.Wait()
		d.Disconnect(1)
		after(firstRedial)
		if n := s.net.Dials(); n != 2 {
			s.Errorf("%d dials within the first redial delay, want 2", n)
		}
		after(3 * time.Second) // nsqd may be removing the topic: N2
		if n := s.c.Stats().Connections; n != 1 {
			s.Errorf("Stats counts %d connections, want 1", n)
		}
		close(release)
		synctest.Wait()
		if st := s.c.Stats(); st.MessagesFinished != 0 {
			s.Errorf("FINs for a lost connection are counted as sent: %+v", st)
		}
		after(2 * time.Minute) // nsqd delivers both again
		if st := d.Stats("t", "c"); st.Finished != 2 {
			s.Errorf("%+v, want both finished in the end", st)
		}
	})
}

// Messages that no handler has begun when their connection is lost are dropped: nsqd
// delivers them again.
func TestLostMessagesAreNotHandled(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		release := make(chan struct{})
		var attempts []uint16 // of the one handler
		s.consumer(1, func(m *Message) error {
			attempts = append(attempts, m.Attempts)
			<-release
			return nil
		})
		s.connect(d)
		d.Publish("t", "1", "2", "3")
		synctest.Wait()
		d.Disconnect(1)
		after(10 * time.Second)
		close(release)
		after(2 * time.Minute)
		if !slices.Equal(attempts, []uint16{1, 2, 2, 2}) {
			s.Errorf("handled at attempts %v, want only the begun one at its first", attempts)
		}
		if st := s.c.Stats(); st.MessagesReceived != 6 || st.MessagesFinished != 3 || st.MessagesRequeued != 0 {
			s.Errorf("%+v, want 6 received and 3 finished", st)
		}
	})
}

// The others get a lost nsqd's share of max_in_flight at once, and give it back when
// the nsqd returns.
func TestOthersGetTheShareOfALostNSQD(t *testing.T) {
	inScene(t, func(s *scene) {
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		s.consumer(1, noError)
		s.connect(a, b)
		after(rdyMoves)
		a.Kill()
		after(rdyMoves)
		if got := commands(b, "RDY"); got[len(got)-1] != "RDY 10" {
			s.Errorf("b was sent %q, want all of 10 in the end", got)
		}
		a.Restart()
		after(3*time.Second + rdyMoves) // it was never refused a connection: N2
		for _, d := range []*nsqtest.Nsqd{a, b} {
			if got := commands(d, "RDY"); got[len(got)-1] != "RDY 5" {
				s.Errorf("%s was sent %q, want its half of 10 in the end", d.Addr(), got)
			}
		}
	})
}

// D3: an nsqd that is down is dialled at a bounded rate and found soon after it is
// back, however long it was away.
func TestRedial(t *testing.T) {
	for _, down := range []time.Duration{2 * time.Second, time.Hour} {
		t.Run(down.String(), func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				s.consumer(1, noError)
				s.connect(d)
				d.Kill()
				after(down)
				if n := s.net.Attempts("a:1"); n < 3 || n > 150 {
					s.Errorf("dialled %d times in %v", n, down)
				}
				d.Restart()
				d.Publish("t", "m")
				wait := time.Second
				if down > time.Minute {
					wait += s.cfg.LookupdPollInterval
				}
				after(wait)
				if st := d.Stats("t", "c"); st.Finished != 1 {
					s.Errorf("%v after a downtime of %v: %+v, want the message finished", wait, down, st)
				}
			})
		})
	}
}

// D5: ConnectToNSQDs connects to the nsqds that are up and joins the errors of the
// others, which are dialled again.
func TestConnectToNSQDsTriesAll(t *testing.T) {
	inScene(t, func(s *scene) {
		live := s.nsqd("live:1")
		s.consumer(1, noError)
		err := s.c.ConnectToNSQDs([]string{"dead:1", live.Addr()})
		if err == nil || !strings.Contains(err.Error(), "dead:1") || strings.Contains(err.Error(), "live:1") {
			s.Errorf("error %v, want one about dead:1 only", err)
		}
		live.Publish("t", "m")
		synctest.Wait()
		if st := live.Stats("t", "c"); st.Finished != 1 {
			s.Errorf("live: %+v", st)
		}
		late := s.nsqd("dead:1")
		late.Publish("t", "m")
		after(2 * firstRedial)
		if st := late.Stats("t", "c"); st.Finished != 1 {
			s.Errorf("late: %+v", st)
		}
	})
}

// A loop around ConnectToNSQD ends, whether it waits for nil or for ErrAlreadyConnected,
// and even if a redial in the background connects first.
func TestConnectAgainAfterFailure(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consumer(1, noError)
		if err := s.c.ConnectToNSQD("a:1"); err == nil {
			s.Fatal("connected to an nsqd that is not there")
		}
		s.nsqd("a:1")
		after(10 * firstRedial)
		if n := s.c.Stats().Connections; n != 1 {
			s.Fatalf("%d connections by redials in the background, want 1", n)
		}
		if err := s.c.ConnectToNSQD("a:1"); err != nil {
			s.Errorf("second call: %v", err)
		}
		if err := s.c.ConnectToNSQD("a:1"); !errors.Is(err, ErrAlreadyConnected) {
			s.Errorf("third call: %v", err)
		}
	})
}

// D6: ConnectToNSQD returns nsqd's error reply to SUB. An nsqd that refuses is redialled
// less often.
func TestRefusedSubscription(t *testing.T) {
	for _, code := range []string{"E_INVALID", "E_BAD_TOPIC", "E_BAD_CHANNEL", "E_SUB_FAILED", "E_AUTH_FIRST", "E_AUTH_FAILED", "E_UNAUTHORIZED"} {
		t.Run(code, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				d.Reject("SUB", code, "no")
				s.consumer(1, noError)
				err := s.c.ConnectToNSQD(d.Addr())
				refused, ok := errors.AsType[*ProtocolError](err)
				if !ok || refused.Code != code || refused.Desc != "no" {
					s.Errorf("error %v, want a *ProtocolError with %s", err, code)
				}
				if !strings.Contains(fmt.Sprint(err), "[a:1] failed to subscribe to t:c") {
					s.Errorf("error %q does not say what failed", err)
				}
				after(10 * time.Second)
				if n := s.net.Dials(); n > 10 {
					s.Errorf("%d dials in 10 s, want 10 at most", n)
				}
			})
		})
	}
}

// D19: ChangeMaxInFlight sends the new RDY at once, or nothing if it is the old one. 0 or
// less pauses and keeps the connection.
func TestChangeMaxInFlight(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 5
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		s.connect(d)
		for _, n := range []int{5, 2, 0, -3, 7} {
			s.c.ChangeMaxInFlight(n)
			synctest.Wait()
		}
		d.Publish("t", "m")
		synctest.Wait()
		if got, want := commands(d, "RDY"), []string{"RDY 5", "RDY 2", "RDY 0", "RDY 7"}; !slices.Equal(got, want) {
			s.Errorf("sent %q, want %q", got, want)
		}
		if st := d.Stats("t", "c"); st.Finished != 1 {
			s.Errorf("%+v after the pause, want the message finished", st)
		}
	})
}

// IsStarved reports true once 85 % of RDY is in flight.
func TestIsStarved(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 10
		d := s.nsqd("a:1")
		release := make(chan struct{})
		s.consumer(10, func(*Message) error { <-release; return nil })
		s.connect(d)
		for i, want := range []bool{false, false, false, false, false, false, false, true, true, true} {
			d.Publish("t", "m")
			synctest.Wait()
			if got := s.c.IsStarved(); got != want {
				s.Errorf("%d of 10 in flight: IsStarved is %v, want %v", i+1, got, want)
			}
		}
		close(release)
		synctest.Wait()
		if s.c.IsStarved() {
			s.Error("IsStarved is true with nothing in flight")
		}
	})
}

// D37: max_msg_size limits the body. A message with a larger one is requeued unread,
// and the connection stays.
func TestMaxMsgSize(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxMsgSize = 1000
		d := s.nsqd("a:1")
		var sizes []int
		s.consumer(1, func(m *Message) error { sizes = append(sizes, len(m.Body)); return nil })
		s.connect(d)
		d.Publish("t", strings.Repeat("a", 999), strings.Repeat("b", 1000), strings.Repeat("c", 1001), strings.Repeat("d", 200_000), "e")
		synctest.Wait()
		if !slices.Equal(sizes, []int{999, 1000, 1}) {
			s.Errorf("handled bodies of %v bytes", sizes)
		}
		if st := d.Stats("t", "c"); st.Finished != 3 || st.Requeued != 2 || s.net.Dials() != 1 {
			s.Errorf("%+v, %d dials, want 3 finished and 2 requeued over one", st, s.net.Dials())
		}
	})
}

// D7: an nsqd that accepts the connection and then sends nothing does not delay others.
func TestHungNSQDDelaysNobody(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.DialTimeout = 2 * time.Second // the handshake may take 5 s longer: N5
		hung, live := s.nsqd("hung:1"), s.nsqd("live:1")
		hung.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: []byte{}})
		s.consumer(1, noError)
		live.Publish("t", "m")
		start := time.Now()
		result := make(chan error, 1)
		go func() { result <- s.c.ConnectToNSQDs([]string{hung.Addr(), live.Addr()}) }()
		synctest.Wait()
		if st := live.Stats("t", "c"); st.Finished != 1 {
			s.Errorf("live: %+v", st)
		}
		if err := <-result; err == nil || time.Since(start) != 7*time.Second {
			s.Errorf("error %v after %v, want one after the handshake's 7 s", err, time.Since(start))
		}
	})
}

// D30: an nsqd that does not read holds up nothing but the FINs of its own messages.
func TestFrozenNSQDHoldsUpNobody(t *testing.T) {
	inScene(t, func(s *scene) {
		s.net.Capacity = 512
		frozen, live := s.nsqd("frozen:1"), s.nsqd("live:1")
		s.cfg.MaxInFlight, s.cfg.WriteTimeout = 100, 5*time.Minute
		s.consumer(1, noError)
		s.connect(frozen, live)
		after(rdyMoves)
		frozen.StopReading()
		flood(frozen, 50)
		synctest.Wait()
		for i := range 100 {
			flood(live, 50)
			s.c.ChangeMaxInFlight(90 + i%2) // each change sends an RDY to the frozen one as well
		}
		synctest.Wait()
		if st := live.Stats("t", "c"); st.Finished != 5000 {
			s.Errorf("live: %+v", st)
		}
		frozen.StartReading()
		synctest.Wait()
		if st := frozen.Stats("t", "c"); st.Finished != 50 || s.net.Dials() != 2 {
			s.Errorf("frozen: %+v, %d dials", st, s.net.Dials())
		}
	})
}

// D23: max_in_flight below the number of handlers or of nsqds is warned about, once,
// with the figure to set.
func TestWarnsOfTooFewSlots(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 2
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		s.consumer(3, noError)
		log := s.logged(LogLevelWarning)
		s.connect(a, b)
		if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "set_at_least=3") || !strings.HasPrefix(got[0], "WRN") {
			s.Errorf("logged %q, want one warning", got)
		}
	})
}

// A handler that SetConcurrency has ended does not count once it has returned.
func TestEndedHandlersNeedNoSlots(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 3
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		a.Publish("t", "1", "2", "3")
		hold := make(chan struct{})
		s.consumer(3, func(*Message) error { <-hold; return nil })
		s.connect(a)
		synctest.Wait()
		if err := s.c.SetConcurrency(2); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		close(hold)
		s.c.ChangeMaxInFlight(2)
		synctest.Wait()
		log := s.logged(LogLevelWarning)
		s.connect(b)
		if got := log.take(); len(got) != 0 {
			s.Errorf("logged %q, want nothing", got)
		}
	})
}

// RDY stays within nsqd's max-rdy-count, and the rest of max_in_flight goes to the
// others. A warning names both figures.
func TestRDYStaysWithinMaxRDYCount(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 50
		small := s.nsqd("small:1", func(o *nsqtest.Options) { o.MaxRdyCount = 7 })
		large := s.nsqd("large:1")
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		s.connect(small, large)
		for _, limit := range []int{50, 64, 9} {
			s.c.ChangeMaxInFlight(limit)
			after(rdyMoves)
			if a, b := rdyOf(small), rdyOf(large); a > 7 || a+b != limit {
				s.Errorf("RDY %d of 7 and %d, want %d together", a, b, limit)
			}
		}
		if n := s.net.Dials(); n != 2 {
			s.Errorf("%d dials, want no connection closed for its RDY", n)
		}
		got := log.take()
		if len(got) != 1 || !strings.Contains(got[0], "max_rdy_count=7") || !strings.Contains(got[0], "max_in_flight=50") {
			s.Errorf("logged %q, want one warning", got)
		}
	})
}

// ConnectToNSQD of an nsqd that waits for its redial dials at once, waits for that dial
// and returns its result.
func TestConnectWhileARedialWaits(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		s.connect(d)
		d.Kill()
		after(time.Hour)
		for n := s.net.Attempts("a:1"); s.net.Attempts("a:1") == n; {
			after(time.Second)
		}
		connect := func() (time.Duration, error) {
			if wait := time.Until(s.c.Snapshot().Connections[0].NextDial); wait < 20*time.Second {
				s.Fatalf("a redial is due in %v: too soon for the test to show anything", wait)
			}
			start := time.Now()
			err := s.c.ConnectToNSQD("a:1")
			return time.Since(start), err
		}
		if took, err := connect(); took != 0 || !errors.Is(err, syscall.ECONNREFUSED) {
			s.Errorf("nsqd is down: error %v after %v, want that of a dial at once", err, took)
		}
		d.Inject(nsqtest.Fault{Command: "SUB", Delay: time.Second})
		d.Restart()
		if took, err := connect(); took != time.Second || err != nil {
			s.Errorf("nsqd is back: error %v after %v, want nil after the second of its handshake", err, took)
		}
	})
}

// Only the first failed dial of an outage is logged as an error.
func TestOneErrorPerOutage(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		log := s.logged(LogLevelError)
		s.connect(d)
		for outage := range 3 {
			d.Kill()
			after(10 * time.Minute)
			if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "not connected to nsqd") {
				s.Errorf("outage %d: %d errors logged, want one of a dial; the first are %q", outage, len(got), got[:min(len(got), 2)])
			}
			d.Restart()
			after(2 * time.Minute)
		}
	})
}
