package link

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// crowded is a receiver without room, until leave.
type crowded struct {
	mu    sync.Mutex // guards freed
	freed chan struct{}
	asked atomic.Int64
}

func (c *crowded) room() <-chan struct{} {
	c.asked.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.freed
}

func (c *crowded) leave() {
	c.mu.Lock()
	close(c.freed)
	c.freed = nil
	c.mu.Unlock()
}

func newCrowdedLink(p *peer, heartbeat time.Duration) (*Link, *recorder, *crowded) {
	c := &crowded{freed: make(chan struct{})}
	cfg := p.config()
	cfg.Room, cfg.Identify.HeartbeatInterval = c.room, heartbeat.Milliseconds()
	l, r := p.connect(cfg)
	return l, r, c
}

// N8: while the receiver has no room, the reader reads 2 MiB in a heartbeat interval,
// and keeps the connection with a NOP in each. Then it reads on at once.
func TestReaderWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r, c := newCrowdedLink(p, time.Second)
		p.expect("NOP\n")
		frames := 0
		go func() {
			for range 2000 { // more than is read in 5 s, and more than the network buffers
				p.send(message("a", strings.Repeat("x", 10_000)))
				frames++
			}
		}()
		pass(900 * time.Millisecond)
		p.expectNothing()
		pass(99 * time.Millisecond)
		if s := l.Stats(); s.Bytes > trickleSize+busyBuffer || s.Bytes == 0 {
			t.Errorf("%d bytes read in an interval", s.Bytes)
		}
		pass(4 * time.Second)
		p.expect(strings.Repeat("NOP\n", 4))
		asked := c.asked.Load()
		c.leave()
		synctest.Wait()
		if s := l.Stats(); s.Received != 2000 || frames != 2000 {
			t.Errorf("%d messages sent, %d read", frames, s.Received)
		}
		if n := c.asked.Load() - asked; n == 0 {
			t.Error("the receiver was not asked again")
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// shortReads is a socket whose reads yield little, as those of TLS and compression do.
type shortReads struct{ net.Conn }

func (c shortReads) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), 16<<10)]) }

// N8: short reads bring as much in a heartbeat interval. nsqd gives up a connection's
// messages if it cannot write one of 1 MiB in that time.
func TestTrickleOfShortReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c := &crowded{freed: make(chan struct{})}
		cfg := p.config()
		dial := cfg.Dial
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return shortReads{conn}, err
		}
		cfg.Room, cfg.Identify.HeartbeatInterval = c.room, time.Second.Milliseconds()
		l, r := p.connect(cfg)
		go func() {
			for range 2000 {
				_, _ = p.conn.Write(message("a", strings.Repeat("x", 10_000)))
			}
		}()
		pass(999 * time.Millisecond)
		if s := l.Stats(); s.Bytes < 3<<19 || s.Bytes > trickleSize+busyBuffer {
			t.Errorf("%d bytes read in an interval", s.Bytes)
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// N8: a body that gets memory of its own comes no faster.
func TestTrickleOfLargeBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c := &crowded{freed: make(chan struct{})}
		cfg := p.config()
		cfg.Room, cfg.Identify.HeartbeatInterval, cfg.OwnAbove = c.room, time.Second.Milliseconds(), 16<<10
		dial := cfg.Dial
		stream := bytes.NewReader(bytes.Repeat(message("a", strings.Repeat("x", 1<<20)), 30))
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return &longReads{Conn: conn, stream: stream}, err
		}
		l, r := p.connect(cfg)
		pass(1999 * time.Millisecond)
		if s := l.Stats(); s.Received < 3 || s.Received > 4 {
			t.Errorf("%d messages of 1 MiB read in two intervals", s.Received)
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// longReads is a socket that has all of a stream to read after the handshake, of which the
// link reads two replies.
type longReads struct {
	net.Conn
	stream *bytes.Reader
	reads  int
}

func (c *longReads) Read(p []byte) (int, error) {
	if c.reads++; c.reads > 2 && c.stream.Len() > 0 {
		return c.stream.Read(p)
	}
	return c.Conn.Read(p)
}

// A reader that waits holds up neither the end of its link nor a drain.
func TestWaitingReaderEnds(t *testing.T) {
	for _, drain := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			l, r, c := newCrowdedLink(p, time.Minute)
			p.expect("NOP\n")
			p.send(message("a", strings.Repeat("x", 60_000)))
			for l.Stats().Received == 0 {
				pass(10 * time.Millisecond)
			}
			l.Expire()
			start := time.Now()
			if drain {
				l.Drain()
				p.expect("CLS\n")
				p.send(closeWaitFrame)
				c.leave() // as its owner does, though there still is no room
				c.mu.Lock()
				c.freed = make(chan struct{})
				c.mu.Unlock()
				p.expectEOF()
				_ = p.conn.Close()
			} else {
				l.Close(nil)
			}
			if err := r.wait(); err != nil || time.Since(start) > 2*stragglerWait {
				t.Errorf("ended after %v with %v", time.Since(start), err)
			}
		})
	}
}

// Without an interval of its own, a link takes nsqd's default for the trickle.
func TestTrickleWithoutHeartbeatInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c := &crowded{freed: make(chan struct{})}
		cfg := p.config()
		cfg.Room, cfg.Identify = c.room, wire.Identify{ClientID: "c", FeatureNegotiation: true}
		l, r := p.connect(cfg)
		go func() {
			for range 500 {
				_, _ = p.conn.Write(message("a", strings.Repeat("x", 10_000)))
			}
		}()
		p.expect("NOP\n")
		pass(29 * time.Second)
		p.expectNothing()
		pass(2 * time.Second)
		p.expect("NOP\n")
		l.Close(nil)
		_ = r.wait()
	})
}
