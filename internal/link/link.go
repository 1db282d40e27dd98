// Package link is one connection to an nsqd: a dial, a handshake, one reader, one
// writer, and an orderly end. The link closes its socket once, and tells its owner once.
//
// A link knows NSQ's protocol but no policy: it decides neither how many messages
// a connection gets nor when to connect again. Its owner calls [Dial], then
// [Link.Start] with a [Receiver]. When the receiver's Down is called, the link's
// goroutines, timers and socket are gone.
//
// Commands never block: they are appended to a buffer that the writer takes whole.
// What is appended during one Write waits for the next. So the number of system calls
// per message falls as load rises, while on an idle connection a single command leaves
// at once. PUBs that wait together are packed into an MPUB.
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

	// TLS configures the TLS that Identify asks for with TLSv1. nil means Go's
	// defaults; an empty ServerName means the host of Addr. If nsqd does not offer
	// TLS, Dial fails with ErrTLSRefused and sends nothing after IDENTIFY. If nsqd does
	// not offer the compression that Identify asks for, the link works uncompressed.
	// Transport tells what the link got.
	TLS *tls.Config
	// RenewTLS, if not nil, brings the copy of TLS that a handshake uses up to date. It
	// may read files.
	RenewTLS   func(*tls.Config)
	AuthSecret string // sent if nsqd asks for it

	// Topic and Channel are what to subscribe to. A link without a topic publishes.
	Topic, Channel string
	// SubAfter is the time before which Dial does not subscribe. Dial connects at once and
	// waits with the connection open: if the connection is refused, the owner learns that
	// nsqd has restarted.
	SubAfter time.Time

	// HandshakeTimeout bounds the time from the end of the dial to the end of Dial,
	// without the wait for SubAfter. With 0, only the context does.
	HandshakeTimeout time.Duration
	// ReadTimeout is how long nsqd may be silent; 0 is no limit.
	ReadTimeout time.Duration
	// WriteTimeout is how long nsqd may take no byte; 0 is no limit. Over TCP and unix
	// sockets the link ends an eighth later at most, over any other net.Conn within twice
	// that time.
	WriteTimeout time.Duration
	// MaxBody is the largest message body that is read; 0 is no limit.
	MaxBody int
	// Room, if not nil, is asked before each read. It returns nil if the receiver can take
	// more, and otherwise a channel that is closed when it is worth asking again.
	Room func() <-chan struct{}
	// OwnAbove is the length above which a body gets memory of its own, which the
	// receiver may keep. With 0, none does.
	OwnAbove int
}

// A Receiver is told what arrives. The link calls its methods one at a time, on
// its own goroutines. They must not block: while one runs, the link reads nothing
// and sends no NOP for a heartbeat. A [Borrower] has a method that may.
type Receiver interface {
	// Messages hands over the messages of one read. The slice, and bodies up to
	// OwnAbove, are valid during the call only.
	Messages(batch []wire.Message)
	// TooBig reports a message whose body of size bytes exceeds MaxBody and was not
	// read: m has no body. Like any other message it is in flight until it is finished
	// or requeued.
	TooBig(m wire.Message, size int)
	// Failed reports a FIN, REQ or TOUCH that nsqd refused.
	Failed(err *wire.Error)
	// Down is the last call: the link has ended. err is nil after a clean drain or a
	// Close without a reason, and otherwise an [*Error] that says why the link ended.
	Down(err error)
}

