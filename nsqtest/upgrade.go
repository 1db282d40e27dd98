package nsqtest

import (
	"compress/flate"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/rdyhq/nsq/internal/wire"
)

// A socket is a connection below all upgrades. It carries out CutAfterSent,
// CutAfterReceived and StopReading.
type socket struct {
	net.Conn
	client *client
	cuts   cuts // Read uses received, Write uses sent; neither runs twice at a time
}

func (s *socket) Read(p []byte) (int, error) {
	for {
		if !s.client.mayRead() {
			return 0, net.ErrClosed
		}
		if s.cuts.received >= 0 {
			p = p[:min(len(p), s.cuts.received)]
		}
		n, err := s.Conn.Read(p)
		if s.cuts.received >= 0 {
			s.cuts.received -= n
			if s.cuts.received == 0 {
				s.client.cut()
			}
		}
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		// StopReading or onIdle set a deadline in the past. mayRead waits for StartReading.
	}
}

func (s *socket) Write(p []byte) (int, error) {
	if s.cuts.sent < 0 {
		return s.Conn.Write(p)
	}
	p = p[:min(len(p), s.cuts.sent)]
	s.cuts.sent -= len(p)
	n, err := s.Conn.Write(p)
	if err == nil && s.cuts.sent == 0 {
		err = net.ErrClosed
	}
	return n, err
}

// upgrade starts the TLS and compression that IDENTIFY granted, in nsqd's order. It
// reports whether the connection is still in use.
func (c *client) upgrade() bool {
	granted := c.granted
	c.granted = nil
	switch {
	case granted == nil:
		return true
	case granted.TLSv1 && !c.switchStream(c.startTLS):
		return false
	case granted.Snappy:
		return c.switchStream(c.startSnappy)
	case granted.Deflate:
		return c.switchStream(func() (io.ReadWriter, error) { return c.startDeflate(granted.DeflateLevel) })
	}
	return true
}

// switchStream sends the pending output on the old stream, replaces the stream,
// and sends OK on the new one. As in nsqd, what was read ahead on the old stream
// is lost: a client must not send before it has received the OK.
func (c *client) switchStream(start func() (io.ReadWriter, error)) bool {
	if !c.drainOutput() {
		return false
	}
	stream, err := start()
	c.in = nil

	d := c.nsqd
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.bump()
	c.sendLimit = -1
	if err != nil { // reported on the old stream, as nsqd does: in plain text if TLS failed
		c.write(wire.AppendError(nil, failure(wire.IdentifyFailed, "IDENTIFY failed %v", err)))
		c.end()
		return false
	}
	c.stream = stream
	c.write(ResponseFrame(wire.OK))
	return true
}

// drainOutput waits until the writer has sent what is in out now. What is added
// later waits until switchStream lifts sendLimit. drainOutput reports whether the
// connection is still in use.
func (c *client) drainOutput() bool {
	c.nsqd.mu.Lock()
	defer c.nsqd.mu.Unlock()
	c.sendLimit = len(c.out)
	for (c.sendLimit > 0 || c.writing) && !c.ending {
		c.wake.Wait()
	}
	return !c.ending
}

func (c *client) startTLS() (io.ReadWriter, error) {
	giveUp := time.AfterFunc(5*time.Second, c.failTLS)
	defer giveUp.Stop()
	conn := tls.Server(c.conn, c.nsqd.opts.TLSConfig)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	c.nsqd.update(func() { c.secure = true })
	return conn, nil
}

// failTLS ends a client whose handshake takes too long, with the error that nsqd's read
// returns.
func (c *client) failTLS() {
	c.nsqd.update(func() {
		c.sendLimit = -1
		c.write(wire.AppendError(nil, failure(wire.IdentifyFailed,
			"IDENTIFY failed read tcp %v->%v: i/o timeout", c.conn.LocalAddr(), c.conn.RemoteAddr())))
		c.end()
	})
}

func (c *client) startSnappy() (io.ReadWriter, error) {
	c.nsqd.update(func() { c.compression = "snappy" })
	return &compressed{
		Reader: s2.NewReader(c.stream, s2.ReaderMaxBlockSize(64<<10)),
		to:     s2.NewWriter(c.stream, s2.WriterSnappyCompat(), s2.WriterConcurrency(1)),
	}, nil
}

func (c *client) startDeflate(level int) (io.ReadWriter, error) {
	w, err := flate.NewWriter(c.stream, level)
	if err != nil {
		return nil, err
	}
	c.nsqd.update(func() { c.compression = "deflate" })
	return &compressed{Reader: flate.NewReader(c.stream), to: w, flushTwice: true}, nil
}

// compressed is a stream that flushes every Write.
type compressed struct {
	io.Reader
	to interface {
		io.Writer
		Flush() error
	}
	flushTwice bool // with deflate, as nsqd does; clients must cope with it
}

func (s *compressed) Write(p []byte) (int, error) {
	if _, err := s.to.Write(p); err != nil {
		return 0, err
	}
	err := s.to.Flush()
	if err == nil && s.flushTwice {
		err = s.to.Flush()
	}
	return len(p), err
}
