package nsq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// D12: a consumer in any state stops: without handlers, without a connection.
func TestStopWithoutConnection(t *testing.T) {
	for _, handlers := range []int{0, 1, 5} {
		inScene(t, func(s *scene) {
			s.consumer(handlers, noError)
			if took := s.stopped(); took != 0 {
				t.Errorf("%d handlers: took %v", handlers, took)
			}
		})
	}
}

func TestStopWhenIdle(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(3, noError)
		s.connect(d)
		if took := s.stopped(); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if n := len(d.Clients()); n != 0 {
			t.Errorf("%d clients left", n)
		}
		if got := commands(d, "CLS"); len(got) != 1 {
			t.Errorf("sent %q", got)
		}
	})
}

// D11, D17: Stop wins over a connect at whatever step it is, and the socket is
// closed (inScene counts).
func TestStopWhileConnecting(t *testing.T) {
	stall := nsqtest.Fault{Delay: time.Hour}
	for name, prepare := range map[string]func(s *scene, d *nsqtest.Nsqd){
		"dial":     func(s *scene, d *nsqtest.Nsqd) { s.net.Blackhole(d.Addr()) },
		"identify": func(_ *scene, d *nsqtest.Nsqd) { stall.Command = "IDENTIFY"; d.Inject(stall) },
		"sub":      func(_ *scene, d *nsqtest.Nsqd) { stall.Command = "SUB"; d.Inject(stall) },
		"retry":    func(_ *scene, d *nsqtest.Nsqd) { d.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				prepare(s, d)
				s.consumer(1, noError)
				result := make(chan error, 1)
				go func() { result <- s.c.ConnectToNSQD(d.Addr()) }()
				after(50 * time.Millisecond)
				if took := s.stopped(); took != 0 {
					t.Errorf("took %v", took)
				}
				if err := <-result; err == nil || name != "retry" && !errors.Is(err, ErrStopped) {
					t.Errorf("ConnectToNSQD: %v", err)
				}
				d.Kill() // lets its stalled goroutine go
			})
		})
	}
}

// D17: a handshake that fails at any step closes the socket.
func TestFailedHandshakes(t *testing.T) {
	for name, f := range map[string]nsqtest.Fault{
		"IDENTIFY refused":    {Command: "IDENTIFY", Reply: nsqtest.ErrorFrame("E_BAD_BODY", "no"), Close: true},
		"IDENTIFY unanswered": {Command: "IDENTIFY", Reply: []byte{}},
		"IDENTIFY then EOF":   {Command: "IDENTIFY", Reply: []byte{}, Close: true},
		"empty answer":        {Command: "IDENTIFY", Reply: nsqtest.ResponseFrame("")},                        // D36
		"HTTP answer":         {Command: "IDENTIFY", Reply: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")},       // D35
		"huge frame":          {Command: "IDENTIFY", Reply: []byte("\x7f\xff\xff\xff\x00\x00\x00\x00{")},      // D35
		"negative size":       {Command: "IDENTIFY", Reply: []byte("\xff\xff\xff\xff\x00\x00\x00\x00{")},      // D35
		"not JSON":            {Command: "IDENTIFY", Reply: nsqtest.ResponseFrame("{\"max_rdy_count\": tru")}, // D36
		"auth wanted":         {Command: "IDENTIFY", Reply: nsqtest.ResponseFrame(`{"auth_required":true}`)},
		"SUB refused":         {Command: "SUB", Reply: nsqtest.ErrorFrame("E_BAD_CHANNEL", "no"), Close: true},
		"SUB unanswered":      {Command: "SUB", Reply: []byte{}},
		"SUB then EOF":        {Command: "SUB", Reply: []byte{}, Close: true},
		"SUB answered oddly":  {Command: "SUB", Reply: nsqtest.ResponseFrame("CLOSE_WAIT")},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				d.Inject(f)
				s.consumer(1, noError)
				err := s.c.ConnectToNSQD(d.Addr())
				if err == nil {
					t.Error("connected")
				}
				if _, identify := errors.AsType[ErrIdentify](err); identify != (f.Command == "IDENTIFY" && name != "auth wanted") {
					t.Errorf("error %T %v", err, err)
				}
			})
		})
	}
}

// D13: handlers that take too long are left behind at stop_timeout; nothing
// new begins, and nothing but them is left.
func TestStopTimeout(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.StopTimeout = 5 * time.Second
		d := s.nsqd("a:1")
		var begun atomic.Int32
		s.consumer(2, func(*Message) error {
			begun.Add(1)
			sleep(40 * time.Second)
			return nil
		})
		s.connect(d)
		d.Publish("t", "1", "2", "3", "4", "5", "6")
		synctest.Wait()
		if took := s.stopped(); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		if n := s.net.OpenConns(); n != 0 {
			t.Errorf("%d open connections", n)
		}
		if st := d.Stats("t", "c"); st.Requeued != 4 || st.Depth != 4 || st.InFlight != 2 {
			t.Errorf("%+v, want the four that nobody began requeued", st)
		}
		after(time.Minute)
		if n := begun.Load(); n != 2 {
			t.Errorf("%d handlers begun, want none after Stop", n)
		}
	})
}

