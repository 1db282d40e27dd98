package link

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// A drain from beginning to end.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		p.send(message("a", "x"))
		synctest.Wait()
		l.Drain()
		p.expect("CLS\n")
		p.send(message("b", "x"), closeWaitFrame) // b was sent before nsqd saw CLS
		synctest.Wait()
		pass(stragglerWait - 1)
		p.send(message("c", "x")) // the straggler
		pass(10 * time.Minute)
		p.send(heartbeat)
		p.expect("NOP\n")
		for _, name := range []string{"a", "b"} {
			id := testID(name)
			l.Fin(&id)
		}
		p.expect(fin("a") + fin("b"))
		synctest.Wait()
		p.expectNothing()
		id := testID("c")
		l.Req(&id, 0)
		p.expect("REQ c--------------- 0\n")
		p.expectEOF()
		select {
		case <-r.down:
			t.Error("down before nsqd closed")
		default:
		}
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		expectNoTimers(t, l)
		r.expect(t, "message a x", "message b x", "message c x", "down")
		if s := l.Stats(); s.Received != 3 || s.Finished != 2 || s.Requeued != 1 || s.InFlight != 0 || s.Lost != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// expectNoTimers checks that a link that is down has no timer left that could fire.
func expectNoTimers(t *testing.T, l *Link) {
	t.Helper()
	for name, timer := range map[string]*time.Timer{"linger": l.linger, "straggler": l.straggler} {
		if timer != nil && timer.Stop() {
			t.Errorf("the %s timer is still running", name)
		}
	}
}

// A drain waits for nothing but CLOSE_WAIT once all is sent and nothing is in flight, and
// not after CLOSE_WAIT.
func TestAwaitsCloseWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.network.Capacity = 16 // less than a FIN
		l, r := p.connect(p.config())
		expect := func(when string, want bool) {
			t.Helper()
			synctest.Wait()
			if received, waits := l.AwaitsCloseWait(); waits != want || received != l.Stats().Received {
				t.Errorf("%s: waits %v, want %v; %d received", when, waits, want, received)
			}
		}
		expect("before", false)
		p.send(message("a", "x"))
		synctest.Wait()
		l.Drain()
		expect("a message in flight", false)
		p.expect("CLS\n")
		id := testID("a")
		l.Fin(&id)
		expect("a FIN not sent", false)
		p.expect(fin("a"))
		expect("all sent", true)
		p.send(closeWaitFrame)
		expect("after CLOSE_WAIT", false)
		pass(stragglerWait)
		p.expectEOF()
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// A link with nothing in flight still waits for the straggler.
func TestDrainListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		l.Drain()
		p.expect("CLS\n")
		pass(time.Hour) // the wait begins with CLOSE_WAIT
		p.send(closeWaitFrame)
		start := time.Now()
		p.expectEOF()
		if took := time.Since(start); took != stragglerWait {
			t.Errorf("waited for %v", took)
		}
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// A link that publishes sends no CLS. It waits for its replies.
func TestDrainPublisher(t *testing.T) {
	for _, open := range []int{0, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			cfg := p.config()
			cfg.Topic = ""
			l, r := p.connect(cfg)
			for range open {
				l.Pub("t", []byte("x"), r.replier("pub"))
			}
			synctest.Wait()
			l.Drain()
			if l.Pub("t", []byte("x"), r.replier("late")) {
				t.Error("a publish was accepted")
			}
			p.expect(strings.Repeat("PUB t\n\x00\x00\x00\x01x", open))
			for range open {
				pass(time.Minute)
				p.expectNothing()
				p.send(okFrame)
			}
			p.expectEOF()
			_ = p.conn.Close()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			r.expect(t, append(slices.Repeat([]string{"pub: OK"}, open), "down")...)
		})
	}
}

