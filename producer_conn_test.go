package nsq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// Each of many concurrent publishes gets the reply to its own command. nsqd takes a
// millisecond for each command, so the time of a reply tells which it belongs to.
func TestConcurrentPublishes(t *testing.T) {
	const publishers, each = 64, 20
	produce(t, func(s *producing) {
		var mu sync.Mutex
		arrived, replied := map[string]time.Time{}, map[string]time.Time{}
		note := func(at map[string]time.Time, body string) {
			mu.Lock()
			defer mu.Unlock()
			at[body] = time.Now()
		}
		s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Millisecond, Match: func(cmd nsqtest.Command) bool {
			note(arrived, string(cmd.Body))
			return true
		}})
		var wg sync.WaitGroup
		for i := range publishers {
			wg.Go(func() {
				for j := range each {
					body := fmt.Sprint(i, " ", j)
					if err := s.p.PublishContext(s.Context(), "t", []byte(body)); err != nil {
						s.Error(err)
					}
					note(replied, body)
				}
			})
		}
		wg.Wait()
		for body, at := range replied {
			if d := at.Sub(arrived[body]); d != time.Millisecond {
				s.Errorf("%q: reply %v after nsqd got the command, want 1ms", body, d)
			}
		}
		stored := s.stored()
		slices.Sort(stored)
		if n := len(slices.Compact(stored)); n != publishers*each || s.net.Dials() != 1 {
			s.Errorf("%d messages stored over %d connections, want %d over one", n, s.net.Dials(), publishers*each)
		}
	})
}

// Commands that are queued during a write are sent by the next one.
func TestPublishesAreCoalesced(t *testing.T) {
	produce(t, func(s *producing) {
		if err := s.p.Ping(); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		before := s.net.Writes()
		s.d.StopReading()
		var wg sync.WaitGroup
		publish := func(body string) {
			wg.Go(func() {
				if err := s.p.PublishContext(s.Context(), "t", []byte(body)); err != nil {
					s.Error(err)
				}
			})
		}
		publish(strings.Repeat("x", 2*s.net.Capacity))
		synctest.Wait()
		for range 1000 {
			publish("y")
		}
		synctest.Wait()
		s.d.StartReading()
		wg.Wait()
		if n := s.net.Writes() - before; n != 2 {
			s.Errorf("%d writes, want 2", n)
		}
		if n := len(s.stored()); n != 1001 {
			s.Errorf("%d stored, want 1001", n)
		}
	}, func(s *scene) { s.net.Capacity = 1 << 10 })
}

// strays are frames, and bytes that form no frame, that cannot be replies to a publish.
var strays = map[string][]byte{
	"message":       wire.AppendMessage(nil, &wire.Message{Body: []byte("m")}),
	"large message": wire.AppendMessage(nil, &wire.Message{Body: make([]byte, 101)}),
	"E_FIN_FAILED":  nsqtest.ErrorFrame("E_FIN_FAILED", "FIN failed"),
	"CLOSE_WAIT":    nsqtest.ResponseFrame("CLOSE_WAIT"),
	"JSON":          nsqtest.ResponseFrame("{}"),
	"nothing":       nsqtest.ResponseFrame(""),
	"type 3":        wire.AppendFrame(nil, 3, []byte("OK")),
	"garbage":       []byte("\xff\xff\xff\xff\xff\xff\xff\xff"),
	"HTTP":          []byte("HTTP/1.1 200 OK\r\n\r\n"),
}

