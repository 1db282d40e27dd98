package main

import (
	"bytes"
	"compress/flate"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/snappy"

	"github.com/rdyhq/nsq/internal/wire"
)

// fake is an nsqd that uses far less CPU than any client. It sends messages,
// encoded beforehand, in large writes, and counts FINs without looking at their
// IDs. It respects RDY and replies to publishes at once.
type fake struct {
	c    Case
	feed *feed
	tls  *tls.Config

	counts liveCounts

	// The fake sends messages only after all connections have subscribed. While
	// messages flow, go-nsq takes minutes to make 1,000 connections and gives up
	// on some.
	unsubscribed  atomic.Int64  // connections that have not subscribed
	allSubscribed chan struct{} // closed when there are none
}

func newFake(c Case) *fake {
	f := &fake{c: c, feed: newFeed(c.Body, c.Transport), allSubscribed: make(chan struct{})}
	f.unsubscribed.Store(int64(max(c.Conns, 1)))
	return f
}

// fakeConn is one client's connection.
type fakeConn struct {
	f    *fake
	conn net.Conn

	mu       sync.Mutex // guards the fields below
	changed  *sync.Cond // signalled when one of them changes
	rdy      int
	inFlight int
	ended    bool
}

func (f *fake) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			f.handle(conn)
		}()
	}
}

// handle serves one client. It does not report errors, because they show in the
// client's figures.
func (f *fake) handle(conn net.Conn) {
	in := newScanner(conn)
	if f.c.Kind == silence { // there may be 10,000 connections
		in.buf = make([]byte, 1<<10)
	}
	if magic, err := in.take(4); err != nil || string(magic) != wire.MagicV2 {
		return
	}
	c := &fakeConn{f: f, conn: conn}
	c.changed = sync.NewCond(&c.mu)
	defer c.end()
	for {
		cmd, err := in.command()
		if err != nil {
			return
		}
		switch cmd.Name {
		case wire.CmdIdentify:
			time.Sleep(f.c.RTT)
			upgraded, err := c.identify()
			if err != nil {
				return
			}
			if upgraded != nil {
				in = newScanner(upgraded)
			}
			switch f.c.Kind {
			case idle:
				go c.beat(heartbeat)
			case silence:
				go c.beat(nsqdHeartbeat)
			}
		case wire.CmdSub:
			if _, err := c.conn.Write(f.feed.ok); err != nil {
				return
			}
			if f.unsubscribed.Add(-1) == 0 {
				close(f.allSubscribed)
			}
			switch f.c.Kind {
			case consume, latency, memory, observe, taking:
				go c.send()
			}
		case wire.CmdPub, wire.CmdMpub:
			if _, err := c.conn.Write(okFrame); err != nil {
				return
			}
			_ = in.readProducer(c.conn)
			return
		case wire.CmdNop:
			f.counts.nops.Add(1)
		case wire.CmdRdy:
			f.counts.rdys.Add(1)
			c.setRdy(atoi([]byte(cmd.Params[0])))
			_ = in.readConsumer(c)
			return
		}
	}
}

var okFrame = wire.AppendFrame(nil, wire.FrameResponse, []byte(wire.OK))

// identify replies to IDENTIFY and upgrades the connection as the case asks.
func (c *fakeConn) identify() (upgraded io.Reader, err error) {
	reply := `{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,"msg_timeout":60000,"tls_v1":` +
		strconv.FormatBool(c.f.c.Transport == "tls") + `,"deflate":` + strconv.FormatBool(c.f.c.Transport == "deflate") +
		`,"deflate_level":6,"max_deflate_level":6,"snappy":` + strconv.FormatBool(c.f.c.Transport == "snappy") +
		`,"sample_rate":0,"auth_required":false,"output_buffer_size":16384,"output_buffer_timeout":250}`
	if _, err := c.conn.Write(wire.AppendFrame(nil, wire.FrameResponse, []byte(reply))); err != nil {
		return nil, err
	}
	switch c.f.c.Transport {
	case "tls":
		secure := tls.Server(c.conn, c.f.tls)
		if err := secure.Handshake(); err != nil {
			return nil, err
		}
		c.conn, upgraded = secure, secure
	case "snappy":
		upgraded = snappy.NewReader(c.conn)
	case "deflate":
		upgraded = flate.NewReader(c.conn)
	default:
		return nil, nil
	}
	_, err = c.conn.Write(c.f.feed.ok)
	return upgraded, err
}

func (c *fakeConn) setRdy(n int) {
	c.mu.Lock()
	c.rdy = n
	c.mu.Unlock()
	c.changed.Signal()
}

func (c *fakeConn) addFinished(n int) {
	c.mu.Lock()
	c.inFlight -= n
	c.mu.Unlock()
	c.changed.Signal()
}

func (c *fakeConn) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.changed.Signal()
}

// awaitReady waits until the client is ready for messages. It counts up to limit
// messages as in flight and returns their number, or 0 after the connection ended.
func (c *fakeConn) awaitReady(limit int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ended && c.inFlight >= c.rdy {
		c.changed.Wait()
	}
	if c.ended {
		return 0
	}
	n := min(c.rdy-c.inFlight, limit)
	c.inFlight += n
	return n
}

