package nsq

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

func TestConnPublishes(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		if r := s.connect(); *r != (IdentifyResponse{MaxRdyCount: 2000}) || s.conn.MaxRDY() != 2000 {
			t.Errorf("%+v, max RDY %d", r, s.conn.MaxRDY())
		}
		if s.conn.String() != "a:1" || s.conn.RemoteAddr().String() != "a:1" {
			t.Errorf("%v, %v", s.conn, s.conn.RemoteAddr())
		}
		many, err := MultiPublish("t", [][]byte{[]byte("y"), []byte("z")})
		if err != nil {
			t.Fatal(err)
		}
		s.send(Publish("t", []byte("x")), many, Nop())
		s.expectHeard("response OK", "response OK")
		if got := s.d.Queued("t", ""); !slices.Equal(got, []string{"x", "y", "z"}) {
			t.Errorf("stored %q", got)
		}
		_ = s.conn.Close()
		s.expectHeard("close")
		s.expectOpen(0)
	}, func(_ *Config, o *nsqtest.Options) { o.MaxRdyCount = 2000 })
}

// The delegate hears of each ack and requeue, in order and before it is sent, with
// go-nsq's events.
func TestConnReportsOutcomes(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		s.told.on["finished"] = func(*Conn, *Message) { s.send(Ready(7)) }
		s.told.on["backoff"] = func(*Conn, *Message) { s.send(Ready(0)) }
		s.startConsuming("f", "r", "w", "t")
		m := s.told.message
		if m(0).NSQDAddress != "a:1" || m(0).Attempts != 1 || m(0).Context() != context.Background() {
			t.Errorf("%+v", m(0))
		}
		m(0).Finish()
		m(0).Requeue(0) // too late
		s.expectHeard("finished f", "resume")
		m(1).Requeue(90 * time.Second)
		s.expectHeard("requeued r", "backoff")
		m(2).RequeueWithoutBackoff(-1)
		s.expectHeard("requeued w", "continue")
		m(3).Touch()
		synctest.Wait()
		want := []string{
			"SUB t c", "RDY 10",
			"RDY 7", "FIN " + string(m(0).ID[:]),
			"RDY 0", "REQ " + string(m(1).ID[:]) + " 90000",
			"REQ " + string(m(2).ID[:]) + " 90000",
			"TOUCH " + string(m(3).ID[:]),
		}
		if got := s.d.CommandsOf(1)[1:]; !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
		m(3).Finish()
		s.expectHeard("finished t", "resume")
	})
}

// A delay between 15 h and a year is passed on. Other negative delays than -1 are 0.
func TestConnRequeueDelays(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		s.startConsuming("a", "b", "c")
		for i, delay := range []time.Duration{16 * time.Hour, 365 * 24 * time.Hour, -time.Hour} {
			s.told.message(i).Requeue(delay)
			synctest.Wait()
			want := sprint("REQ %s %d", s.told.message(i).ID[:], []int64{57_600_000, 31_536_000_000, 0}[i])
			if got := commands(s.d, "REQ"); len(got) != i+1 || got[i] != want {
				t.Errorf("delay %v: sent %q, want %q", delay, got, want)
			}
		}
	})
}

// The program may finish a message in OnMessage, or on another goroutine while OnMessage
// waits.
func TestConnFinishWithinOnMessage(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		work := make(chan *Message)
		s.told.on["message"] = func(_ *Conn, m *Message) {
			if string(m.Body) == "at once" {
				m.Finish()
				return
			}
			work <- m
		}
		s.connect()
		s.send(Subscribe("t", "c"), Ready(10))
		s.d.Publish("t", "at once", "x", "y", "z")
		for range 2 {
			m := <-work
			m.Finish() // while OnMessage waits with the next one
			after(10 * time.Second)
		}
		if n := s.d.Stats("t", "c").Finished; n != 3 {
			t.Errorf("%d finished", n)
		}
		(<-work).Finish()
		synctest.Wait()
		if st := s.d.Stats("t", "c"); st.Finished != 4 || st.Delivered != 4 {
			t.Errorf("%+v", st)
		}
	})
}