// D47: a frame that replies to no command ends the connection. The next publish gets
// its own reply over a new one.
func TestStrayFrameWhenIdle(t *testing.T) {
	frames := map[string][]byte{
		"OK":    nsqtest.ResponseFrame("OK"),
		"fatal": nsqtest.ErrorFrame("E_INVALID", "what"),
	}
	for name, frame := range strays {
		frames[name] = frame
	}
	for name, frame := range frames {
		t.Run(name, func(t *testing.T) {
			produce(t, func(s *producing) {
				if err := s.p.Ping(); err != nil {
					s.Fatal(err)
				}
				synctest.Wait()
				s.d.Send(1, append(frame, nsqtest.ResponseFrame("OK")...))
				synctest.Wait()
				if n := s.net.OpenConns(); n != 0 {
					s.Errorf("%d connections are open, want none", n)
				}
				s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Reply: nsqtest.ErrorFrame("E_PUB_FAILED", ""), Close: true})
				if err := s.p.PublishContext(s.Context(), "t", []byte("m")); err == nil || err.Error() != "E_PUB_FAILED" {
					s.Errorf("not its own reply: %v", err)
				}
				s.publishes()
			}, limitMessages)
		})
	}
}

// D47: a stray frame is not taken for the reply that a publish waits for, whether it
// comes before that reply or in its place. The replies behind it reach no other publish.
func TestStrayFrameAmongReplies(t *testing.T) {
	for name, frame := range strays {
		for _, fault := range []nsqtest.Fault{{Before: frame}, {Reply: frame}} {
			fault.Command, fault.Times, fault.Delay = "PUB", 1, time.Second
			t.Run(name, func(t *testing.T) {
				produce(t, func(s *producing) {
					s.d.Inject(fault)
					var wg sync.WaitGroup
					for range 3 {
						wg.Go(func() {
							if err := s.p.PublishContext(s.Context(), "t", []byte("m")); !errors.Is(err, ErrUnknownOutcome) {
								s.Errorf("%v", err)
							}
						})
					}
					wg.Wait()
					s.publishes()
					if n := s.net.Dials(); n != 2 {
						s.Errorf("%d connections", n)
					}
				}, limitMessages)
			})
		}
	}
}

// A publish right after a refusal succeeds, although nsqd is closing the connection.
func TestPublishRightAfterRefusal(t *testing.T) {
	produce(t, func(s *producing) {
		for i := range 500 {
			s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Reply: nsqtest.ErrorFrame("E_PUB_FAILED", ""), Close: true})
			if _, ok := errors.AsType[ErrProtocol](s.p.PublishContext(s.Context(), "t", []byte("m"))); !ok {
				s.Fatalf("%d: not refused", i)
			}
			if err := s.p.PublishContext(s.Context(), "t", []byte("m")); err != nil {
				s.Fatalf("%d: %v", i, err)
			}
			s.d.ClearFaults()
		}
	}, quietly)
}

// D49: nsqd closes every connection right after the handshake. Each publish fails,
// after two dials at most.
func TestCloseAfterIdentify(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Close: true})
		start := time.Now()
		for s.net.Dials() < 10_000 && !s.Failed() {
			before := s.net.Dials()
			err := s.p.PublishContext(s.Context(), "t", []byte("m"))
			if err == nil {
				s.Error("a publish succeeds")
			}
			expectVerdict(s.T, err, false)
			if n := s.net.Dials() - before; n > 2 {
				s.Errorf("%d dials for one publish, want 2 at most", n)
			}
			if err := s.p.nsqd.ping(); err != nil && !errors.Is(err, ErrNotSent) {
				s.Errorf("ping: %v", err)
			}
		}
		if d := time.Since(start); d != 0 {
			s.Errorf("took %v", d)
		}
		s.d.ClearFaults()
		synctest.Wait()
		s.publishes()
	}, quietly)
}

// D49: nsqd closes every second connection right after the handshake, while many
// publish.
func TestCloseAfterIdentifyNowAndThen(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Close: true, Match: func(cmd nsqtest.Command) bool { return cmd.Conn%2 == 1 }})
		s.d.Inject(nsqtest.Fault{Command: "PUB", Skip: 1, Reply: nsqtest.ErrorFrame("E_PUB_FAILED", ""), Close: true,
			Match: func(cmd nsqtest.Command) bool { return string(cmd.Body) == "last" }})
		var stored atomic.Int32
		for range 300 {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if err := s.p.PublishContext(s.Context(), "t", []byte("m")); err == nil {
						stored.Add(1)
					}
				})
			}
			wg.Wait()
			_ = s.p.PublishContext(s.Context(), "t", []byte("last")) // nsqd refuses it and closes
		}
		if n := int(stored.Load()); n < 8*100 || n > len(s.stored()) {
			s.Errorf("%d published, %d stored", n, len(s.stored()))
		}
	}, quietly)
}

