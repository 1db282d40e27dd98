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

// D12: a Consumer without handlers or without connections stops at once.
func TestStopWithoutConnection(t *testing.T) {
	for _, handlers := range []int{0, 1, 5} {
		inScene(t, func(s *scene) {
			s.consumer(handlers, noError)
			if took := s.stopped(); took != 0 {
				s.Errorf("%d handlers: took %v", handlers, took)
			}
		})
	}
}

// D12: an idle Consumer sends CLS and stops as soon as nsqd has replied.
func TestStopWhenIdle(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(3, noError)
		s.connect(d)
		select {
		case <-s.c.Stopped():
			s.Error("Stopped is closed before the stop")
		default:
		}
		if took := s.stopped(); took > 100*time.Millisecond {
			s.Errorf("took %v", took)
		}
		<-s.c.Stopped()
		if n := len(d.Clients()); n != 0 {
			s.Errorf("nsqd has %d clients left", n)
		}
		if got := commands(d, "CLS"); len(got) != 1 {
			s.Errorf("sent %q, want one CLS", got)
		}
	})
}

// D11, D17: Stop ends a connect call at once, whichever step it has reached. inScene
// checks that the socket is closed.
func TestStopWhileConnecting(t *testing.T) {
	stall := func(command string) func(*scene, *nsqtest.Nsqd) {
		return func(_ *scene, d *nsqtest.Nsqd) { d.Inject(nsqtest.Fault{Command: command, Delay: time.Hour}) }
	}
	for name, prepare := range map[string]func(s *scene, d *nsqtest.Nsqd){
		"dial":     func(s *scene, d *nsqtest.Nsqd) { s.net.Blackhole(d.Addr()) },
		"identify": stall("IDENTIFY"),
		"sub":      stall("SUB"),
		"redial":   func(_ *scene, d *nsqtest.Nsqd) { d.Kill() },
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
					s.Errorf("took %v", took)
				}
				if err := <-result; err == nil || name != "redial" && !errors.Is(err, ErrStopped) {
					s.Errorf("ConnectToNSQD: error %v", err)
				}
				d.Kill() // ends nsqd's stalled goroutine
			})
		})
	}
}

// D17: a handshake that fails at any step closes the socket, and the connect call returns
// an ErrIdentify if that step was IDENTIFY.
func TestFailedHandshakes(t *testing.T) {
	for name, f := range map[string]nsqtest.Fault{
		"IDENTIFY refused":     {Command: "IDENTIFY", Reply: nsqtest.ErrorFrame("E_BAD_BODY", "no"), Close: true},
		"no reply to IDENTIFY": {Command: "IDENTIFY", Reply: []byte{}},
		"IDENTIFY then EOF":    {Command: "IDENTIFY", Reply: []byte{}, Close: true},
		"empty reply":          {Command: "IDENTIFY", Reply: nsqtest.ResponseFrame("")},                        // D36
		"HTTP reply":           {Command: "IDENTIFY", Reply: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")},       // D35
		"huge frame":           {Command: "IDENTIFY", Reply: []byte("\x7f\xff\xff\xff\x00\x00\x00\x00{")},      // D35
		"negative size":        {Command: "IDENTIFY", Reply: []byte("\xff\xff\xff\xff\x00\x00\x00\x00{")},      // D35
		"not JSON":             {Command: "IDENTIFY", Reply: nsqtest.ResponseFrame("{\"max_rdy_count\": tru")}, // D36
		"auth wanted":          {Command: "IDENTIFY", Reply: nsqtest.ResponseFrame(`{"auth_required":true}`)},
		"SUB refused":          {Command: "SUB", Reply: nsqtest.ErrorFrame("E_BAD_CHANNEL", "no"), Close: true},
		"no reply to SUB":      {Command: "SUB", Reply: []byte{}},
		"SUB then EOF":         {Command: "SUB", Reply: []byte{}, Close: true},
		"odd reply to SUB":     {Command: "SUB", Reply: nsqtest.ResponseFrame("CLOSE_WAIT")},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				d.Inject(f)
				s.consumer(1, noError)
				err := s.c.ConnectToNSQD(d.Addr())
				if err == nil {
					s.Error("ConnectToNSQD returned nil")
				}
				want := f.Command == "IDENTIFY" && name != "auth wanted"
				if _, got := errors.AsType[ErrIdentify](err); got != want {
					s.Errorf("error %T %v, is an ErrIdentify: %v, want %v", err, err, got, want)
				}
			})
		})
	}
}

