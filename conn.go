package nsq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/link"
)

// maxRDYUnknown is what MaxRDY is until nsqd has said: its default.
const maxRDYUnknown = 2500

// IdentifyResponse is nsqd's answer to IDENTIFY: what it grants of what was
// asked for.
type IdentifyResponse struct {
	MaxRdyCount  int64 `json:"max_rdy_count"` // the largest RDY that it takes
	TLSv1        bool  `json:"tls_v1"`
	Deflate      bool  `json:"deflate"`
	Snappy       bool  `json:"snappy"`
	AuthRequired bool  `json:"auth_required"` // it wants an AUTH
}

// AuthResponse is nsqd's answer to AUTH: what it knows about the secret.
type AuthResponse struct {
	Identity        string `json:"identity"`
	IdentityUrl     string `json:"identity_url"`
	PermissionCount int64  `json:"permission_count"`
}

// Conn is one connection to an nsqd, for programs that speak NSQ's protocol
// themselves: they send commands with [Conn.WriteCommand], and a [ConnDelegate]
// is told what comes. Few need it; consuming and publishing is done with
// [Consumer] and [Producer], which do not expose their Conns.
//
// A Conn connects once. It answers heartbeats at once, whatever the delegate
// does. RDY, backoff, leases and connecting again are the program's own affair.
//
// The methods may be called from any goroutine, those of the delegate's
// included.
type Conn struct {
	addr     string
	cfg      *Config
	delegate ConnDelegate
	logs     *logs
	log      *slog.Logger

	rdy         atomic.Int64
	maxRDY      atomic.Int64
	lastRdy     atomic.Int64 // when it was not 0; in nanoseconds since 1970, as is
	lastMessage atomic.Int64
	closing     atomic.Bool // Close was called

	mu        sync.Mutex              // guards what follows
	cancel    context.CancelCauseFunc // of Connect, while it is under way
	link      *link.Link              // once it succeeded
	over      bool                    // it has ended
	deadline  *time.Timer             // by which it must, after Close
	unflushed []byte                  // what Write was given
}

// NewConn returns a Conn to the nsqd at addr, host:port or unix: and a path,
// which [Conn.Connect] connects. Of the config, which is copied, the options
// about connections count, default_requeue_delay, max_requeue_delay and
// stop_timeout. A config that is not from NewConfig panics. A nil delegate hears
// of nothing.
func NewConn(addr string, config *Config, delegate ConnDelegate) *Conn {
	config.mustBeInitialized()
	c := &Conn{addr: addr, cfg: config.clone(), delegate: delegate}
	c.maxRDY.Store(maxRDYUnknown)
	c.lastMessage.Store(time.Now().UnixNano())
	c.logs = newConnLogs(c.cfg.Logger)
	c.log = c.logs.logger.With("nsqd", addr)
	return c
}

// Connect dials, introduces itself with IDENTIFY, changes over to TLS and
// compression, and sends AUTH, as the config says and nsqd grants. From then on
// the delegate is called. The answer to IDENTIFY is nil if nsqd only said OK.
//
// The options are checked first. Errors of the handshake are an [ErrIdentify] or,
// about AUTH, wrap the cause; the delegate hears nothing of them. After a failure
// Connect may be called again. After a success it is ErrAlreadyConnected; after
// Close, also during Connect, ErrClosing.
func (c *Conn) Connect() (*IdentifyResponse, error) {
	if err := c.cfg.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if err := c.beginConnect(cancel); err != nil {
		return nil, err
	}
	l, err := link.Dial(ctx, c.cfg.linkConfig(c.addr))
	if !c.connected(l) {
		if l != nil {
			l.Close(nil)
		}
		return nil, c.isClosing()
	}
	if err != nil {
		return nil, connectError(c.addr, "", "", err)
	}
	if auth, ok := l.Auth(); ok {
		c.log.Info("auth accepted", "identity", auth.Identity, "permissions", auth.PermissionCount)
	}
	granted, ok := l.Granted()
	if !ok {
		return nil, nil
	}
	return &IdentifyResponse{
		MaxRdyCount: granted.MaxRdyCount, TLSv1: granted.TLSv1, Deflate: granted.Deflate,
		Snappy: granted.Snappy, AuthRequired: granted.AuthRequired,
	}, nil
}

func (c *Conn) beginConnect(cancel context.CancelCauseFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing.Load():
		return c.isClosing()
	case c.link != nil || c.cancel != nil:
		return fmt.Errorf("[%s] %w", c.addr, ErrAlreadyConnected)
	}
	c.cancel = cancel
	return nil
}

// connected takes the result of a dial, nil if it failed, and starts the link.
// It reports false when Close came in between.
func (c *Conn) connected(l *link.Link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = nil
	if c.closing.Load() {
		return false
	}
	if l == nil {
		return true
	}
	c.link = l
	if granted, ok := l.Granted(); ok {
		c.maxRDY.Store(granted.MaxRdyCount)
	}
	newConnEvents(c, l).start()
	return true
}

func (c *Conn) isClosing() error { return fmt.Errorf("[%s] %w", c.addr, ErrClosing) }

