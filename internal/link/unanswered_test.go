package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// fragile is a connection whose writes fail once it has taken some bytes. Its reader
// does not notice. It cannot half-close.
type fragile struct {
	net.Conn
	left atomic.Int64 // how many more bytes it takes
}

func (f *fragile) Write(b []byte) (int, error) {
	left := f.left.Add(-int64(len(b)))
	if left >= 0 {
		return f.Conn.Write(b)
	}
	f.left.Store(0)
	n, _ := f.Conn.Write(b[:int64(len(b))+left])
	return n, syscall.EPIPE
}

// fragile plays a handshake, with a heartbeat at its end, over a connection
// that then breaks after n bytes.
func (p *peer) fragile(n int) *Link {
	p.t.Helper()
	conn := new(fragile)
	conn.left.Store(1 << 20)
	cfg := p.config()
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var err error
		conn.Conn, err = p.network.DialContext(ctx, network, addr)
		return conn, err
	}
	result := p.dial(p.t.Context(), cfg)
	p.accept()
	p.send(okFrame)
	p.expect(hello(cfg) + "SUB t ch\n")
	p.send(heartbeat, okFrame)
	l, err := result()
	if err != nil {
		p.t.Fatal(err)
	}
	conn.left.Store(int64(n))
	return l
}

// When a connection breaks in the middle of commands, the link knows for each publish
// whether nsqd may have seen any of it. The NOP that the handshake owed comes first.
func TestUnansweredSent(t *testing.T) {
	const nop = len("NOP\n")
	const pub = len("PUB t\n\x00\x00\x00\x01x")
	for n := range nop + 2*pub {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			l := p.fragile(n)
			r := newRecorder()
			l.Pub("t", []byte("x"), r.replier("first"))
			l.Pub("t", []byte("x"), r.replier("second"))
			start := time.Now()
			l.Start(r)
			expectError(t, r.wait(), OpWrite, syscall.EPIPE)
			if took := time.Since(start); took != lingerTimeout {
				t.Errorf("ended after %v", took)
			}
			r.expect(t, fmt.Sprintf("first: unanswered, sent %t", n > nop),
				fmt.Sprintf("second: unanswered, sent %t", n > nop+pub), "down")
			if n > 0 {
				p.expect(("NOP\nPUB t\n\x00\x00\x00\x01xPUB t\n\x00\x00\x00\x01x")[:n])
			}
		})
	}
}

// Replies to earlier publishes do not change what is known about a later one.
func TestUnansweredAfterReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		for range 3 {
			l.Pub("t", []byte("x"), r.replier("early"))
			synctest.Wait()
			p.send(okFrame)
			synctest.Wait()
		}
		l.Pub("t", []byte("x"), r.replier("late"))
		synctest.Wait()
		l.Close(nil)
		_ = r.wait()
		r.expect(t, "early: OK", "early: OK", "early: OK", "late: unanswered, sent true", "down")
	})
}

// When nsqd refuses a command and closes, the next Write fails. nsqd's error is still
// unread in the socket, and is the reason that Down is given.
func TestWriteErrorFindsRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.handshake(p.config())
		r := newRecorder()
		r.hold = make(chan struct{}) // the reader is busy
		l.Start(r)
		l.Pub("t", []byte("x"), r.replier("refused"))
		synctest.Wait()
		p.send(message("a", "x"))
		synctest.Wait()
		p.send(nsqtest.ErrorFrame("E_BAD_MESSAGE", "why"))
		_ = p.conn.Close()
		l.Pub("t", []byte("x"), r.replier("next"))
		synctest.Wait()
		if l.Nop() {
			t.Error("a command was accepted after a write had failed")
		}
		close(r.hold)
		expectRefusal(t, r.wait(), OpRead, wire.BadMessage)
		r.expect(t, "message a x", "refused: E_BAD_MESSAGE why", "next: unanswered, sent false", "down")
	})
}

// A link that has ended, or is about to, accepts no command, and counts no FIN or REQ
// as sent.
func TestCommandsAfterTheEnd(t *testing.T) {
	tests := []struct {
		name string
		end  func(*peer, *Link)
	}{
		{"closed", func(_ *peer, l *Link) { l.Close(errors.New("enough")) }},
		{"lost", func(p *peer, _ *Link) { _ = p.conn.Close() }},
		{"drained", func(p *peer, l *Link) {
			l.Drain()
			p.send(closeWaitFrame)
			pass(stragglerWait)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				l, r := p.connect(p.config())
				tt.end(p, l)
				synctest.Wait()
				id := testID("a")
				replier := r.replier("never")
				for i, accepted := range []bool{
					l.Rdy(1), l.Fin(&id), l.Req(&id, 0), l.Touch(&id), l.Nop(),
					l.Pub("t", []byte("x"), replier), l.Mpub("t", [][]byte{[]byte("x")}, replier),
					l.Dpub("t", 0, []byte("x"), replier),
				} {
					if accepted {
						t.Errorf("command %d was accepted", i)
					}
				}
				if s := l.Stats(); s.Finished+s.Requeued != 0 || s.RDY != 0 {
					t.Errorf("%+v", s)
				}
				_ = r.wait()
				r.expect(t, "down")
			})
		})
	}
}

func TestErrorTexts(t *testing.T) {
	refusal := &wire.Error{Code: wire.Invalid, Desc: "why"}
	lost := &Error{Addr: testAddr, Op: OpRead, Err: refusal}
	tests := []struct {
		err  error
		want string
	}{
		{lost, "[127.0.0.1:4150] read: E_INVALID why"},
		{&UnansweredError{Addr: testAddr, Sent: true, Err: lost}, "[127.0.0.1:4150] no reply: [127.0.0.1:4150] read: E_INVALID why"},
		{&UnansweredError{Addr: testAddr, Err: lost}, "[127.0.0.1:4150] not sent: [127.0.0.1:4150] read: E_INVALID why"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		if !errors.Is(tt.err, refusal) {
			t.Errorf("%q hides its cause", tt.want)
		}
	}
}

// A link gives its repliers the reason of its end as cause, and net.ErrClosed if it is closed
// without one.
func TestUnansweredCause(t *testing.T) {
	for reason, cause := range map[error]error{nil: net.ErrClosed, syscall.EPIPE: syscall.EPIPE} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			l, r := p.connect(p.config())
			var reply lastReply
			l.Pub("t", []byte("x"), &reply)
			l.Close(reason)
			if err := r.wait(); !errors.Is(err, reason) {
				t.Error(err)
			}
			if !errors.Is(reply.err, cause) {
				t.Errorf("replied with %v, want %v", reply.err, cause)
			}
		})
	}
}

// lastReply is a Replier that keeps the error.
type lastReply struct{ err error }

func (r *lastReply) Reply(_ []byte, err error) { r.err = err }
