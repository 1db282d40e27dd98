package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// A link that was not started closes without a call of Down.
func TestCloseBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.handshake(p.config())
		l.Close(nil)
		l.Close(errors.New("again"))
		p.expectEOF()
		if l.Nop() {
			t.Error("a command was accepted")
		}
	})
}

// A link that is started after Close ends like any other. This happens if the owner is
// stopped between Dial and Start.
func TestStartAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.handshake(p.config())
		enough := errors.New("enough")
		l.Close(enough)
		r := newRecorder()
		l.Start(r)
		expectError(t, r.wait(), OpClose, enough)
		r.expect(t, "down")
	})
}

// The first reason stands, and Down comes once.
func TestCloseTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		first := errors.New("first")
		l.Close(first)
		l.Close(errors.New("second"))
		expectError(t, r.wait(), OpClose, first)
		l.Close(errors.New("third"))
		synctest.Wait()
		r.expect(t, "down")
		p.expectEOF()
	})
}

func TestCloseWithoutReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		l.Close(nil)
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// Close ends a stuck Write. What was not sent stays unsent.
func TestCloseWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.slow(p.config())
		r := newRecorder()
		l.Start(r)
		id := testID("a")
		for range 10 {
			l.Fin(&id)
		}
		synctest.Wait()
		start := time.Now()
		l.Close(nil)
		_ = r.wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
		p.expect(fin("a"))
		p.expectEOF()
	})
}

// A receiver may close its link from within a call.
func TestCloseFromReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.handshake(p.config())
		r := &closing{recorder: newRecorder(), link: l}
		l.Start(r)
		p.send(message("a", "x"), message("b", "x"), okFrame)
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		r.expect(t, "message a x", "message b x", "down")
	})
}

// closing is a recorder that closes its link when it is given messages.
type closing struct {
	*recorder
	link *Link
}

func (c *closing) Messages(batch []wire.Message) {
	c.recorder.Messages(batch)
	c.link.Close(nil)
}

// slowCloser is a socket that takes a second to close.
type slowCloser struct {
	net.Conn
	closed chan struct{}
}

func (s *slowCloser) Close() error {
	err := s.Conn.Close()
	pass(time.Second)
	close(s.closed) // panics the second time
	return err
}

// When Down is called, the socket has been closed, whichever goroutine does that.
func TestDownAfterClose(t *testing.T) {
	tests := []struct {
		name string
		end  func(*peer, *Link)
	}{
		{"by the owner", func(_ *peer, l *Link) { go l.Close(nil) }},
		{"by nsqd", func(p *peer, _ *Link) { _ = p.conn.Close() }},
		{"by a timer", func(p *peer, l *Link) {
			l.Drain()
			p.send(closeWaitFrame)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				cfg := p.config()
				socket := &slowCloser{closed: make(chan struct{})}
				cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					var err error
					socket.Conn, err = p.network.DialContext(ctx, network, addr)
					return socket, err
				}
				l, r := p.connect(cfg)
				tt.end(p, l)
				_ = r.wait()
				select {
				case <-socket.closed:
				default:
					t.Error("down before the socket was closed")
				}
			})
		})
	}
}

// A Dial that fails closes its socket before it returns.
func TestDialFailsAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		socket := &slowCloser{closed: make(chan struct{})}
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			var err error
			socket.Conn, err = p.network.DialContext(ctx, network, addr)
			return socket, err
		}
		_, err := Dial(t.Context(), cfg)
		expectError(t, err, OpIdentify, ErrHandshakeTimeout)
		select {
		case <-socket.closed:
		default:
			t.Error("the socket is still open")
		}
	})
}

// Other goroutines may give commands before and during Start, as a Producer's
// callers do.
func TestCommandsWhileStarting(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			cfg := p.config()
			cfg.Topic = ""
			l := p.handshake(cfg)
			r := newRecorder()
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() { l.Pub("t", []byte("x"), r.replier(fmt.Sprint(i))) })
			}
			l.Start(r)
			wg.Wait()
			for range 4 {
				p.expect("PUB t\n\x00\x00\x00\x01x")
				p.send(okFrame)
			}
			l.Drain()
			p.expectEOF()
			_ = p.conn.Close()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			if n := len(r.events); n != 5 {
				t.Errorf("%q", r.events)
			}
		})
	}
}

// Over a real socket, the last FINs arrive and the link ends cleanly.
func TestOverTCP(t *testing.T) {
	d := nsqtest.NewNsqd(t, nsqtest.Options{})
	dialer := new(net.Dialer)
	const messages = 1000
	d.CreateChannel("t", "ch")
	for range messages {
		d.Publish("t", "x")
	}
	l, err := Dial(t.Context(), Config{Addr: d.Addr(), Dial: dialer.DialContext, Topic: "t", Channel: "ch"})
	if err != nil {
		t.Fatal(err)
	}
	r := &finisher{recorder: newRecorder(), link: l, left: messages}
	l.Start(r)
	l.Rdy(100)
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	if s := d.Stats("t", "ch"); s.Finished != messages || s.InFlight != 0 {
		t.Errorf("nsqd has %+v", s)
	}
}

// finisher is a recorder that finishes each message, and drains after the last.
type finisher struct {
	*recorder
	link *Link
	left int
}

func (f *finisher) Messages(batch []wire.Message) {
	for i := range batch {
		f.link.Fin(&batch[i].ID)
	}
	if f.left -= len(batch); f.left == 0 {
		f.link.Drain()
	}
}

// Down is given nsqd's fatal error, even if nsqd closes right after sending it and the
// reader finds both.
func TestDownTellsTheFirstReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		_, r := p.connect(p.config())
		p.send(nsqtest.ErrorFrame("E_INVALID", "why"))
		_ = p.conn.Close()
		err := r.wait()
		expectRefusal(t, err, OpRead, wire.Invalid)
		if errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}
