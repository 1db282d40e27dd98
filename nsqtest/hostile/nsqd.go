package hostile

import (
	"cmp"
	"net"
	"sync"
	"testing"

	"github.com/rdyhq/nsq/nsqtest"
)

// Options configure an [Nsqd]. The zero value listens on a free loopback port and is
// plain in its handshakes.
type Options struct {
	Network *nsqtest.Network // where to listen; nil means loopback TCP, which a synctest bubble cannot use
	Addr    string           // host:port; empty means "127.0.0.1:0", a free port

	// Identify is the reply to IDENTIFY. Empty means what an nsqd 1.3.0 with its
	// defaults replies that grants Compression.
	Identify string
	// Compression is granted to clients, who must ask for it: "snappy", "deflate", or
	// empty for none.
	Compression string

	// Sent, if not nil, is called by each script's goroutine after about every 256 KiB
	// that it has sent. A test can measure memory there.
	Sent func()
}

// An Nsqd plays a script on every connection. Make one with [NewNsqd]. Its methods may
// be called from any goroutine.
type Nsqd struct {
	opts     Options
	listener net.Listener
	script   func(*Peer)
	running  sync.WaitGroup // the accept loop and every script
	closing  chan struct{}  // closed by Close

	mu    sync.Mutex // guards what follows
	peers []*Peer
}

// NewNsqd starts an nsqd, and closes it when the test ends. It fails the test if it
// cannot listen. script is called for each connection, on a goroutine of its own; the
// connection is closed when it returns. It may call no method that fails the test.
func NewNsqd(tb testing.TB, opts Options, script func(*Peer)) *Nsqd {
	tb.Helper()
	addr := cmp.Or(opts.Addr, "127.0.0.1:0")
	var l net.Listener
	var err error
	if opts.Network != nil {
		l, err = opts.Network.Listen(addr)
	} else {
		l, err = (&net.ListenConfig{}).Listen(tb.Context(), "tcp", addr)
	}
	if err != nil {
		tb.Fatalf("hostile: %v", err)
	}
	d := &Nsqd{opts: opts, listener: l, script: script, closing: make(chan struct{})}
	d.running.Go(d.serve)
	tb.Cleanup(d.Close)
	return d
}

// Addr returns the address to connect to, as host:port.
func (d *Nsqd) Addr() string { return d.listener.Addr().String() }

// Conns returns how many connections were accepted.
func (d *Nsqd) Conns() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.peers)
}

// Close stops listening, closes all connections, and waits for their scripts to return.
func (d *Nsqd) Close() {
	d.mu.Lock()
	select {
	case <-d.closing:
	default:
		close(d.closing)
	}
	peers := d.peers
	d.mu.Unlock()
	_ = d.listener.Close()
	for _, p := range peers {
		_ = p.Conn.Close()
	}
	d.running.Wait()
}

func (d *Nsqd) serve() {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.admit(conn)
	}
}

// admit starts the script on a connection, unless Close was called.
func (d *Nsqd) admit(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.closing:
		_ = conn.Close()
		return
	default:
	}
	p := &Peer{Conn: conn, N: len(d.peers) + 1, nsqd: d, stream: conn}
	d.peers = append(d.peers, p)
	d.running.Go(func() {
		d.script(p)
		_ = conn.Close()
	})
}