// D52: a lost connection fails only publishes that were under way on it.
func TestReconnect(t *testing.T) {
	produce(t, func(s *producing) {
		for i := range 200 {
			before := len(s.stored())
			err := s.p.PublishContext(s.Context(), "t", []byte("m")) // the loss may not have been noticed yet
			expectVerdict(s.T, err, len(s.stored()) > before)
			if err != nil {
				synctest.Wait()
			}
			s.publishes()
			clients := s.d.Clients()
			s.d.Disconnect(clients[len(clients)-1].Conn)
			if i%2 == 0 {
				synctest.Wait()
				s.publishes()
			}
		}
	}, quietly)
}

func TestNSQDRestarts(t *testing.T) {
	produce(t, func(s *producing) {
		for range 3 {
			s.publishes()
			s.d.Kill()
			synctest.Wait()
			for range 5 {
				redialAllowed()
				if err := s.p.PublishContext(s.Context(), "t", []byte("m")); !errors.Is(err, ErrNotSent) || !errors.Is(err, syscall.ECONNREFUSED) {
					s.Errorf("while nsqd is down: %v", err)
				}
			}
			s.d.Restart()
			redialAllowed()
		}
		if n := s.net.Attempts("a:1"); n != 3+3*5 {
			s.Errorf("%d dials, want 18", n)
		}
	})
}

// D52: the connection breaks after each byte that is sent, and after each that is
// received. The error agrees with what nsqd has stored.
func TestCutAtEveryByte(t *testing.T) {
	helloSent, helloReceived := helloSizes(t)
	one, many := []byte("hi"), [][]byte{[]byte("a"), []byte("bc")}
	async := func(p *Producer, m *publication) error {
		done := make(chan *ProducerTransaction)
		if err := p.publishAsync(m, done, nil); err != nil {
			return err
		}
		return (<-done).Cause
	}
	command := wire.AppendPub(nil, "t", one)
	commands := map[string]struct {
		size, messages int
		publish        func(p *Producer) error
	}{
		"PUB":  {len(command), 1, func(p *Producer) error { return p.PublishContext(context.Background(), "t", one) }},
		"MPUB": {len(wire.AppendMpub(nil, "t", many)), 2, func(p *Producer) error { return p.MultiPublishContext(context.Background(), "t", many) }},
		"DPUB": {len(wire.AppendDpub(nil, "t", 60_000, one)), 1, func(p *Producer) error { return p.DeferredPublishContext(context.Background(), "t", time.Minute, one) }},
		"PUB, async": {len(command), 1, func(p *Producer) error {
			return async(p, pub("t", one))
		}},
		"MPUB, async": {len(wire.AppendMpub(nil, "t", many)), 2, func(p *Producer) error {
			return async(p, mpub("t", many))
		}},
		"DPUB, async": {len(wire.AppendDpub(nil, "t", 0, one)), 1, func(p *Producer) error {
			return async(p, dpub("t", 0, one))
		}},
	}
	reply := len(nsqtest.ResponseFrame("OK"))
	for name, cmd := range commands {
		cut := func(t *testing.T, prepare func(s *producing)) (stored bool, err error) {
			produce(t, func(s *producing) {
				prepare(s)
				err = cmd.publish(s.p)
				synctest.Wait()
				n := len(s.stored())
				if stored = n > 0; stored && n != cmd.messages {
					s.Errorf("%d messages stored", n)
				}
				expectVerdict(s.T, err, stored)
				redialAllowed()
				s.publishes()
			}, quietly)
			return stored, err
		}
		t.Run(name, func(t *testing.T) {
			for n := range helloSent + cmd.size + 1 {
				stored, err := cut(t, func(s *producing) { s.d.CutAfterReceived(n) })
				whole, sent := n == helloSent+cmd.size, n > helloSent
				if stored != whole || errors.Is(err, ErrUnknownOutcome) != sent {
					t.Errorf("after %d of %d+%d bytes sent: stored %v, %v", n, helloSent, cmd.size, stored, err)
				}
			}
		})
		t.Run(name+"'s reply", func(t *testing.T) {
			for n := range helloReceived + reply + 1 {
				stored, err := cut(t, func(s *producing) { s.d.CutAfterSent(n) })
				if n == helloReceived {
					continue // a new connection may be made before the publish is sent
				}
				whole, sent := n == helloReceived+reply, n > helloReceived
				if stored != sent || (err == nil) != whole || errors.Is(err, ErrUnknownOutcome) != (sent && !whole) {
					t.Errorf("after %d of %d+%d bytes received: stored %v, %v", n, helloReceived, reply, stored, err)
				}
			}
		})
	}
}

