package transcripts

import (
	"bufio"
	"compress/flate"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/klauspost/compress/s2"
)

// A client sends bytes and collects frames. It parses them itself, so that it does not
// share a fault with the fake.
type client struct {
	name   string
	conn   net.Conn
	tls    *tls.Config
	ended  chan struct{} // closed when read has returned
	silent bool          // it sends no more: half, close or END was a step

	mu     sync.Mutex // guards what follows
	plain  bool       // do not start what nsqd grants
	out    io.Writer  // conn, or TLS or compression on top of it
	frames []frame
}

// A frame is what a client has received.
type frame struct {
	kind int32 // as on the wire, or one of those below
	data []byte
}

const (
	kindResponse int32 = iota
	kindError
	kindMessage
	kindNote // data says what happened to the connection
)

func newClient(name string, conn net.Conn, config *tls.Config) *client {
	c := &client{name: name, conn: conn, tls: config, ended: make(chan struct{}), out: conn}
	go c.read()
	return c
}

// close closes the connection and waits for the reader.
func (c *client) close() {
	c.silent = true
	_ = c.conn.Close()
	<-c.ended
}

// send writes to the connection. It ignores an error: nsqd may have closed it before it
// has read all.
func (c *client) send(b []byte) {
	c.mu.Lock()
	out := c.out
	c.mu.Unlock()
	_, _ = out.Write(b)
}

// received returns the frames from the first-th on.
func (c *client) received(first int) []frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[first:]
}

// closed reports whether the connection has ended.
func (c *client) closed() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (c *client) add(kind int32, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = append(c.frames, frame{kind, data})
}

func (c *client) note(format string, args ...any) { c.add(kindNote, fmt.Appendf(nil, format, args...)) }

// read collects frames until the connection ends.
func (c *client) read() {
	defer close(c.ended)
	var in io.Reader = bufio.NewReader(c.conn)
	for {
		f, err := readFrame(in)
		if err != nil {
			c.note("%v", err)
			return
		}
		c.add(f.kind, f.data)
		if in = c.upgrade(in, f); in == nil {
			return
		}
	}
}

// errClosed stands for io.EOF and for a reset: which of them comes is not nsqd's choice.
var errClosed = errors.New("closed")

func readFrame(in io.Reader) (frame, error) {
	var head [8]byte
	if n, err := io.ReadFull(in, head[:]); err != nil {
		if n > 0 {
			return frame{}, fmt.Errorf("closed after %q", head[:n])
		}
		return frame{}, errClosed
	}
	f := frame{kind: int32(binary.BigEndian.Uint32(head[4:]))}
	size := binary.BigEndian.Uint32(head[:])
	if size < 4 || size > 16<<20 || f.kind < kindResponse || f.kind > kindMessage {
		return frame{}, fmt.Errorf("no frame: %q", head[:])
	}
	f.data = make([]byte, size-4)
	if n, err := io.ReadFull(in, f.data); err != nil {
		return frame{}, fmt.Errorf("closed after %d bytes of a frame of %d", n, size)
	}
	return f, nil
}

// upgrade starts what the reply to IDENTIFY grants. It returns the new stream, or nil if
// the connection has failed.
func (c *client) upgrade(in io.Reader, f frame) io.Reader {
	var granted struct {
		TLSv1           bool `json:"tls_v1"`
		Snappy, Deflate bool
	}
	c.mu.Lock()
	out, plain := c.out, c.plain
	c.mu.Unlock()
	if f.kind != kindResponse || json.Unmarshal(f.data, &granted) != nil || plain {
		return in
	}
	if granted.TLSv1 {
		stream := tls.Client(tail{c.conn, in}, c.tls)
		ok, err := readFrame(stream) // after the handshake
		if err != nil {
			c.note("TLS: %v", err)
			return nil
		}
		c.add(ok.kind, ok.data)
		in, out = stream, stream
	}
	switch {
	case granted.Snappy:
		in, out = s2.NewReader(in), flushing{s2.NewWriter(out, s2.WriterSnappyCompat(), s2.WriterConcurrency(1))}
	case granted.Deflate:
		w, err := flate.NewWriter(out, flate.DefaultCompression)
		if err != nil {
			c.note("%v", err)
			return nil
		}
		in, out = flate.NewReader(in), flushing{w}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = out
	return in
}

// A tail is a connection of which a buffer has already read some.
type tail struct {
	net.Conn
	in io.Reader
}

func (t tail) Read(p []byte) (int, error) { return t.in.Read(p) }

// flushing flushes after each Write.
type flushing struct {
	to interface {
		io.Writer
		Flush() error
	}
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.to.Write(p)
	if err == nil {
		err = f.to.Flush()
	}
	return n, err
}