func TestConnErrors(t *testing.T) {
	t.Run("fatal", func(t *testing.T) {
		inConnScene(t, func(s *connScene) {
			s.connect()
			s.send(Subscribe("t$", "c"))
			s.expectHeard(`error E_BAD_TOPIC SUB topic name "t$" is not valid`, "io EOF", "close")
			s.expectOpen(0)
			if err := s.conn.WriteCommand(Nop()); !errors.Is(err, ErrClosing) {
				t.Errorf("afterwards: %v", err)
			}
			if _, err := s.conn.Connect(); !errors.Is(err, ErrAlreadyConnected) {
				t.Errorf("connecting again: %v", err)
			}
		})
	})
	t.Run("not fatal", func(t *testing.T) {
		inConnScene(t, func(s *connScene) {
			s.startConsuming()
			s.send(Finish(goldenMessageID))
			s.expectHeard("error E_FIN_FAILED FIN 18a5406324a69000 failed ID not in flight")
			s.d.Publish("t", "x")
			s.expectHeard("message x")
			s.told.message(0).Finish()
		})
	})
	t.Run("nonsense", func(t *testing.T) {
		inConnScene(t, func(s *connScene) {
			s.connect()
			s.d.Send(1, []byte("\x00\x00\x00\x06\x00\x00\x00\x09OK"))
			s.expectHeard("io wire: malformed frame: type 9", "close")
			s.expectOpen(0)
		})
	})
}

// D1: the Conn replies to heartbeats whatever the delegate does.
func TestConnHeartbeats(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		blocked := make(chan struct{})
		s.told.on["heartbeat"] = func(*Conn, *Message) { <-blocked }
		s.connect()
		after(time.Hour + time.Second)
		if n := len(commands(s.d, "NOP")); n != 120 {
			t.Errorf("%d NOPs", n)
		}
		s.expectHeard("heartbeat")
		close(blocked)
		if n := len(s.told.take()); n != 119 {
			t.Errorf("told of %d more", n)
		}
	})
}

func TestConnClose(t *testing.T) {
	t.Run("waits for acks", func(t *testing.T) {
		inConnScene(t, func(s *connScene) {
			s.told.on["response CLOSE_WAIT"] = func(c *Conn, _ *Message) { _ = c.Close() }
			s.startConsuming("x", "y")
			s.send(StartClose())
			s.expectHeard("response CLOSE_WAIT")
			if !s.conn.IsClosing() {
				t.Error("not closing")
			}
			s.d.Publish("t", "z") // nsqd sends no more
			after(5 * time.Second)
			s.expectOpen(1)
			s.told.message(0).Finish()
			s.told.message(1).Requeue(0)
			s.expectHeard("finished x", "resume", "requeued y", "backoff", "close")
			s.expectOpen(0)
			if st := s.d.Stats("t", "c"); st.Finished != 1 || st.Requeued != 1 || st.InFlight != 0 {
				t.Errorf("%+v", st)
			}
		})
	})
	t.Run("delivers nothing more", func(t *testing.T) {
		inConnScene(t, func(s *connScene) {
			s.startConsuming("x")
			_ = s.conn.Close()
			s.d.Publish("t", "y")
			s.expectHeard()
			s.told.message(0).Finish()
			s.expectHeard("finished x", "resume", "close")
			s.expectOpen(0)
		})
	})
	t.Run("waits no longer than stop_timeout", func(t *testing.T) {
		inConnScene(t, func(s *connScene) {
			s.startConsuming("x")
			_ = s.conn.Close()
			_ = s.conn.Close()
			after(29 * time.Second)
			s.expectHeard("heartbeat")
			after(time.Second)
			s.expectHeard("io "+errStopTimeout.Error(), "close")
			s.expectOpen(0)
			s.told.message(0).Finish() // is not reported
			s.told.message(0).Touch()
			s.expectHeard()
		}, func(c *Config, o *nsqtest.Options) { o.HeartbeatInterval = 20 * time.Second; c.HeartbeatInterval = 0 })
	})
	t.Run("sends what was written", func(t *testing.T) {
		inConnScene(t, func(s *connScene) {
			s.connect()
			s.d.StopReading()
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() { s.send(Publish("t", []byte(strings.Repeat("x", 64<<10)))) })
			}
			synctest.Wait()
			_ = s.conn.Close()
			s.d.StartReading()
			wg.Wait()
			if got := s.told.take(); len(got) != 11 || got[10] != "close" || len(s.d.Queued("t", "")) != 10 {
				t.Errorf("heard %q, %d stored", got, len(s.d.Queued("t", "")))
			}
		})
	})
	t.Run("is not held up by an nsqd that does not read", func(t *testing.T) {
		inConnScene(t, func(s *connScene) {
			s.connect()
			s.d.StopReading()
			failed := make(chan error)
			go func() { failed <- s.conn.WriteCommand(Publish("t", []byte(strings.Repeat("x", 1<<20)))) }()
			synctest.Wait()
			_ = s.conn.Close()
			err := <-failed
			if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() || !strings.Contains(err.Error(), "a:1") {
				t.Errorf("%v", err)
			}
			s.expectHeard("io "+err.Error(), "close")
			s.expectOpen(0)
		})
	})
	t.Run("before Connect", func(t *testing.T) {
		inConnScene(t, func(s *connScene) {
			_ = s.conn.Close()
			if _, err := s.conn.Connect(); !errors.Is(err, ErrClosing) {
				t.Error(err)
			}
			if err := s.conn.Flush(); !errors.Is(err, ErrClosing) {
				t.Error(err)
			}
			s.expectHeard()
		})
	})
	t.Run("during Connect", func(t *testing.T) {
		inConnScene(t, func(s *connScene) {
			s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: []byte{}})
			failed := make(chan error)
			go func() {
				_, err := s.conn.Connect()
				failed <- err
			}()
			synctest.Wait()
			if _, err := s.conn.Connect(); !errors.Is(err, ErrAlreadyConnected) {
				t.Errorf("a second one: %v", err)
			}
			_ = s.conn.Close()
			if err := <-failed; !errors.Is(err, ErrClosing) {
				t.Error(err)
			}
			s.expectHeard()
			s.expectOpen(0)
		})
	})
}