// D13: at stop_timeout the Consumer leaves running handlers behind, and nothing else. No
// message is begun after Stop.
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
			s.Errorf("took %v", took)
		}
		if n := s.net.OpenConns(); n != 0 {
			s.Errorf("%d open connections", n)
		}
		if st := d.Stats("t", "c"); st.Requeued != 4 || st.Depth != 4 || st.InFlight != 2 {
			s.Errorf("%+v, want the four that no handler began requeued", st)
		}
		after(time.Minute)
		if n := begun.Load(); n != 2 {
			s.Errorf("%d messages begun, want none after Stop", n)
		}
	})
}

// D14: Stop requeues at once what no handler has begun, including the message that nsqd
// sends after CLOSE_WAIT. What a handler has begun is finished.
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
					s.Errorf("took %v, want no longer than the handlers take", took)
				}
				st := d.Stats("t", "c")
				want := nsqtest.Stats{Depth: 590, Delivered: 500, Finished: 10, Requeued: 490}
				if straggler {
					want.Delivered, want.Requeued = 501, 491
				}
				if st != want {
					s.Errorf("%+v, want %+v", st, want)
				}
				for _, c := range commands(d, "REQ") {
					if !strings.HasSuffix(c, " 0") {
						s.Fatalf("sent %q, want no delay", c)
					}
				}
			})
		})
	}
}

// D15: a DialContext that ignores its context delays a stop by stop_timeout and 100 ms at
// most. The connection that it returns later is closed.
func TestStopWithDialThatIgnoresItsContext(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.StopTimeout = 2 * time.Second
		d := s.nsqd("a:1")
		s.cfg.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
			sleep(time.Minute)
			return s.net.DialContext(s.Context(), network, addr)
		}
		s.consumer(1, noError)
		result := make(chan error, 1)
		go func() { result <- s.c.ConnectToNSQD(d.Addr()) }()
		synctest.Wait()
		if took := s.stopped(); took != 2100*time.Millisecond {
			s.Errorf("took %v", took)
		}
		if err := <-result; !errors.Is(err, ErrStopped) {
			s.Errorf("ConnectToNSQD: error %v", err)
		}
		after(2 * time.Minute)
		if s.net.Dials() != 1 {
			s.Errorf("%d dials, want the late one", s.net.Dials())
		}
	})
}

// DisconnectFromNSQD drains a connection: what no handler has begun is requeued, handlers
// finish the rest, and the other nsqds take over its share as it becomes free. The
// address is not dialled again until the user connects to it again.
func TestDisconnectDrains(t *testing.T) {
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
			s.Fatal(err)
		}
		after(rdyMoves)
		if got := commands(b, "RDY"); got[len(got)-1] != "RDY 9" {
			s.Errorf("b was sent %q, want all of 10 but what a has in flight", got)
		}
		after(10 * time.Second)
		if got := commands(b, "RDY"); got[len(got)-1] != "RDY 10" {
			s.Errorf("b was sent %q, want all of 10", got)
		}
		if st := a.Stats("t", "c"); st.Finished != 1 || st.Requeued != 4 || st.InFlight != 0 || st.Clients != 0 {
			s.Errorf("%+v", st)
		}
		if n := s.net.Attempts("a:1"); n != 1 {
			s.Errorf("dialled %d times, want 1", n)
		}
		s.connect(a)
		after(10 * time.Second)
		if st := a.Stats("t", "c"); st.Finished != 5 {
			s.Errorf("connected again: %+v, want all 5 finished", st)
		}
	})
}

