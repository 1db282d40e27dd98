package link

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

// conn is the socket, with a deadline for each read and write. Its Close may be called
// any number of times and closes the socket once. Dial sets the timeouts after the
// handshake, which has a bound of its own.
//
// TLS and compression are layers above conn, so the timeouts are about bytes on the
// socket, whatever those carry. Neither such a layer nor the link can continue after a
// failed Write. So conn itself retries as long as any byte moves.
type conn struct {
	net.Conn
	readTimeout, writeTimeout time.Duration
	writeSteps                int // into how many steps Write divides writeTimeout

	closing atomic.Bool   // Close was called
	closed  chan struct{} // closed when the first Close is done
}

func newConn(socket net.Conn) *conn {
	return &conn{Conn: socket, writeSteps: writeSteps(socket), closed: make(chan struct{})}
}

// writeSteps returns into how many steps a Write to that socket may divide its timeout.
// More than one needs a socket to which a Write that timed out without a byte can be
// repeated. That holds for the kernel's sockets, except on Windows, where a cancelled
// Write may have sent something. It does not hold for a *tls.Conn, which users may dial.
func writeSteps(socket net.Conn) int {
	switch socket.(type) {
	case *net.TCPConn, *net.UnixConn:
		if runtime.GOOS != "windows" {
			return 8
		}
	}
	return 1
}

// direct returns what writes to the socket without waiting, nil if it cannot be done.
func (c *conn) direct() *directWriter {
	switch socket := c.Conn.(type) {
	case *net.TCPConn:
		return newDirectWriter(socket)
	case *net.UnixConn:
		return newDirectWriter(socket)
	}
	return nil
}

func (c *conn) Read(p []byte) (int, error) {
	if c.readTimeout > 0 {
		if err := c.SetReadDeadline(time.Now().Add(c.readTimeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

// Write writes all of p. It gives up when no byte has moved for writeTimeout: a slow
// peer may take as long as it needs, a stuck one is noticed.
//
// The socket does not tell when it took the last byte, only how many it took in one step.
// So after the last byte the timeout may be exceeded by one step.
func (c *conn) Write(p []byte) (int, error) {
	if c.writeTimeout <= 0 {
		return c.Conn.Write(p)
	}
	step := c.writeTimeout / time.Duration(c.writeSteps)
	for written, idle := 0, 0; ; {
		if err := c.SetWriteDeadline(time.Now().Add(step)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[written:])
		written += n
		if n > 0 {
			idle = 0
		} else {
			idle++
		}
		if err == nil || idle == c.writeSteps || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}

// Close closes the socket. A call after the first waits until the first is done.
func (c *conn) Close() error {
	if c.closing.Swap(true) {
		<-c.closed
		return nil
	}
	defer close(c.closed)
	return c.Conn.Close()
}

// CloseWrite tells the peer that nothing more will come. The error is
// errors.ErrUnsupported if the transport cannot do that.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// clearWriteDeadline ends the deadline of the last Write. When a deadline passes, its timer
// wakes the process, even if no Write waits for it.
func (c *conn) clearWriteDeadline() {
	if c.writeTimeout > 0 {
		_ = c.SetWriteDeadline(time.Time{})
	}
}