// D11, D17: whether Connect or Close comes first, at most one connection is made. It is
// closed once and reported once.
func TestConnCloseRacesConnect(t *testing.T) {
	for range 200 {
		inConnScene(t, func(s *connScene) {
			var wg sync.WaitGroup
			var err error
			wg.Go(func() { _, err = s.conn.Connect() })
			wg.Go(func() { _ = s.conn.Close() })
			wg.Wait()
			got := s.told.take()
			switch {
			case err == nil && !slices.Equal(got, []string{"close"}):
				t.Errorf("connected, heard %q", got)
			case err != nil && (len(got) > 0 || !errors.Is(err, ErrClosing)):
				t.Errorf("%v, heard %q", err, got)
			}
			s.expectOpen(0)
		}, func(c *Config, _ *nsqtest.Options) { c.Logger = slog.New(slog.DiscardHandler) })
	}
}

// D2: a lost connection ends without waiting for acks. Later ones do nothing.
func TestConnLost(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		s.startConsuming("x")
		s.d.Kill()
		s.expectHeard("io EOF", "close")
		s.expectOpen(0)
		m := s.told.message(0)
		m.Touch()
		m.Finish()
		if !m.HasResponded() || s.conn.IsClosing() {
			t.Errorf("responded %v, closing %v", m.HasResponded(), s.conn.IsClosing())
		}
		if n, err := s.conn.Write([]byte("NOP\n")); n != 0 || !errors.Is(err, ErrClosing) {
			t.Errorf("wrote %d, %v", n, err)
		}
		s.expectHeard()
	})
}

// No method of a Conn panics before Connect.
func TestConnBeforeConnect(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		c := s.conn
		if c.RemoteAddr() != nil || c.MaxRDY() != 2500 || c.RDY() != 0 || c.IsClosing() || c.String() != "a:1" {
			t.Errorf("%v %d %d", c.RemoteAddr(), c.MaxRDY(), c.RDY())
		}
		if !c.LastMessageTime().Equal(time.Now()) || !c.LastRdyTime().Equal(time.Unix(0, 0)) {
			t.Errorf("%v, %v", c.LastMessageTime(), c.LastRdyTime())
		}
		_, err := c.Write([]byte("NOP\n"))
		for _, err := range []error{err, c.Flush(), c.WriteCommand(Nop())} {
			if err != ErrNotConnected { //nolint:errorlint // go-nsq's users compare
				t.Error(err)
			}
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("read %d, %v", n, err)
		}
	})
}

