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

// A drain from its beginning to its end.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		p.send(message("a", "x"))
		synctest.Wait()
		l.Drain()
		p.expect("CLS\n")
		p.send(message("b", "x"), closeWaitFrame) // b was on its way
		synctest.Wait()
		pass(stragglerWait - 1)
		p.send(message("c", "x")) // so was the straggler
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

// expectNoTimers checks that a link that is down has no timer left to fire.
func expectNoTimers(t *testing.T, l *Link) {
	t.Helper()
	for name, timer := range map[string]*time.Timer{"linger": l.linger, "straggler": l.straggler} {
		if timer != nil && timer.Stop() {
			t.Errorf("the %s timer is still running", name)
		}
	}
}

// A link with nothing in flight still listens for the straggler.
func TestDrainListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		l.Drain()
		p.expect("CLS\n")
		pass(time.Hour) // not before CLOSE_WAIT
		p.send(closeWaitFrame)
		start := time.Now()
		p.expectEOF()
		if took := time.Since(start); took != stragglerWait {
			t.Errorf("listened for %v", took)
		}
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// A link that publishes has no CLS. It waits for its answers.
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

// All that was accepted is written before the half-close, however slowly.
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

// A drain that does not end well, or not by itself.
func TestDrainFails(t *testing.T) {
	enough := errors.New("enough")
	tests := []struct {
		name   string
		nsqd   func(*peer, *Link) // after CLS
		op     string
		cause  error
		bounds time.Duration // how long it takes
	}{
		{"CLS is never answered, the owner gives up", func(_ *peer, l *Link) {
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
		{"nsqd closes instead of an answer", func(p *peer, _ *Link) {
			_ = p.conn.Close()
		}, OpRead, io.EOF, 0},
		{"CLS is refused", func(p *peer, _ *Link) {
			p.send(nsqtest.ErrorFrame("E_INVALID", "cannot CLS in current state"))
		}, OpRead, nil, 0},
		{"nsqd has a last word", func(p *peer, _ *Link) {
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
				tt.nsqd(p, l)
				err := r.wait()
				if tt.cause != nil {
					expectError(t, err, tt.op, tt.cause)
				} else {
					expectRefusal(t, err, tt.op, wire.Invalid)
				}
				if took := time.Since(start); took != tt.bounds {
					t.Errorf("took %v, want %v", took, tt.bounds)
				}
				expectNoTimers(t, l)
			})
		})
	}
}

// A refused FIN among the last is reported, and harms nothing.
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

// A drain that was asked for before the link started begins with it.
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

// plain is a connection that cannot half-close, broken one that could once.
type (
	plain  struct{ net.Conn }
	broken struct{ net.Conn }
)

func (broken) CloseWrite() error { return syscall.ENOTCONN }

// Over a transport without a half-close the link closes when all is written;
// a half-close that fails is the loss of the connection.
func TestDrainWithoutHalfClose(t *testing.T) {
	for _, can := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			cfg := p.config()
			cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := p.network.DialContext(ctx, network, addr)
				if can {
					return broken{conn}, err
				}
				return plain{conn}, err
			}
			l, r := p.connect(cfg)
			l.Drain()
			p.expect("CLS\n")
			p.send(closeWaitFrame)
			err := r.wait()
			if can {
				expectError(t, err, OpClose, syscall.ENOTCONN)
			} else if err != nil {
				t.Error(err)
			}
			p.expectEOF()
		})
	}
}

// With a fake nsqd: what it delivered is finished when the link is drained.
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
			for done := 0; done < want; { // the straggler comes when a slot is free
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
