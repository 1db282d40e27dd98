package nsqtest

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Conn is one end of a connection of a [Network]. [Network.DialContext] and
// Accept return it.
//
// It behaves as TCP does:
//
//   - Write returns once its bytes are buffered.
//   - After the peer has closed, Read returns what is still buffered and then
//     io.EOF, or ECONNRESET if the peer left input unread. Write fails with
//     ECONNRESET; unlike over TCP, the first Write already does.
//   - Close ends a Read or Write under way with net.ErrClosed.
type Conn struct {
	in, out       *stream
	local, remote address
	writes        atomic.Int64
	closes        atomic.Int64
}

func newPair(client, server address, capacity int) (*Conn, *Conn) {
	up, down := newStream(capacity), newStream(capacity)
	return &Conn{in: down, out: up, local: client, remote: server},
		&Conn{in: up, out: down, local: server, remote: client}
}

// Read reads what is buffered, and waits while nothing is.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write buffers p, and waits for the peer to read while the buffer is full.
func (c *Conn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

// Close ends both directions. A second call returns net.ErrClosed.
func (c *Conn) Close() error {
	if c.closes.Add(1) > 1 {
		return c.wrap("close", net.ErrClosed)
	}
	unread := c.in.closeReader()
	c.out.closeWriter(net.ErrClosed, unread)
	return nil
}

// CloseWrite closes one direction: the peer reads io.EOF after what was written,
// and this end can still read.
func (c *Conn) CloseWrite() error {
	if c.closes.Load() > 0 {
		return c.wrap("close", net.ErrClosed)
	}
	c.out.closeWriter(syscall.EPIPE, false)
	return nil
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the peer: for a client, the one it dialled.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets the deadlines of Read and Write.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline ends a Read at t with os.ErrDeadlineExceeded; the zero time
// means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(c.in, &c.in.readBy, t)
}

// SetWriteDeadline ends a Write at t with os.ErrDeadlineExceeded; the zero time
// means never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(c.out, &c.out.writeBy, t)
}

func (c *Conn) setDeadline(s *stream, d *deadline, t time.Time) error {
	if c.closes.Load() > 0 {
		return c.wrap("set", net.ErrClosed)
	}
	s.setDeadline(d, t)
	return nil
}

// Writes returns how often Write was called. On a socket each would be a system
// call.
func (c *Conn) Writes() int { return int(c.writes.Load()) }

// Closes returns how often Close was called. More than once is a bug in the owner.
func (c *Conn) Closes() int { return int(c.closes.Load()) }

func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // io.EOF is returned bare, as net does
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// A stream is one direction of a connection.
type stream struct {
	mu       sync.Mutex // guards what follows
	changed  sync.Cond  // something below changed, or a deadline passed
	buf      bytes.Buffer
	capacity int
	busy     bool  // a write is under way; others wait, so that each one's bytes stay together
	readErr  error // what read returns once the reader's end is closed
	writeErr error // what write returns once the writer's end is closed, wholly or by CloseWrite
	reset    bool  // the writer's end was closed with input unread
	readBy   deadline
	writeBy  deadline
}

func newStream(capacity int) *stream {
	s := &stream{capacity: capacity}
	s.changed.L = &s.mu
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readErr != nil:
			return 0, s.readErr
		case s.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case s.buf.Len() > 0:
			s.changed.Broadcast()
			return s.buf.Read(p)
		case s.reset:
			return 0, syscall.ECONNRESET
		case s.writeErr != nil:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.busy {
		s.changed.Wait()
	}
	s.busy = true
	defer func() {
		s.busy = false
		s.changed.Broadcast()
	}()
	for n := 0; ; {
		switch {
		case s.writeErr != nil:
			return n, s.writeErr
		case s.writeBy.passed():
			return n, os.ErrDeadlineExceeded
		case s.readErr != nil:
			return n, syscall.ECONNRESET
		}
		room := min(s.capacity-s.buf.Len(), len(p)-n)
		s.buf.Write(p[n : n+room])
		n += room
		s.changed.Broadcast()
		if n == len(p) {
			return n, nil
		}
		s.changed.Wait()
	}
}

// closeReader closes the reader's end and reports whether input was left unread.
func (s *stream) closeReader() (unread bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unread = s.buf.Len() > 0
	s.buf = bytes.Buffer{}
	s.readErr = net.ErrClosed
	s.readBy.stop()
	s.changed.Broadcast()
	return unread
}

// closeWriter closes the writer's end: write returns err from now on.
func (s *stream) closeWriter(err error, reset bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeErr = err
	s.reset = reset
	s.writeBy.stop()
	s.changed.Broadcast()
}

// A deadline wakes the readers and writers of its stream when it passes. The
// stream's mutex guards it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (s *stream) setDeadline(d *deadline, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.stop()
	d.at = at
	if !at.IsZero() {
		wait := time.Until(at)
		// Take the time from the monotonic clock, which the timer uses too. By
		// the wall clock, d.at could still lie ahead when the timer fires, and
		// nothing would wake the waiters again.
		d.at = time.Now().Add(wait)
		switch {
		case wait <= 0: // the Broadcast below wakes the waiters
		case d.timer == nil:
			d.timer = time.AfterFunc(wait, s.wake)
		default:
			d.timer.Reset(wait)
		}
	}
	s.changed.Broadcast()
}

func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