// Connect may be called again after a failure.
func TestConnConnectFails(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		s.net.Refuse("a:1", nil)
		if _, err := s.conn.Connect(); err == nil || !strings.Contains(err.Error(), "a:1") {
			t.Error(err)
		}
		s.net.Allow("a:1")
		s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Times: 1, Reply: nsqtest.ErrorFrame("E_BAD_BODY", "no"), Close: true})
		_, err := s.conn.Connect()
		refused, ok := errors.AsType[*ProtocolError](err)
		if identify, is := errors.AsType[ErrIdentify](err); !ok || !is || refused.Code != "E_BAD_BODY" {
			t.Errorf("%v, %v", err, identify)
		}
		s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Times: 1, Reply: nsqtest.ResponseFrame("OK")})
		if r, err := s.conn.Connect(); r != nil || err != nil || s.conn.MaxRDY() != 2500 {
			t.Errorf("an nsqd without negotiation: %v, %v", r, err)
		}
		s.send(Publish("t", []byte("x")))
		s.expectHeard("response OK")
	})
	inConnScene(t, func(s *connScene) {
		if _, err := s.conn.Connect(); err == nil || s.net.Dials() != 0 {
			t.Errorf("both compressions: %v, %d dials", err, s.net.Dials())
		}
	}, func(c *Config, _ *nsqtest.Options) { c.Snappy, c.Deflate = true, true })
}

func TestNewConnPanics(t *testing.T) {
	for _, cfg := range []*Config{nil, {}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			NewConn("a:1", cfg, &recordingDelegate{})
		}()
	}
}

// A Conn works without a delegate. Messages that it is sent do not keep it from closing.
func TestConnWithoutDelegate(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		c := NewConn("a:1", s.cfg, nil)
		if _, err := c.Connect(); err != nil {
			t.Fatal(err)
		}
		for _, cmd := range []*Command{Subscribe("t", "c"), Ready(1), Publish("t", []byte("x"))} {
			if err := c.WriteCommand(cmd); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		_ = c.Close()
		s.expectOpen(0)
	})
}

func TestConnTransports(t *testing.T) {
	for _, compression := range []string{"", "snappy", "deflate"} {
		t.Run(compression, func(t *testing.T) {
			inConnScene(t, func(s *connScene) {
				r := s.connect()
				if !r.TLSv1 || r.Snappy != (compression == "snappy") || r.Deflate != (compression == "deflate") || !r.AuthRequired {
					t.Errorf("%+v", r)
				}
				s.send(Subscribe("t", "c"), Ready(1))
				s.send(Publish("t", []byte(strings.Repeat("x", 100_000))))
				synctest.Wait()
				s.told.message(0).Finish()
				synctest.Wait()
				if st := s.d.Stats("t", "c"); st.Finished != 1 {
					t.Errorf("%+v", st)
				}
				if c := s.d.Clients()[0]; !c.TLS || c.Compression != compression {
					t.Errorf("%+v", c)
				}
			}, func(c *Config, o *nsqtest.Options) {
				ca := nsqtest.NewCA(t)
				o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{ca.Issue("a")}}
				o.Snappy, o.Deflate, o.AuthSecret = true, true, "secret"
				c.TlsV1, c.TlsConfig, c.AuthSecret = true, &tls.Config{RootCAs: ca.Roots()}, "secret"
				c.Snappy, c.Deflate = compression == "snappy", compression == "deflate"
			})
		})
	}
}

// D37: a message over max_msg_size is requeued, as by a Consumer.
func TestConnMaxMsgSize(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		s.startConsuming("fits")
		s.d.Publish("t", "does not")
		s.expectHeard()
		id := s.told.message(0).ID
		s.told.message(0).Finish()
		synctest.Wait()
		if got := commands(s.d, "REQ"); len(got) != 1 || strings.Contains(got[0], string(id[:])) || !strings.HasSuffix(got[0], " 90000") {
			t.Errorf("%q", got)
		}
	}, func(c *Config, _ *nsqtest.Options) { c.MaxMsgSize = 5 })
}

