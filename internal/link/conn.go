package link

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// conn is the socket with a deadline for each read and write, and one Close
// however often it is called. The timeouts are set between the handshake,
// which has a bound of its own, and the start of the loops.
//
// TLS and compression are layers on top of it, so the timeouts are about bytes
// on the socket whatever these carry. A write that failed is final for a layer
// as it is for the link: conn has retried it for as long as anything moved.
type conn struct {
	net.Conn
	readTimeout, writeTimeout time.Duration

	closing atomic.Bool
	closed  chan struct{}
}

func newConn(socket net.Conn) *conn { return &conn{Conn: socket, closed: make(chan struct{})} }

func (c *conn) Read(p []byte) (int, error) {
	if c.readTimeout > 0 {
		if err := c.SetReadDeadline(time.Now().Add(c.readTimeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

// Write writes all of p. It gives up when nothing moved for writeTimeout: a
// slow peer takes as long as it needs, a stuck one is found.
func (c *conn) Write(p []byte) (int, error) {
	if c.writeTimeout <= 0 {
		return c.Conn.Write(p)
	}
	written := 0
	for {
		if err := c.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[written:])
		written += n
		if err == nil || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}

// Close closes the socket. A call after the first waits until that is done.
func (c *conn) Close() error {
	if c.closing.Swap(true) {
		<-c.closed
		return nil
	}
	defer close(c.closed)
	return c.Conn.Close()
}

// CloseWrite tells the peer that nothing more will come. Not every transport
// can: the error is errors.ErrUnsupported then.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