// DisconnectFromNSQD during a dial ends the call that waits for it.
func TestDisconnectWhileConnecting(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.net.Blackhole(d.Addr())
		s.consumer(1, noError)
		result := make(chan error, 1)
		go func() { result <- s.c.ConnectToNSQD(d.Addr()) }()
		synctest.Wait()
		if err := s.c.ConnectToNSQD(d.Addr()); !errors.Is(err, ErrAlreadyConnected) {
			s.Errorf("second call: error %v", err)
		}
		if err := s.c.DisconnectFromNSQD(d.Addr()); err != nil {
			s.Errorf("DisconnectFromNSQD: error %v", err)
		}
		if err := <-result; !errors.Is(err, ErrClosing) {
			s.Errorf("first call: error %v", err)
		}
		s.net.Allow(d.Addr())
		s.connect(d)
	})
}

// A message that arrives while its connection drains is requeued at once, however busy
// handlers are.
func TestDisconnectRequeuesTheStraggler(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", func(o *nsqtest.Options) { o.Straggler = true })
		release := make(chan struct{})
		s.consumer(1, func(*Message) error { <-release; return nil })
		s.connect(d)
		d.Publish("t", "m")
		synctest.Wait()
		if err := s.c.DisconnectFromNSQD(d.Addr()); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		d.Publish("t", "straggler")
		synctest.Wait()
		if st := d.Stats("t", "c"); st.Delivered != 2 || st.Requeued != 1 {
			s.Errorf("%+v, want the straggler requeued", st)
		}
		close(release)
	})
}

// A reply to CLS other than CLOSE_WAIT ends the connection with a warning.
func TestStopWithAnOddReply(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		d.Inject(nsqtest.Fault{Command: "CLS", Reply: nsqtest.ResponseFrame("OK")})
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		s.connect(d)
		if took := s.stopped(); took != 0 {
			s.Errorf("took %v", took)
		}
		if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "unexpected reply to CLS") {
			s.Errorf("logged %q, want one warning", got)
		}
	})
}

// D17: the connection of a dial that succeeds after a disconnect is closed:
//  1. The run loop hangs in the user's backoff strategy.
//  2. The user disconnects from a. The call waits for the loop.
//  3. The dial of a succeeds. Its result waits for the loop behind that call.
//  4. The loop continues. It forgets a, and then gets a connection to it.
func TestDialSucceedsAfterADisconnect(t *testing.T) {
	inScene(t, func(s *scene) {
		release := make(chan struct{})
		s.cfg.BackoffStrategy = backoffFunc(func(int) time.Duration { <-release; return time.Second })
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		s.consumer(1, func(*Message) error { return errBoom })
		s.connect(b)
		a.Inject(nsqtest.Fault{Command: "SUB", Delay: time.Second})
		connected, disconnected := make(chan error, 1), make(chan error, 1)
		go func() { connected <- s.c.ConnectToNSQD(a.Addr()) }()
		after(500 * time.Millisecond)
		flood(b, 1) // fails, so the loop calls the strategy
		synctest.Wait()
		go func() { disconnected <- s.c.DisconnectFromNSQD(a.Addr()) }()
		after(time.Second)
		if n := len(connected) + len(disconnected); n != 0 {
			s.Errorf("%d calls have returned although the run loop hangs", n)
		}
		close(release)
		if err := <-connected; !errors.Is(err, ErrClosing) {
			s.Errorf("ConnectToNSQD: error %v", err)
		}
		if err := <-disconnected; err != nil {
			s.Errorf("DisconnectFromNSQD: error %v", err)
		}
		synctest.Wait()
		if n := clients(a, b); s.net.Dials() != 2 || !slices.Equal(n, []int{0, 1}) {
			s.Errorf("%d dials, clients %v, want a's connection made and closed", s.net.Dials(), n)
		}
	})
}

// D11, D16, D17: after a random life of the Consumer and its nsqds a stop ends in time
// and leaves no goroutine, no socket and no client behind.
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