// D14: what no handler has begun goes back at once, what one has begun is
// finished, and the straggler after CLOSE_WAIT goes back, too.
func TestStopRequeuesWhatNobodyBegan(t *testing.T) {
	for _, straggler := range []bool{false, true} {
		t.Run(fmt.Sprint("straggler=", straggler), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.MaxInFlight = 500
				d := s.nsqd("a:1", func(o *nsqtest.Options) { o.Straggler = straggler })
				s.consumer(10, func(*Message) error {
					sleep(3 * time.Second)
					return nil
				})
				s.connect(d)
				for i := range 600 {
					d.Publish("t", fmt.Sprint(i))
				}
				after(time.Second)
				if took := s.stopped(); took > 2100*time.Millisecond {
					t.Errorf("took %v, want no longer than the handlers", took)
				}
				st := d.Stats("t", "c")
				want := nsqtest.Stats{Depth: 590, Delivered: 500, Finished: 10, Requeued: 490}
				if straggler {
					want.Delivered, want.Requeued = 501, 491
				}
				if st != want {
					t.Errorf("%+v, want %+v", st, want)
				}
				for _, c := range commands(d, "REQ") {
					if !strings.HasSuffix(c, " 0") {
						t.Fatalf("sent %q", c)
					}
				}
			})
		})
	}
}

// A stop is not held up by an nsqd that does not answer CLS.
func TestStopWithHungNSQD(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.StopTimeout = 2 * time.Second
		d := s.nsqd("a:1")
		d.Inject(nsqtest.Fault{Command: "CLS", Reply: []byte{}})
		s.consumer(1, noError)
		s.connect(d)
		if took := s.stopped(); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// Nor by a DialContext that ignores its context; what it returns is closed.
func TestStopWithDialThatIgnoresItsContext(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.StopTimeout = 2 * time.Second
		d := s.nsqd("a:1")
		s.cfg.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
			sleep(time.Minute)
			return s.net.DialContext(t.Context(), network, addr)
		}
		s.consumer(1, noError)
		result := make(chan error, 1)
		go func() { result <- s.c.ConnectToNSQD(d.Addr()) }()
		synctest.Wait()
		if took := s.stopped(); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
		if err := <-result; !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		after(2 * time.Minute)
		if s.net.Dials() != 1 {
			t.Errorf("%d dials", s.net.Dials())
		}
	})
}

func TestDisconnect(t *testing.T) {
	inScene(t, func(s *scene) {
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		s.consumer(1, func(*Message) error {
			sleep(time.Second)
			return nil
		})
		s.connect(a, b)
		a.Publish("t", "1", "2", "3", "4", "5")
		synctest.Wait()
		if err := s.c.DisconnectFromNSQD("a:1"); err != nil {
			t.Fatal(err)
		}
		after(rdyMoves)
		if got := commands(b, "RDY"); got[len(got)-1] != "RDY 9" {
			t.Errorf("b got %q, want all of max_in_flight but what a has in hand", got)
		}
		after(10 * time.Second)
		if got := commands(b, "RDY"); got[len(got)-1] != "RDY 10" {
			t.Errorf("b got %q, want all of max_in_flight", got)
		}
		if st := a.Stats("t", "c"); st.Finished != 1 || st.Requeued != 4 || st.InFlight != 0 || st.Clients != 0 {
			t.Errorf("%+v", st)
		}
		if n := s.net.Attempts("a:1"); n != 1 {
			t.Errorf("dialled again: %d", n)
		}
		s.connect(a) // it may come back
		synctest.Wait()
		after(10 * time.Second)
		if st := a.Stats("t", "c"); st.Finished != 5 {
			t.Errorf("%+v", st)
		}
	})
}

func TestDisconnectWhileConnecting(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.net.Blackhole(d.Addr())
		s.consumer(1, noError)
		result := make(chan error, 1)
		go func() { result <- s.c.ConnectToNSQD(d.Addr()) }()
		synctest.Wait()
		if err := s.c.ConnectToNSQD(d.Addr()); !errors.Is(err, ErrAlreadyConnected) {
			t.Errorf("second call: %v", err)
		}
		if err := s.c.DisconnectFromNSQD(d.Addr()); err != nil {
			t.Error(err)
		}
		if err := <-result; !errors.Is(err, ErrClosing) {
			t.Errorf("first call: %v", err)
		}
		s.net.Allow(d.Addr())
		s.connect(d)
	})
}