// send sends messages while the client is ready for them: as fast as it can, or
// at the case's rate.
func (c *fakeConn) send() {
	<-c.f.allSubscribed
	if c.f.c.Kind == latency {
		c.pace()
		return
	}
	for at := 0; ; {
		n := c.awaitReady(min(c.f.feed.len()-at, c.f.feed.atOnce()))
		if n == 0 {
			return
		}
		for n > 0 {
			frames, taken := c.f.feed.cut(at, n)
			if _, err := c.conn.Write(frames); err != nil {
				return
			}
			n -= taken
			at = (at + taken) % c.f.feed.len()
		}
	}
}

// pace sends stamped messages at the case's rate.
func (c *fakeConn) pace() {
	var out []byte
	id := 0
	body := make([]byte, max(c.f.c.Body, 8))
	paced(c.f.c.Rate, func(due int) int {
		n := c.awaitReady(due)
		out = out[:0]
		for range n {
			stamp(body)
			out = wire.AppendMessage(out, &wire.Message{ID: wireID(id), Attempts: 1, Timestamp: 1, Body: body})
			id++
		}
		if _, err := c.conn.Write(out); err != nil {
			return 0
		}
		return n
	})
}

// beat sends heartbeats.
func (c *fakeConn) beat(interval time.Duration) {
	frame := wire.AppendFrame(nil, wire.FrameResponse, []byte(wire.Heartbeat))
	for range time.Tick(interval) {
		if _, err := c.conn.Write(frame); err != nil {
			return
		}
	}
}

// heartbeat is the interval between heartbeats to a client of the idle case: much shorter
// than nsqd's.
const heartbeat = 500 * time.Millisecond

// scanner reads commands.
type scanner struct {
	src  io.Reader
	buf  []byte
	r, w int
}

func newScanner(src io.Reader) *scanner { return &scanner{src: src, buf: make([]byte, 256<<10)} }

func (s *scanner) fill() error {
	if s.r > 0 {
		copy(s.buf, s.buf[s.r:s.w])
		s.r, s.w = 0, s.w-s.r
	}
	if s.w == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	n, err := s.src.Read(s.buf[s.w:])
	s.w += n
	if n > 0 {
		return nil
	}
	return err
}

func (s *scanner) take(n int) ([]byte, error) {
	for s.w-s.r < n {
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
	s.r += n
	return s.buf[s.r-n : s.r], nil
}

func (s *scanner) command() (wire.Command, error) {
	for {
		cmd, n, err := wire.ParseCommand(s.buf[s.r:s.w], wire.Limits{MsgSize: 64 << 20, BodySize: 64 << 20})
		if err == nil {
			s.r += n
			return cmd, nil
		}
		if !errors.Is(err, wire.ErrShort) {
			return cmd, err
		}
		if err := s.fill(); err != nil {
			return cmd, err
		}
	}
}

// finLen is the length of a FIN command.
const finLen = len("FIN ") + wire.IDLen + 1

// readConsumer reads what a consumer sends after its first RDY, mostly FINs.
func (s *scanner) readConsumer(c *fakeConn) error {
	for {
		finished := 0
		for s.w-s.r >= 4 {
			b := s.buf[s.r:s.w]
			if b[0] == 'F' {
				if len(b) < finLen {
					break
				}
				finished++
				s.r += finLen
				continue
			}
			end := bytes.IndexByte(b, '\n')
			if end < 0 {
				break
			}
			switch line := b[:end]; {
			case string(line) == wire.CmdNop:
				c.f.counts.nops.Add(1)
			case bytes.HasPrefix(line, []byte("RDY ")):
				c.f.counts.rdys.Add(1)
				c.setRdy(atoi(line[4:]))
			case bytes.HasPrefix(line, []byte("REQ ")):
				finished++
			case string(line) == wire.CmdCls:
				c.setRdy(0)
				if _, err := c.conn.Write(c.f.feed.closeWait); err != nil {
					return err
				}
			}
			s.r += end + 1
		}
		if finished > 0 {
			c.addFinished(finished)
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
}

// readProducer reads what a producer sends. After each read it writes the OKs for
// all publishes in it at once.
func (s *scanner) readProducer(w io.Writer) error {
	var out []byte
	for {
		out = out[:0]
		for {
			end := bytes.IndexByte(s.buf[s.r:s.w], '\n')
			if end < 0 {
				break
			}
			head := s.r + end + 1
			if s.buf[s.r] == 'N' { // NOP
				s.r = head
				continue
			}
			if s.w < head+4 {
				break
			}
			next := head + 4 + int(binary.BigEndian.Uint32(s.buf[head:]))
			if s.w < next {
				break
			}
			s.r = next
			out = append(out, okFrame...)
		}
		if len(out) > 0 {
			if _, err := w.Write(out); err != nil {
				return err
			}
		}
		if err := s.fill(); err != nil {
			return err
		}
	}
}

func atoi(digits []byte) int {
	n, _ := strconv.Atoi(string(digits))
	return n
}
