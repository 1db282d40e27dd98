package hostile

import (
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// A Peer is one connection of a client to an [Nsqd]. Only its script uses it.
type Peer struct {
	Conn net.Conn // the connection itself, below compression
	N    int      // its number, from 1 in the order of accepting

	nsqd   *Nsqd
	stream io.ReadWriter // Conn, or compression on top of it
	in     []byte        // read and not yet parsed
	sent   int           // bytes since Options.Sent was last called
}

// noLimits let a client send what it wants.
var noLimits = wire.Limits{MsgSize: 1 << 30, BodySize: 1 << 30}

// Greet plays the handshake up to the reply to IDENTIFY and the compression that the
// Options grant. It reports whether the connection is still in use.
func (p *Peer) Greet() bool {
	if !p.readMagic() {
		return false
	}
	for {
		c, err := p.Next()
		if err != nil {
			return false
		}
		if c.Name == wire.CmdIdentify {
			break
		}
	}
	reply := p.nsqd.opts.Identify
	if reply == "" {
		compression := p.nsqd.opts.Compression
		reply = fmt.Sprintf(`{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,"msg_timeout":60000,`+
			`"snappy":%t,"deflate":%t}`, compression == "snappy", compression == "deflate")
	}
	return p.Send(nsqtest.ResponseFrame(reply)) && p.compress()
}

// Subscribe is Greet, and then replies OK to the client's SUB. It ignores commands before
// SUB.
func (p *Peer) Subscribe() bool {
	if !p.Greet() {
		return false
	}
	for {
		c, err := p.Next()
		if err != nil {
			return false
		}
		if c.Name == wire.CmdSub {
			return p.Send(nsqtest.ResponseFrame(wire.OK))
		}
	}
}

func (p *Peer) readMagic() bool {
	for len(p.in) < len(wire.MagicV2) {
		if p.fill() != nil {
			return false
		}
	}
	p.in = p.in[len(wire.MagicV2):]
	return true
}

// Next reads the client's next command. Its Conn is the peer's N.
func (p *Peer) Next() (nsqtest.Command, error) {
	for {
		c, n, err := wire.ParseCommand(p.in, noLimits)
		if err == nil {
			body := slices.Clone(c.Body)
			p.in = p.in[n:]
			return nsqtest.Command{Conn: p.N, Name: c.Name, Params: c.Params, Body: body}, nil
		}
		if !errors.Is(err, wire.ErrShort) {
			return nsqtest.Command{}, err
		}
		if err := p.fill(); err != nil {
			return nsqtest.Command{}, err
		}
	}
}

func (p *Peer) fill() error {
	p.in = slices.Grow(p.in, 4096)
	n, err := p.stream.Read(p.in[len(p.in):cap(p.in)])
	p.in = p.in[:len(p.in)+n]
	if n > 0 {
		return nil
	}
	return err
}

// Send sends bytes: frames, or anything else. It reports whether the connection has
// taken them.
func (p *Peer) Send(frames ...[]byte) bool {
	for _, f := range frames {
		if _, err := p.stream.Write(f); err != nil {
			return false
		}
		p.progress(len(f))
	}
	return true
}

// Flood sends a frame again and again, about size bytes before compression. It reports
// whether the connection has taken them.
func (p *Peer) Flood(frame []byte, size int) bool {
	const atOnce = 64 << 10
	block := slices.Repeat(frame, max(atOnce/len(frame), 1))
	for ; size > 0; size -= len(block) {
		if !p.Send(block) {
			return false
		}
	}
	return true
}

func (p *Peer) progress(n int) {
	const every = 256 << 10
	if p.sent += n; p.sent >= every && p.nsqd.opts.Sent != nil {
		p.sent = 0
		p.nsqd.opts.Sent()
	}
}

// Discard reads what the client sends, and ignores it, until the connection ends.
func (p *Peer) Discard() {
	p.in = nil
	_, _ = io.Copy(io.Discard, p.stream)
}

// Hang neither reads nor sends until the nsqd is closed.
func (p *Peer) Hang() { <-p.nsqd.closing }

// Pause does nothing for d, or until the nsqd is closed.
func (p *Peer) Pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.nsqd.closing:
	}
}

// compress puts the granted compression on top of the connection.
func (p *Peer) compress() bool {
	switch p.nsqd.opts.Compression {
	case "snappy":
		p.stream = struct {
			io.Reader
			io.Writer
		}{
			s2.NewReader(p.Conn, s2.ReaderMaxBlockSize(64<<10)),
			flushed{s2.NewWriter(p.Conn, s2.WriterSnappyCompat(), s2.WriterConcurrency(1))},
		}
	case "deflate":
		w, err := flate.NewWriter(p.Conn, flate.BestCompression)
		if err != nil {
			return false
		}
		p.stream = struct {
			io.Reader
			io.Writer
		}{flate.NewReader(p.Conn), flushed{w}}
	default:
		return true
	}
	p.in = nil
	return p.Send(nsqtest.ResponseFrame(wire.OK))
}

// flushed flushes after each Write.
type flushed struct {
	to interface {
		io.Writer
		Flush() error
	}
}

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.to.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.to.Flush()
}
