// Package link is one connection to an nsqd: dial, handshake, one reader, one
// writer, and an end that closes the socket once and tells the owner once.
//
// A link knows NSQ's protocol but no policy: it decides neither how many messages
// a connection gets nor when to connect again. Its owner calls [Dial], then
// [Link.Start] with a [Receiver]. When the receiver's Down is called, the link's
// goroutines, timers and socket are gone.
//
// Commands never block: they are appended to a buffer that the writer takes whole.
// What is appended during one Write waits for the next. So system calls per message
// fall as load rises, and on an idle connection a single command leaves at once.
package link

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// Config says where to connect and as whom.
type Config struct {
	Addr     string // host:port, or unix: and the path of a socket
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	Identify wire.Identify

	// TLS is how to do the TLS that Identify asks for as TLSv1. nil means Go's
	// defaults; an empty ServerName means the host of Addr. If nsqd does not offer
	// TLS, Dial fails with ErrTLSRefused and sends nothing after IDENTIFY. Without
	// the compression that Identify asks for, the link works uncompressed:
	// Transport says what it got.
	TLS        *tls.Config
	AuthSecret string // sent if nsqd asks for it

	// Topic and Channel are what to subscribe to. A link without a topic publishes.
	Topic, Channel string

	HandshakeTimeout time.Duration // from the dial's success to SUB's OK; 0 leaves the bound to the context
	ReadTimeout      time.Duration // longest silence of nsqd; 0 is no bound
	WriteTimeout     time.Duration // longest time in which nsqd takes no byte, noticed within twice that; 0 is no bound
	MaxBody          int           // largest message body that is read; 0 is no limit

	// OwnAbove is the length above which a body has memory of its own, which the
	// receiver may keep. With 0, no body has.
	OwnAbove int
}

// A Receiver is told what arrives. The link calls its methods one at a time, on
// its own goroutines. They must not block: while one runs, the link reads nothing
// and sends no NOP for a heartbeat.
type Receiver interface {
	// Messages hands over the messages of one read. The slice, and bodies up to
	// OwnAbove, are valid during the call only.
	Messages(batch []wire.Message)
	// TooBig reports a message whose body exceeds MaxBody and was not read: m has
	// no body. Like any other message it is in flight until it is finished or
	// requeued.
	TooBig(m wire.Message, size int)
	// Failed reports a FIN, REQ or TOUCH that nsqd refused.
	Failed(err *wire.Error)
	// Down is the last call: the link has ended. err is nil after a drain in good
	// order, and otherwise an [*Error] that says why the link ended.
	Down(err error)
}

// A Link is one connection to an nsqd. Any goroutine may call its methods.
//
// The order of the fields keeps apart, in memory, what the reader writes at every
// frame and what the mutex guards.
type Link struct {
	// Set by Dial and never again. Any goroutine may read them.
	cfg  Config
	conn *conn

	// The reader's own, and before Start the handshake's.
	in input

	// The writer's own, and before Start the handshake's: conn, or the layers of
	// TLS and compression above it.
	out output

	// Set by Start before the loops run. Only the loops read them.
	receiver Receiver
	frames   FrameReceiver // the receiver, if it is one; otherwise nil

	// Set by the handshake, within Dial, and never again. Any goroutine may read it.
	session

	// running is how many of the two loops have not ended. Start sets it, and each
	// loop subtracts one when it ends.
	running atomic.Int32

	// mu guards all that follows. It is the last in any order of locks: whoever holds
	// it takes no other, calls nothing back and does no I/O.
	mu sync.Mutex

	// Commands. Any goroutine appends, the writer takes and counts what it wrote.
	writerWake *sync.Cond // only the writer waits on it: see takePending
	progress   *sync.Cond // broadcast when sent grows or closing is set; nil until the first Sent
	pending    outgoing   // appended and not yet taken by the writer
	unsent     [][]byte   // what the writer had taken and a failed Write left, until the accounts are closed
	queued     uint64     // bytes ever appended to pending
	sent       uint64     // bytes ever given to the socket

	// awaited are the commands that nsqd has yet to reply to. Publishes and Drain
	// add to it; the reader removes from it, and at the end loopEnded.
	awaited replyQueue

	stats Stats

	// How far the end has come. No flag is ever cleared. sealed comes before closing
	// or with it, settled comes last.
	drain   drainState
	sealed  bool  // no command is accepted any more
	closing bool  // fail was called: err stands, and the socket is being closed
	err     error // why the link ends, nil if in good order; set together with closing
	settled bool  // the accounts are closed: no message is counted any more

	// Timers that loopEnded stops: nil until started. No loop starts one after it
	// has ended.
	linger    *time.Timer // failAfterLinger's, started by the writer
	straggler *time.Timer // a drain's, started by the reader
}

// Dial connects, identifies the client and, with a topic, subscribes. The context
// bounds all three. The link sends and reads nothing more until Start. A caller
// that does not start it must Close it. Errors are [*Error].
func Dial(ctx context.Context, cfg Config) (*Link, error) {
	network, addr := "tcp", cfg.Addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	socket, err := cfg.Dial(ctx, network, addr)
	if err != nil {
		return nil, &Error{Addr: cfg.Addr, Op: OpDial, Err: err}
	}
	l := &Link{cfg: cfg, conn: newConn(socket)}
	l.writerWake = sync.NewCond(&l.mu)
	l.in.init(l.conn, cfg.MaxBody)
	l.out = l.conn
	h := handshake{Link: l}
	if err := h.run(ctx); err != nil {
		_ = l.conn.Close()
		return nil, err
	}
	l.conn.readTimeout, l.conn.writeTimeout = cfg.ReadTimeout, cfg.WriteTimeout
	l.in.ownAbove = cfg.OwnAbove
	for range h.owedNops {
		l.Nop()
	}
	return l, nil
}

// Start begins to read and write. It is called once. Commands that were given
// before leave now.
func (l *Link) Start(r Receiver) {
	l.receiver = r
	l.frames, _ = r.(FrameReceiver)
	l.running.Store(2)
	go l.readLoop()
	go l.writeLoop()
}

// Addr returns the address that was dialled.
func (l *Link) Addr() string { return l.cfg.Addr }

// RemoteAddr returns the peer's address as the socket knows it.
func (l *Link) RemoteAddr() net.Addr { return l.conn.RemoteAddr() }
