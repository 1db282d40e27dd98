// Package link is one connection to an nsqd: dial, handshake, a reader, a
// writer that sends whatever has gathered in one Write, and an end in which
// the socket is closed exactly once and the owner hears of it exactly once.
//
// A link knows NSQ's protocol but no policy: it neither decides who may have
// how many messages nor when to connect again. Its owner calls [Dial], then
// [Link.Start] with a [Receiver], and is done with the link when the receiver's
// Down was called; no goroutine, timer or socket of the link is left then.
//
// Commands never block: they append to a buffer that the writer takes whole.
// While one Write is under way everything appended gathers for the next, so
// system calls per message fall as load rises, and on an idle connection a
// single command leaves at once.
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

	// TLS is how to do what Identify asks for as TLSv1. nil is Go's default; an
	// empty ServerName is the host of Addr. If nsqd does not offer TLS, Dial
	// fails with ErrTLSRefused before anything else is said. Compression that
	// nsqd does not offer is done without, as Transport tells.
	TLS        *tls.Config
	AuthSecret string // sent if nsqd asks for it

	// Topic and Channel are what to subscribe to. Without a topic the link
	// publishes.
	Topic, Channel string

	HandshakeTimeout time.Duration // from the dial's success to SUB's OK; 0 is no bound but the context's
	ReadTimeout      time.Duration // longest silence of nsqd; 0 is no bound
	WriteTimeout     time.Duration // longest time in which nsqd takes no byte, found out within twice that; 0 is no bound
	MaxBody          int           // largest message body taken; 0 is no limit

	// OwnAbove is the length above which bodies have memory of their own, which is
	// the receiver's to keep. 0 is none.
	OwnAbove int
}

// A Receiver is told what arrives. Its methods are called one at a time, on
// goroutines of the link's, and must not block: while one runs, nothing is read
// and no heartbeat is answered.
type Receiver interface {
	// Messages hands over the messages of one read. The slice and the bodies up
	// to OwnAbove are valid during the call only.
	Messages(batch []wire.Message)
	// TooBig reports a message whose body exceeds MaxBody and was not read.
	// Like any other it waits for an answer. m has no body.
	TooBig(m wire.Message, size int)
	// Failed reports a FIN, REQ or TOUCH that nsqd refused.
	Failed(err *wire.Error)
	// Down is the last call: the link has ended. A nil error says that it was
	// drained in good order, an [*Error] why it was not.
	Down(err error)
}

// A Link is one connection to an nsqd. Its methods may be called from any
// goroutine.
type Link struct {
	cfg        Config
	conn       *conn
	in         input
	out        output
	granted    wire.IdentifyResponse
	owed       int // NOPs, by the handshake
	negotiated bool
	receiver   Receiver
	frames     FrameReceiver // the receiver, if it is one
	loops      atomic.Int32  // reader and writer, while they run

	tls         *tls.Conn // nil without
	compression string
	auth        *wire.AuthResponse // nil if nsqd did not ask

	mu sync.Mutex // guards what follows
	// writerWake is signalled when the writer may have something to do.
	writerWake *sync.Cond
	// moved is signalled when something was sent, or will not be. It is nil
	// while nobody has asked.
	moved   *sync.Cond
	pending outgoing // commands not yet taken by the writer
	unsent  [][]byte // commands that it took, and a Write that failed did not send
	queued  uint64   // bytes ever appended to pending
	sent    uint64   // bytes ever given to the socket
	replies replyQueue
	stats   Stats
	drain   drainState
	ended   bool  // no command is accepted any more
	dead    bool  // and every message is accounted for
	closing bool  // the socket is being closed
	err     error // why, once closing
	timers  [2]*time.Timer
}

// Stats are the counts of one link. At any time Received is the sum of what
// became of messages and of InFlight. All but InFlight, Peak and RDY only grow
// while the link lives; at its end answers that were not sent become Lost.
type Stats struct {
	Received uint64 // messages that arrived
	Finished uint64 // FINs accepted for sending
	Requeued uint64 // REQs accepted for sending
	Expired  uint64 // messages given up unanswered, as Expire was told
	Lost     uint64 // and as Lose was; and those whose answer was not sent when the link ended
	Writes   uint64 // Write calls on the socket

	InFlight    int       // messages received and not accounted for yet
	Peak        int       // the most of them at a time since the last Sample
	RDY         int       // last count given to Rdy
	LastMessage time.Time // zero before the first one
}

