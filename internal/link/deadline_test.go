package link

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// timed is a connection that knows its deadline for writing.
type timed struct {
	net.Conn
	deadline atomic.Pointer[time.Time]
}

func (c *timed) SetWriteDeadline(t time.Time) error {
	c.deadline.Store(&t)
	return c.Conn.SetWriteDeadline(t)
}

// N7: a link that has written all it has leaves no deadline behind, whose timer would
// wake the process when it passes.
func TestNoDeadlineAfterWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		cfg.WriteTimeout = time.Second
		socket := &timed{}
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := p.network.DialContext(ctx, network, addr)
			socket.Conn = conn
			return socket, err
		}
		l := p.slow(cfg)
		r := newRecorder()
		l.Start(r)
		for range 3 {
			for n := range 5 { // more than the connection holds
				l.Rdy(n)
			}
			synctest.Wait()
			if d := socket.deadline.Load(); d == nil || d.IsZero() {
				t.Errorf("the deadline of a Write under way is %v", d)
			}
			p.expect("RDY 0\nRDY 1\nRDY 2\nRDY 3\nRDY 4\n")
			synctest.Wait()
			if d := socket.deadline.Load(); !d.IsZero() {
				t.Errorf("a deadline is left %v from now", time.Until(*d))
			}
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// A read or a write of a closed socket fails, whether it has a timeout or not.
func TestClosedSocket(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Second} {
		socket, peer := net.Pipe()
		_ = peer.Close()
		c := newConn(socket)
		c.readTimeout, c.writeTimeout = timeout, timeout
		_ = c.Close()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("with timeout %v: read %d, error %v", timeout, n, err)
		}
		if n, err := c.Write([]byte("x")); n != 0 || err == nil {
			t.Errorf("with timeout %v: wrote %d, error %v", timeout, n, err)
		}
	}
}