// A drain that waits for messages ends when the last of them is given up, although no
// command then wakes the writer.
func TestDrainAfterGivingUp(t *testing.T) {
	for name, giveUp := range map[string]func(*Link){"Expire": (*Link).Expire, "Lose": (*Link).Lose} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				l, r := p.connect(p.config())
				p.send(message("a", "x"), message("b", "x"))
				synctest.Wait()
				l.Drain()
				p.expect("CLS\n")
				p.send(closeWaitFrame)
				pass(time.Minute)
				giveUp(l)
				synctest.Wait()
				p.expectNothing()
				giveUp(l)
				p.expectEOF()
				_ = p.conn.Close()
				if err := r.wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Every command that was accepted is written before the half-close, however slowly
// nsqd takes it.
func TestDrainWritesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.slow(p.config())
		r := newRecorder()
		l.Start(r)
		l.Drain()
		p.expect("CLS\n")
		p.send(closeWaitFrame)
		id := testID("a")
		for range 100 {
			l.Fin(&id)
		}
		for range 100 {
			pass(lingerTimeout / 2)
			p.expect(fin("a"))
		}
		p.expectEOF()
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// Drains that fail, and drains that the owner has to cut short.
func TestDrainFails(t *testing.T) {
	enough := errors.New("enough")
	tests := []struct {
		name  string
		after func(*peer, *Link) // what happens after CLS
		op    string
		cause error // nil for a refusal by nsqd
		takes time.Duration
	}{
		{"nsqd never replies to CLS, the owner gives up", func(_ *peer, l *Link) {
			pass(time.Hour)
			l.Close(enough)
		}, OpClose, enough, time.Hour},
		{"the owner gives up after CLOSE_WAIT", func(p *peer, l *Link) {
			p.send(message("a", "x"), closeWaitFrame)
			pass(time.Hour)
			l.Close(enough)
		}, OpClose, enough, time.Hour},
		{"the owner gives up as CLOSE_WAIT comes", func(p *peer, l *Link) {
			p.send(closeWaitFrame)
			l.Close(enough)
		}, OpClose, enough, 0},
		{"nsqd never closes", func(p *peer, _ *Link) {
			p.send(closeWaitFrame)
			p.expectEOF()
		}, OpClose, errNoEOF, stragglerWait + lingerTimeout},
		{"the owner gives up while nsqd does not close", func(p *peer, l *Link) {
			p.send(closeWaitFrame)
			p.expectEOF()
			l.Close(enough)
		}, OpClose, enough, stragglerWait},
		{"nsqd closes with a message in flight", func(p *peer, _ *Link) {
			p.send(message("a", "x"), closeWaitFrame)
			synctest.Wait()
			_ = p.conn.Close()
		}, OpRead, io.EOF, 0},
		{"nsqd closes instead of replying", func(p *peer, _ *Link) {
			_ = p.conn.Close()
		}, OpRead, io.EOF, 0},
		{"CLS is refused", func(p *peer, _ *Link) {
			p.send(nsqtest.ErrorFrame("E_INVALID", "cannot CLS in current state"))
		}, OpRead, nil, 0},
		{"nsqd sends an error after our half-close", func(p *peer, _ *Link) {
			p.send(closeWaitFrame)
			p.expectEOF()
			p.send(nsqtest.ErrorFrame("E_INVALID", "why"))
		}, OpRead, nil, stragglerWait},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				l, r := p.connect(p.config())
				start := time.Now()
				l.Drain()
				p.expect("CLS\n")
				tt.after(p, l)
				err := r.wait()
				if tt.cause != nil {
					expectError(t, err, tt.op, tt.cause)
				} else {
					expectRefusal(t, err, tt.op, wire.Invalid)
				}
				if took := time.Since(start); took != tt.takes {
					t.Errorf("took %v, want %v", took, tt.takes)
				}
				expectNoTimers(t, l)
			})
		})
	}
}

// A FIN that nsqd refuses after the half-close is reported, and the drain still ends
// cleanly.
func TestDrainReportsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		l.Drain()
		p.expect("CLS\n")
		p.send(closeWaitFrame)
		p.expectEOF()
		p.send(nsqtest.ErrorFrame("E_FIN_FAILED", "why"))
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		r.expect(t, "failed E_FIN_FAILED why", "down")
	})
}

func TestDrainTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		l.Drain()
		l.Drain()
		p.expect("CLS\n")
		p.send(closeWaitFrame)
		synctest.Wait()
		l.Drain()
		p.expectEOF()
		l.Drain()
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		l.Drain()
	})
}

// A drain that was requested before Start begins with Start.
func TestDrainBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.handshake(p.config())
		l.Drain()
		r := newRecorder()
		l.Start(r)
		p.expect("CLS\n")
		p.send(closeWaitFrame)
		p.expectEOF()
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// plain is a connection that cannot half-close. broken is one whose half-close fails.
type (
	plain  struct{ net.Conn }
	broken struct{ net.Conn }
)

func (broken) CloseWrite() error { return syscall.ENOTCONN }

// Over a transport without a half-close, the link closes when everything is written. If
// a half-close fails, the connection is lost.
func TestDrainWithoutHalfClose(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			cfg := p.config()
			cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := p.network.DialContext(ctx, network, addr)
				if fails {
					return broken{conn}, err
				}
				return plain{conn}, err
			}
			l, r := p.connect(cfg)
			l.Drain()
			p.expect("CLS\n")
			p.send(closeWaitFrame)
			err := r.wait()
			if fails {
				expectError(t, err, OpClose, syscall.ENOTCONN)
			} else if err != nil {
				t.Error(err)
			}
			p.expectEOF()
		})
	}
}

// After a drain, all that a fake nsqd has delivered is finished.
func TestDrainAgainstNsqd(t *testing.T) {
	for _, straggler := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			network := nsqtest.NewNetwork()
			d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Straggler: straggler})
			l, err := Dial(t.Context(), Config{Addr: d.Addr(), Dial: network.DialContext, Topic: "t", Channel: "ch"})
			if err != nil {
				t.Fatal(err)
			}
			r := newRecorder()
			l.Start(r)
			ids := d.Publish("t", strings.Split("abcdefgh", "")...)
			l.Rdy(5)
			synctest.Wait()
			l.Drain()
			want := 5
			if straggler {
				want++
			}
			for done := 0; done < want; { // nsqd sends the straggler after a FIN
				synctest.Wait()
				for s := l.Stats(); done < int(s.Received); done++ { // #nosec G115 -- a few
					l.Fin((*wire.ID)([]byte(ids[done])))
				}
			}
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			if got := d.Stats("t", "ch"); got.Finished != want || got.InFlight != 0 || got.Delivered != want {
				t.Errorf("nsqd has %+v, want %d finished", got, want)
			}
			if network.Closes() != 1 {
				t.Errorf("%d closes", network.Closes())
			}
		})
	}
}
