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

// A socket is a connection below all upgrades. Its bytes are those that cuts
// count, and a deaf nsqd does not read them.
type socket struct {
	net.Conn
	client *client
	cuts   cuts // received is the reader's own, sent whoever's who writes
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
		// StopReading interrupted; the next turn will wait.
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

// upgrade does what IDENTIFY granted, in nsqd's order, and tells whether the
// connection goes on.
func (c *client) upgrade() bool {
	granted := c.granted
	c.granted = nil
	switch {
	case granted == nil:
		return true
	case granted.TLSv1 && !c.change(c.startTLS):
		return false
	case granted.Snappy:
		return c.change(c.startSnappy)
	case granted.Deflate:
		return c.change(func() (io.ReadWriter, error) { return c.startDeflate(granted.DeflateLevel) })
	}
	return true
}

// change puts a new stream in the place of c.stream when all that was to be
// sent on the old one is sent, and says OK on it. As with nsqd, what was read
// ahead on the old one is lost: a client must not send before it has the OK.
func (c *client) change(start func() (io.ReadWriter, error)) bool {
	if !c.quiesce() {
		return false
	}
	stream, err := start()
	c.in = nil

	d := c.nsqd
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.bump()
	c.held = -1
	if err != nil { // nsqd says so on the old stream, plain text if TLS failed
		c.write(wire.AppendError(nil, failure(wire.IdentifyFailed, "IDENTIFY failed %v", err)))
		c.end()
		return false
	}
	c.stream = stream
	c.write(ResponseFrame(wire.OK))
	return true
}

// quiesce has the writer send what there is now and hold back what comes.
func (c *client) quiesce() bool {
	c.nsqd.mu.Lock()
	defer c.nsqd.mu.Unlock()
	c.held = len(c.out)
	for (c.held > 0 || c.writing) && !c.ending {
		c.wake.Wait()
	}
	return !c.ending
}

func (c *client) startTLS() (io.ReadWriter, error) {
	giveUp := time.AfterFunc(5*time.Second, c.cut) // as nsqd does, but without a word
	defer giveUp.Stop()
	conn := tls.Server(c.conn, c.nsqd.opts.TLSConfig)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	c.nsqd.update(func() { c.secure = true })
	return conn, nil
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
	return &compressed{Reader: flate.NewReader(c.stream), to: w, again: true}, nil
}

// compressed is a stream whose every Write is flushed.
type compressed struct {
	io.Reader
	to interface {
		io.Writer
		Flush() error
	}
	again bool // flush twice: nsqd does with deflate, and clients must bear it
}

func (s *compressed) Write(p []byte) (int, error) {
	if _, err := s.to.Write(p); err != nil {
		return 0, err
	}
	err := s.to.Flush()
	if err == nil && s.again {
		err = s.to.Flush()
	}
	return len(p), err
}