func TestConnNotesRDY(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		s.startConsuming()
		s.conn.SetRDY(10)
		at := time.Now()
		after(time.Second)
		s.conn.SetRDY(0)
		s.d.Publish("t", "x")
		s.expectHeard("message x")
		s.told.message(0).Finish()
		if s.conn.RDY() != 0 || s.conn.LastRDY() != 0 || !s.conn.LastRdyTime().Equal(at) || !s.conn.LastMessageTime().Equal(at.Add(time.Second)) {
			t.Errorf("%d, %v, %v", s.conn.RDY(), s.conn.LastRdyTime(), s.conn.LastMessageTime())
		}
		if got := s.d.CommandsOf(1); slices.Contains(got, "RDY 0") {
			t.Errorf("sent %q", got)
		}
	})
}

// A Conn whose connection is cut at any byte, sent or received, ends once and in order.
// The delegate panics if it is called after OnClose.
func TestConnCutAtEveryByte(t *testing.T) {
	for _, side := range []string{"sent", "received"} {
		for cut := 0; ; cut++ {
			whole := false
			inConnScene(t, func(s *connScene) {
				s.told.on["message"] = func(_ *Conn, m *Message) { m.Finish() }
				if side == "sent" {
					s.d.CutAfterSent(cut)
				} else {
					s.d.CutAfterReceived(cut)
				}
				s.d.Publish("t", "x", "y")
				_, err := s.conn.Connect()
				for _, cmd := range []*Command{Subscribe("t", "c"), Ready(1), Publish("t", []byte("z")), StartClose()} {
					_ = s.conn.WriteCommand(cmd)
					synctest.Wait()
				}
				_ = s.conn.Close()
				after(time.Minute)
				got := s.told.take()
				whole = slices.Contains(got, "response CLOSE_WAIT") && !slices.ContainsFunc(got, func(e string) bool { return strings.HasPrefix(e, "io") })
				switch {
				case err != nil && len(got) != 0, err == nil && got[len(got)-1] != "close":
					t.Errorf("cut after %d %s: %v, heard %q", cut, side, err, got)
				}
				s.expectOpen(0)
			})
			if whole || cut > 5000 {
				if cut < 200 || !whole {
					t.Errorf("%s: whole at %d: %v", side, cut, whole)
				}
				break
			}
		}
	}
}

// D54: all methods may be used at once.
func TestConnUsedConcurrently(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		s.told.on["message"] = func(_ *Conn, m *Message) { go m.Finish() }
		s.connect()
		s.send(Subscribe("t", "c"), Ready(100))
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 50 {
					_ = s.conn.WriteCommand(Publish("t", []byte("x")))
					_, _ = s.conn.Write([]byte("NOP\n"))
					_ = s.conn.Flush()
					s.conn.SetRDY(s.conn.RDY() + s.conn.MaxRDY() + s.conn.LastRDY())
					_, _, _ = s.conn.LastMessageTime(), s.conn.LastRdyTime(), s.conn.RemoteAddr()
					s.conn.SetLogger(&logLines{}, LogLevelDebug, "%s")
					_, _ = s.conn.Connect()
				}
				if i == 0 {
					_ = s.conn.Close()
				}
			})
		}
		wg.Wait()
		s.expectOpen(0)
		if got := s.told.take(); got[len(got)-1] != "close" {
			t.Errorf("heard %q last", got[len(got)-1])
		}
	})
}

func TestConnLogger(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		cfg := NewConfig()
		cfg.DialContext = s.net.DialContext
		c := NewConn("a:1", cfg, s.told)
		out, errs := &logLines{}, &logLines{}
		c.SetLogger(out, LogLevelInfo, "")
		c.SetLoggerForLevel(errs, LogLevelError, "<%s>")
		c.SetLoggerForLevel(errs, 99, "<%s>")
		if _, err := c.Connect(); err != nil {
			t.Fatal(err)
		}
		s.d.Send(1, nsqtest.ResponseFrame("_heartbeat_"))
		s.d.Send(1, nsqtest.ErrorFrame("E_FIN_FAILED", "too late"))
		synctest.Wait()
		c.SetLoggerLevel(LogLevelDebug)
		s.d.Send(1, nsqtest.ResponseFrame("_heartbeat_"))
		synctest.Wait()
		_ = c.Close()
		synctest.Wait()
		expectLines(t, out, "DBG  (a:1) heartbeat received", "INF  (a:1) connection closed")
		expectLines(t, errs, `ERR  <a:1> nsqd reported an error err="E_FIN_FAILED too late"`)
	})
}

var _ io.ReadWriter = (*Conn)(nil)