// Close begins to close the connection, and returns at once. OnMessage is not
// called any more. When the messages that it was called with are answered, at
// most after stop_timeout, and what was flushed is sent, the connection ends,
// which OnClose tells. A Connect under way fails. Further calls do nothing. The
// error is nil.
//
// nsqd delivers what it had sent and nobody has seen to another consumer when its
// msg-timeout is over. To have it send no more, write [StartClose] first, and
// Close when it has answered CLOSE_WAIT.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Swap(true) {
		return nil
	}
	if c.cancel != nil {
		c.cancel(ErrClosing)
	}
	if l := c.link; l != nil && !c.over {
		l.Drain()
		c.deadline = time.AfterFunc(c.cfg.StopTimeout, func() { l.Close(errStopTimeout) })
	}
	return nil
}

// IsClosing tells whether Close was called.
func (c *Conn) IsClosing() bool { return c.closing.Load() }

// RDY returns what SetRDY was given last.
func (c *Conn) RDY() int64 { return c.rdy.Load() }

// LastRDY is the same as RDY.
func (c *Conn) LastRDY() int64 { return c.rdy.Load() }

// SetRDY notes an RDY count for RDY and LastRdyTime. It sends nothing: see
// [Ready].
func (c *Conn) SetRDY(rdy int64) {
	c.rdy.Store(rdy)
	if rdy > 0 {
		c.lastRdy.Store(time.Now().UnixNano())
	}
}

// MaxRDY returns the largest RDY count that nsqd takes, 2500 before it has said.
func (c *Conn) MaxRDY() int64 { return c.maxRDY.Load() }

// LastRdyTime returns when SetRDY was last given more than 0, and the beginning
// of 1970 if it never was.
func (c *Conn) LastRdyTime() time.Time { return time.Unix(0, c.lastRdy.Load()) }

// LastMessageTime returns when a message came last, and before the first one
// when the Conn was made.
func (c *Conn) LastMessageTime() time.Time { return time.Unix(0, c.lastMessage.Load()) }

// RemoteAddr returns nsqd's address as the socket knows it, and nil before the
// Conn is connected.
func (c *Conn) RemoteAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil {
		return nil
	}
	return c.link.RemoteAddr()
}

// String returns the address that NewConn was given.
func (c *Conn) String() string { return c.addr }

// Read is an error: all that arrives goes to the delegate. It is here because
// go-nsq has it, where it takes bytes from under its own reader.
func (c *Conn) Read([]byte) (int, error) {
	return 0, fmt.Errorf("[%s] read: %w: what arrives goes to the delegate", c.addr, errors.ErrUnsupported)
}

// Write adds bytes to what the next [Conn.Flush] or WriteCommand sends. What is
// written by then leaves in one piece, with no answer to a heartbeat in the
// middle, so it must end with the end of a command. The error is that of
// WriteCommand.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writable(); err != nil {
		return 0, err
	}
	c.unflushed = append(c.unflushed, p...)
	return len(p), nil
}

// writable says why nothing can be written. Callers hold the mutex.
func (c *Conn) writable() error {
	switch {
	case c.link != nil && !c.over:
		return nil
	case c.over || c.closing.Load():
		return c.isClosing()
	}
	return fmt.Errorf("[%s] %w", c.addr, ErrNotConnected)
}

// Flush sends what Write was given, and waits as WriteCommand does.
func (c *Conn) Flush() error { return c.send(nil) }

// WriteCommand sends a command, and waits until the socket has taken it. An nsqd
// that takes nothing for write_timeout ends the connection, and the wait. What
// nsqd says to the command the delegate hears.
//
// The error is ErrNotConnected before Connect, and [ErrClosing] when the
// connection has ended or is about to. Otherwise it says why the connection
// ended: how much nsqd has seen is not known then.
func (c *Conn) WriteCommand(cmd *Command) error { return c.send(cmd.appendTo(nil)) }

func (c *Conn) send(command []byte) error {
	c.mu.Lock()
	if err := c.writable(); err != nil {
		c.mu.Unlock()
		return err
	}
	l := c.link
	end, ok := l.Append(append(c.unflushed, command...))
	c.unflushed = nil
	c.mu.Unlock()
	if !ok {
		return c.isClosing()
	}
	if err := l.Sent(end); err != nil {
		return fmt.Errorf("[%s] write: %w", c.addr, reason(err))
	}
	return nil
}

// SetLogger sends the log's lines of every level to l, or nowhere if l is nil,
// and drops those below lvl. format, in which %s stands for the address, is what
// lines have between the level and the text; empty is "(%s)". Without it, or the
// config's Logger, a Conn logs nothing.
func (c *Conn) SetLogger(l logger, lvl LogLevel, format string) {
	c.logs.setSinks(c.sink(l, format), lvl)
}

// SetLoggerForLevel sends the log's lines of level lvl to l, or nowhere if l is
// nil. The format is that of SetLogger. A level that does not exist has no lines.
func (c *Conn) SetLoggerForLevel(l logger, lvl LogLevel, format string) {
	c.logs.setSink(c.sink(l, format), lvl)
}

// SetLoggerLevel drops the log's lines below lvl.
func (c *Conn) SetLoggerLevel(lvl LogLevel) { c.logs.SetLoggerLevel(lvl) }

func (c *Conn) sink(l logger, format string) sink {
	return sink{output: l, prefix: fmt.Sprintf(cmp.Or(format, "(%s)"), c.addr)}
}