// A Link is one connection to an nsqd. Any goroutine may call its methods.
//
// The order of the fields keeps what the reader writes at every frame apart, in
// memory, from what the mutex guards.
type Link struct {
	// Set by Dial and not changed after that. Any goroutine may read them.
	cfg  Config
	conn *conn

	// Used by the reader alone, and before Start by the handshake.
	in input

	// Used by the writer alone, and before Start by the handshake: conn, or the layers
	// of TLS and compression above it.
	out output

	// Used by the writer alone: where it has to pause. See pause.go.
	ahead []uint64

	// Set by Start before the loops run. Only the loops read them.
	receiver Receiver
	frames   FrameReceiver // the receiver, if it is one; otherwise nil
	borrower Borrower      // the receiver, if it is one; otherwise nil

	// Used by the reader alone.
	lastNop time.Time      // when it last sent a NOP without being asked
	readAt  time.Time      // when its last read ended; before that, when it started
	replied []awaitedReply // of popAwaited
	loans   Loan           // how many there were

	loan   atomic.Uint64 // the number of the present loan, 0 if the reader reads: see loan.go
	direct *directWriter // used with writing set; nil if the reader cannot write; set by Start

	// Set by the handshake, within Dial, and not changed after that. Any goroutine may
	// read it.
	session

	// running is how many of the two loops have not ended. Start sets it, and each
	// loop subtracts one when it ends.
	running atomic.Int32

	// mu guards all that follows. It is the innermost lock: code that holds it takes no
	// other lock, calls no owner and does no I/O.
	mu sync.Mutex

	// Commands. Any goroutine appends them. The writer takes them, and counts what it
	// wrote.
	writerWake *sync.Cond // only the writer waits on it: see takePending
	progress   *sync.Cond // signalled by signalProgress; nil until the first waitProgress
	pending    outgoing   // appended and not yet taken by the writer
	queued     uint64     // bytes ever appended to pending
	limits     Limits     // see SetLimits
	packed     openPack   // the last command, if others may join it: see pack.go
	accepted   uint32     // the largest message that nsqd has accepted
	pauses     []uint64   // where in pending the writer has to pause, counted as queued is
	sent       uint64     // bytes ever given to the socket
	nopEnd     uint64     // where the last NOP ends, counted as queued is
	acks       ackRuns    // FINs and REQs not yet sent; for closeAccounts and awaitBacklog
	held       int        // see Hold
	lent       bool       // the reader is on loan, and will write what is pending
	writing    bool       // the writer writes, or the reader after a loan

	// awaited are the commands that nsqd has yet to reply to. Publishes and Drain
	// add to it; the reader removes from it, and at the end loopEnded.
	awaited replyQueue

	stats Stats
	limit rdyLimit

	// How far the end has come. No flag is ever cleared. sealed is set before closing
	// or with it; settled is set last.
	drain   drainState
	sealed  bool  // no command is accepted any more
	closing bool  // fail was called: err is final, and the socket is being closed
	err     error // why the link ends, nil if cleanly; set together with closing
	settled bool  // the accounts are closed: no message is counted any more

	// Timers, nil until started. loopEnded stops them: no timer starts later, since
	// only the loops start them.
	linger    *time.Timer // started by the writer: see failAfterLinger
	straggler *time.Timer // started by the reader in a drain: see closeWait
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
	l := &Link{cfg: cfg, conn: newConn(socket), limits: noLimits}
	l.writerWake = sync.NewCond(&l.mu)
	l.in.init(l.conn, cfg.MaxBody)
	l.in.noMessages = true
	l.out = l.conn
	h := handshake{Link: l}
	if err := h.run(ctx); err != nil {
		_ = l.conn.Close()
		return nil, err
	}
	l.conn.readTimeout, l.conn.writeTimeout = cfg.ReadTimeout, cfg.WriteTimeout
	l.in.ownAbove = cfg.OwnAbove
	if h.owesNop {
		l.Nop()
	}
	return l, nil
}

// Start begins to read and write. It is called once. Commands that were given before
// Start are sent now.
func (l *Link) Start(r Receiver) {
	l.receiver = r
	l.frames, _ = r.(FrameReceiver)
	l.borrower, _ = r.(Borrower)
	if l.borrower != nil && l.out == output(l.conn) {
		l.direct = l.conn.direct()
	}
	l.in.noMessages = l.cfg.Topic == "" && l.frames == nil // a FrameReceiver subscribes by itself
	l.running.Store(2)
	l.readAt = time.Now()
	l.writing = true // until the writer first waits: see takePending
	go l.readLoop()
	go l.writeLoop()
}

// Addr returns the address that was dialled.
func (l *Link) Addr() string { return l.cfg.Addr }

// RemoteAddr returns the peer's address as the socket knows it.
func (l *Link) RemoteAddr() net.Addr { return l.conn.RemoteAddr() }