// When nsqd stops reading, the command that is being written may have reached it.
// The commands behind it have not, however the connection ends.
func TestUnsentPublishes(t *testing.T) {
	for name, tt := range map[string]struct {
		end    func(s *producing)
		reason string
	}{
		"disconnect":    {func(s *producing) { s.d.Disconnect(1) }, "reset"},
		"write timeout": {func(*producing) { sleep(time.Minute) }, "timeout"},
		"stop":          {func(s *producing) { s.p.Stop() }, "nsqd has shown no sign of life for 5s"},
	} {
		t.Run(name, func(t *testing.T) {
			produce(t, func(s *producing) {
				if err := s.p.Ping(); err != nil {
					s.Fatal(err)
				}
				synctest.Wait()
				s.d.StopReading()
				var wg sync.WaitGroup
				publish := func(size int, want error) {
					wg.Go(func() {
						err := s.p.PublishContext(s.Context(), "t", make([]byte, size))
						if !errors.Is(err, want) || !strings.Contains(err.Error(), tt.reason) {
							s.Errorf("%d bytes: %v", size, err)
						}
						expectVerdict(s.T, err, false)
					})
					synctest.Wait()
				}
				publish(2000, ErrUnknownOutcome)
				publish(1, ErrNotSent)
				publish(1, ErrNotSent)
				tt.end(s)
				wg.Wait()
				if n := len(s.stored()); n != 0 {
					s.Errorf("%d stored", n)
				}
			}, func(s *scene) {
				s.net.Capacity = 1000
				s.cfg.WriteTimeout, s.cfg.StopTimeout = 30*time.Second, 10*time.Second
			})
		})
	}
}

// D43: without heartbeats a silent connection is kept.
func TestIdleWithoutHeartbeats(t *testing.T) {
	produce(t, func(s *producing) {
		s.publishes()
		after(10 * time.Minute)
		s.publishes()
		if n := s.net.Dials(); n != 1 {
			s.Errorf("%d connections", n)
		}
		if got := commands(s.d, "NOP"); len(got) != 0 {
			s.Errorf("heartbeats: %q", got)
		}
	}, func(s *scene) { s.cfg.HeartbeatInterval = -1 })
}

func TestIdleWithHeartbeats(t *testing.T) {
	produce(t, func(s *producing) {
		s.publishes()
		after(3*time.Hour + time.Second)
		s.publishes()
		if n := s.net.Dials(); n != 1 {
			s.Errorf("%d connections", n)
		}
		if n := len(commands(s.d, "NOP")); n != 360 {
			s.Errorf("%d replies to heartbeats, want 360", n)
		}
	})
}

// A connection on which nsqd neither replies nor sends heartbeats is given up. The
// next publish makes a new one.
func TestSilentNSQD(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Mute: true})
		s.d.StopHeartbeats()
		start := time.Now()
		err := s.p.PublishContext(s.Context(), "t", []byte("m"))
		if d := time.Since(start); d != s.cfg.ReadTimeout || !errors.Is(err, ErrUnknownOutcome) {
			s.Errorf("%v after %v", err, d)
		}
		s.publishes()
	})
}