// What comes while a connection ends goes back at once, however busy handlers
// are.
func TestDisconnectGivesTheStragglerBack(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", func(o *nsqtest.Options) { o.Straggler = true })
		release := make(chan struct{})
		s.consumer(1, func(*Message) error { <-release; return nil })
		s.connect(d)
		d.Publish("t", "m")
		synctest.Wait()
		if err := s.c.DisconnectFromNSQD(d.Addr()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		d.Publish("t", "straggler")
		synctest.Wait()
		if st := d.Stats("t", "c"); st.Delivered != 2 || st.Requeued != 1 {
			t.Errorf("%+v", st)
		}
		close(release)
	})
}

// An answer to CLS that is none is not taken for a good end.
func TestStopAnsweredOddly(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		d.Inject(nsqtest.Fault{Command: "CLS", Reply: nsqtest.ResponseFrame("OK")})
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		s.connect(d)
		if took := s.stopped(); took != 0 {
			t.Errorf("took %v", took)
		}
		if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "unexpected reply to CLS") {
			t.Errorf("logged %q", got)
		}
	})
}

// D17: a connection that is complete just when nobody wants it any more is
// closed.
func TestDisconnectBeforeDialIsHeardOf(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		d.Inject(nsqtest.Fault{Command: "SUB", Delay: time.Second})
		connected, disconnected := make(chan error, 1), make(chan error, 1)
		go func() { connected <- s.c.ConnectToNSQD(d.Addr()) }()
		after(500 * time.Millisecond)
		release := make(chan struct{})
		s.c.post(func(time.Time) { <-release }) // the loop is busy elsewhere
		go func() { disconnected <- s.c.DisconnectFromNSQD(d.Addr()) }()
		after(time.Second)
		close(release)
		if err := <-connected; !errors.Is(err, ErrClosing) {
			t.Errorf("ConnectToNSQD: %v", err)
		}
		if err := <-disconnected; err != nil {
			t.Errorf("DisconnectFromNSQD: %v", err)
		}
		synctest.Wait()
		if n := s.net.Dials(); n != 1 || s.net.OpenConns() != 0 {
			t.Errorf("%d dials, %d open", n, s.net.OpenConns())
		}
	})
}

// D11, D16, D17: whatever happens in whatever order, a stop ends, and leaves no
// goroutine, no socket and no message unaccounted for.
func TestRandomLives(t *testing.T) {
	for seed := range uint64(300) {
		inScene(t, func(s *scene) { randomLife(s, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomLife(s *scene, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	s.cfg.MaxInFlight = 1 + rnd.IntN(20)
	s.cfg.DefaultRequeueDelay = time.Second
	s.cfg.MaxBackoffDuration = time.Duration(rnd.IntN(2)) * 4 * time.Second
	s.cfg.StopTimeout = 20 * time.Second
	pause := func(d time.Duration) {
		sleep(time.Duration(rnd.Int64N(int64(d))))
	}
	var nsqds []*nsqtest.Nsqd
	for i := range 1 + rnd.IntN(3) {
		nsqds = append(nsqds, s.nsqd(fmt.Sprintf("n%d:1", i), func(o *nsqtest.Options) {
			o.Straggler = rnd.IntN(2) == 0
			o.MsgTimeout = 3 * time.Second
		}))
	}
	var lottery atomic.Uint64
	s.consumer(1+rnd.IntN(8), func(m *Message) error {
		switch n := lottery.Add(0x9e3779b97f4a7c15) >> 32; n % 16 {
		case 0:
			return errors.New("no")
		case 1:
			panic("no")
		case 2:
			m.RequeueWithoutBackoff(0)
		case 3:
			m.DisableAutoResponse()
			go func() {
				sleep(time.Second)
				m.Finish()
			}()
		case 4:
			sleep(time.Duration(n%5000) * time.Millisecond)
		case 5:
			m.Touch()
		}
		return nil
	})
	for range 5 + rnd.IntN(40) {
		d := nsqds[rnd.IntN(len(nsqds))]
		switch rnd.IntN(12) {
		case 0, 1:
			go func() { _ = s.c.ConnectToNSQD(d.Addr()) }()
		case 2:
			go func() { _ = s.c.DisconnectFromNSQD(d.Addr()) }()
		case 3, 4, 5, 6:
			d.Publish("t", slices.Repeat([]string{"m"}, 1+rnd.IntN(30))...)
		case 7:
			d.Kill()
		case 8:
			d.Restart()
		case 9:
			s.c.ChangeMaxInFlight(rnd.IntN(30))
		case 10:
			d.CutAfterSent(rnd.IntN(2000))
		case 11:
			_, _ = s.c.Stats(), s.c.IsStarved()
		}
		pause(time.Second)
	}
	if took := s.stopped(); took > 21*time.Second {
		s.Errorf("stop took %v", took)
	}
	synctest.Wait()
	if n := s.net.OpenConns(); n != 0 {
		s.Errorf("%d open connections", n)
	}
	for _, d := range nsqds {
		if st := d.Stats("t", "c"); st.Clients != 0 {
			s.Errorf("%s: %+v", d.Addr(), st)
		}
	}
	sleep(30 * time.Second)
}