// Dial connects, introduces itself and, with a topic, subscribes. The context
// bounds all of it. The link is idle until Start; whoever does not start it
// must Close it. Errors are [*Error].
func Dial(ctx context.Context, cfg Config) (*Link, error) {
	network, addr := "tcp", cfg.Addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	raw, err := cfg.Dial(ctx, network, addr)
	if err != nil {
		return nil, &Error{Addr: cfg.Addr, Op: OpDial, Err: err}
	}
	l := &Link{cfg: cfg, conn: newConn(raw)}
	l.writerWake = sync.NewCond(&l.mu)
	l.in.init(l.conn, cfg.MaxBody)
	l.out = l.conn
	if err := l.handshake(ctx); err != nil {
		_ = l.conn.Close()
		return nil, err
	}
	l.conn.readTimeout, l.conn.writeTimeout = cfg.ReadTimeout, cfg.WriteTimeout
	l.in.ownAbove = cfg.OwnAbove
	for ; l.owed > 0; l.owed-- {
		l.Nop()
	}
	return l, nil
}

// Start begins to read and write. It is called once. Commands that were given
// before leave now.
func (l *Link) Start(r Receiver) {
	l.receiver = r
	l.frames, _ = r.(FrameReceiver)
	l.loops.Store(2)
	go l.readLoop()
	go l.writeLoop()
}

// Addr is the address that was dialled.
func (l *Link) Addr() string { return l.cfg.Addr }

// RemoteAddr is the peer's address as the socket knows it.
func (l *Link) RemoteAddr() net.Addr { return l.conn.RemoteAddr() }

// Granted is nsqd's answer to IDENTIFY. ok is false when nsqd only said OK;
// the answer is empty then.
func (l *Link) Granted() (r wire.IdentifyResponse, ok bool) { return l.granted, l.negotiated }

// Auth is nsqd's answer to AUTH. ok is false when nsqd did not ask for it.
func (l *Link) Auth() (r wire.AuthResponse, ok bool) {
	if l.auth == nil {
		return r, false
	}
	return *l.auth, true
}

// Transport is how a link is connected.
type Transport struct {
	TLS         string // its version, such as "TLS 1.3"; empty without
	CipherSuite string // of TLS
	Compression string // "snappy", "deflate" or empty
	Version     string // nsqd's; empty if it did not negotiate
}

// Transport tells how the link is connected.
func (l *Link) Transport() Transport {
	t := Transport{Compression: l.compression, Version: l.granted.Version}
	if l.tls != nil {
		state := l.tls.ConnectionState()
		t.TLS, t.CipherSuite = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	}
	return t
}

// Stats returns the link's counts as they are now.
func (l *Link) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Sample is Stats for the one who watches the link: Peak starts anew.
func (l *Link) Sample() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	l.stats.Peak = s.InFlight
	return s
}

// Close ends the link now. What was not sent stays unsent. reason is what Down
// will report, unless the link has already ended. A link that was never started
// is closed without a call of Down.
func (l *Link) Close(reason error) {
	if reason != nil {
		reason = &Error{Addr: l.cfg.Addr, Op: OpClose, Err: reason}
	}
	l.fail(reason)
}

// fail ends both loops. The first reason stands.
func (l *Link) fail(err error) {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return
	}
	l.closing, l.ended, l.err = true, true, err
	l.signalProgress()
	l.mu.Unlock()
	l.writerWake.Signal()
	_ = l.conn.Close() // wakes a Read and a Write
}

// loopEnded is the last thing a loop does. The later one completes the link's
// end. By then someone is closing the socket, since the reader never ends
// without; Close here waits until that is done.
func (l *Link) loopEnded() {
	if l.loops.Add(-1) > 0 {
		return
	}
	_ = l.conn.Close()
	l.mu.Lock()
	err, sent := l.err, l.sent
	waiting := l.replies.takeAll()
	l.closeAccounts()
	for _, t := range l.timers {
		if t != nil {
			t.Stop()
		}
	}
	l.mu.Unlock()
	cause := err
	if cause == nil {
		cause = net.ErrClosed
	}
	for _, w := range waiting {
		w.to.Reply(nil, &UnansweredError{Addr: l.cfg.Addr, Sent: w.start < sent, Err: cause})
	}
	l.receiver.Down(err)
}
