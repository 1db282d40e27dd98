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

// maxRDYUnknown is what MaxRDY returns before nsqd has reported its own maximum:
// nsqd's default.
const maxRDYUnknown = 2500

// Conn is one connection to an nsqd, for programs that speak NSQ's protocol
// themselves. They send commands with [Conn.WriteCommand] and learn from a
// [ConnDelegate] what nsqd sends. Most programs need no Conn: they consume with a
// [Consumer] and publish with a [Producer], neither of which exposes its Conns.
//
// A Conn connects once. It replies to heartbeats at once, whatever the delegate
// does. RDY, backoff, leases and reconnecting are up to the program.
//
// All methods may be called from any goroutine, the delegate's included.
type Conn struct {
	addr     string
	cfg      *Config
	delegate ConnDelegate // may be nil
	logs     *logs
	log      *slog.Logger

	rdy         atomic.Int64 // set by SetRDY
	lastRdy     atomic.Int64 // when SetRDY was last given more than 0; Unix nanoseconds
	maxRDY      atomic.Int64 // set by NewConn, and by Connect to what nsqd grants
	lastMessage atomic.Int64 // when the last message arrived; Unix nanoseconds
	closing     atomic.Bool  // Close was called; set under mu

	mu        sync.Mutex              // guards the fields below
	cancel    context.CancelCauseFunc // ends a Connect under way; nil otherwise
	link      *link.Link              // nil until Connect succeeds, then never changed
	ended     bool                    // the link has ended
	deadline  *time.Timer             // set by Close: ends the link after stop_timeout
	unflushed []byte                  // given to Write and not yet to the link
}

// ConnDelegate is told what happens on a [Conn], from a successful Connect up to
// OnClose.
//
// A Conn calls its delegate on two goroutines. One reports what arrives, in the
// order in which nsqd sent it. The other reports acks and requeues, in the order
// in which Finish and Requeue were called. Neither holds up the connection or the
// other, so a method may block, and may call the Conn's methods. What arrives while a
// method runs is kept in memory, up to 16 MiB. Beyond that the Conn reads nothing and
// replies to no heartbeat until methods return, so nsqd may close the connection.
type ConnDelegate interface {
	// OnResponse is called with the data of a response frame: OK, CLOSE_WAIT, or
	// JSON. Responses come in the order of the commands that have one. An error
	// takes the place of a response. Heartbeats are not reported as responses.
	OnResponse(c *Conn, data []byte)

	// OnError is called with the data of an error frame: the error's code and,
	// after a space, nsqd's description. nsqd closes the connection after most
	// errors.
	OnError(c *Conn, data []byte)

	// OnMessage is called with a message. The program calls the message's Finish
	// or Requeue, in this call or later, on any goroutine. Neither blocks.
	OnMessage(c *Conn, m *Message)

	// OnMessageFinished is called after a message's Finish and before its FIN is
	// sent: commands that the delegate writes in this call precede the FIN.
	// OnResume follows.
	OnMessageFinished(c *Conn, m *Message)

	// OnMessageRequeued is called after a message's Requeue and before its REQ is
	// sent. OnBackoff follows or, after RequeueWithoutBackoff, OnContinue.
	OnMessageRequeued(c *Conn, m *Message)

	// OnBackoff is called after OnMessageRequeued.
	OnBackoff(c *Conn)

	// OnContinue is called after OnMessageRequeued instead of OnBackoff.
	OnContinue(c *Conn)

	// OnResume is called after OnMessageFinished.
	OnResume(c *Conn)

	// OnIOError is called once, before OnClose, unless Close ended the connection
	// in good order within stop_timeout. err is io.EOF if nsqd closed the
	// connection.
	OnIOError(c *Conn, err error)

	// OnHeartbeat is called after nsqd has sent a heartbeat. The Conn has replied
	// to it already.
	OnHeartbeat(c *Conn)

	// OnClose is the last call, after the connection has ended. A Finish or Requeue
	// after that, or shortly before, is lost: nsqd delivers the message again.
	OnClose(c *Conn)
}

// NewConn returns a Conn that [Conn.Connect] connects to the nsqd at addr:
// host:port, or unix: and a path. It copies config, of which a Conn uses the
// options about connections, and logger, max_msg_size, default_requeue_delay,
// max_requeue_delay and stop_timeout. NewConn panics if config is not from
// NewConfig. The delegate may be nil.
func NewConn(addr string, config *Config, delegate ConnDelegate) *Conn {
	config.mustBeInitialized()
	c := &Conn{addr: addr, cfg: config.clone(), delegate: delegate}
	c.maxRDY.Store(maxRDYUnknown)
	c.lastMessage.Store(time.Now().UnixNano())
	c.logs = newConnLogs(c.cfg.Logger)
	c.log = c.logs.logger.With("nsqd", addr)
	return c
}

// Close starts to close the connection and returns at once. OnMessage is not
// called again. The connection ends when the messages passed to OnMessage are finished
// or requeued and everything flushed is sent, at the latest after stop_timeout. OnClose
// reports the end. A Connect under way fails. Further calls do nothing. The error is
// always nil.
//
// Messages that nsqd has sent but that did not reach OnMessage are delivered again,
// perhaps to another consumer, when their msg-timeout is over. To avoid that, first
// write [StartClose], so that nsqd sends no more, and call Close when nsqd replies
// CLOSE_WAIT.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Swap(true) {
		return nil
	}
	if c.cancel != nil {
		c.cancel(ErrClosing)
	}
	if l := c.link; l != nil && !c.ended {
		l.Drain()
		c.deadline = time.AfterFunc(c.cfg.StopTimeout, func() { l.Close(errStopTimeout) })
	}
	return nil
}

// linkEnded records the end of the link and frees what only an open connection
// needs.
func (c *Conn) linkEnded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.deadline != nil {
		c.deadline.Stop()
	}
	c.unflushed = nil
}

// IsClosing reports whether Close was called.
func (c *Conn) IsClosing() bool { return c.closing.Load() }

// RDY returns the count that SetRDY was last given.
func (c *Conn) RDY() int64 { return c.rdy.Load() }

// LastRDY is the same as RDY.
func (c *Conn) LastRDY() int64 { return c.rdy.Load() }

// SetRDY records an RDY count for RDY and LastRdyTime. It sends nothing: see
// [Ready].
func (c *Conn) SetRDY(rdy int64) {
	c.rdy.Store(rdy)
	if rdy > 0 {
		c.lastRdy.Store(time.Now().UnixNano())
	}
}

// MaxRDY returns the largest RDY count that nsqd accepts. Before nsqd has
// reported it, MaxRDY returns nsqd's default, 2500.
func (c *Conn) MaxRDY() int64 { return c.maxRDY.Load() }

// LastRdyTime returns when SetRDY was last given more than 0, or the beginning of 1970
// if it never was.
func (c *Conn) LastRdyTime() time.Time { return time.Unix(0, c.lastRdy.Load()) }

// LastMessageTime returns when the last message arrived or, before the first one, when
// the Conn was made.
func (c *Conn) LastMessageTime() time.Time { return time.Unix(0, c.lastMessage.Load()) }

// RemoteAddr returns the socket's remote address, or nil before the Conn is connected.
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

// Read always fails: everything that arrives goes to the delegate. The method
// exists because go-nsq has it, where it takes bytes away from go-nsq's own
// reader.
func (c *Conn) Read([]byte) (int, error) {
	return 0, fmt.Errorf("[%s] read: %w: what arrives goes to the delegate", c.addr, errors.ErrUnsupported)
}

// Write keeps a copy of p until the next [Conn.Flush] or WriteCommand sends it.
// Everything written by then is sent in one piece, with no reply to a heartbeat in
// between, so it must end with a whole command. Errors are as for WriteCommand.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writable(); err != nil {
		return 0, err
	}
	c.unflushed = append(c.unflushed, p...)
	return len(p), nil
}

// writable returns an error that says why nothing can be written, or nil. Callers
// hold mu.
func (c *Conn) writable() error {
	switch {
	case c.link != nil && !c.ended:
		return nil
	case c.ended || c.closing.Load():
		return ErrClosing
	}
	return ErrNotConnected
}

// Flush sends what Write was given, and waits as WriteCommand does.
func (c *Conn) Flush() error { return c.send(nil) }

// WriteCommand sends a command and waits until the socket has taken it. If the
// socket takes no data for write_timeout, the connection ends, and with it the
// wait. nsqd's reply goes to the delegate.
//
// As in go-nsq, errors are not wrapped. The error is [ErrNotConnected] before Connect,
// and [ErrClosing] if the connection has ended or is about to. Any other error says why
// the connection ended while WriteCommand waited: nsqd may or may not have received the
// command.
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
		return ErrClosing
	}
	if err := l.Sent(end); err != nil {
		return reason(err)
	}
	return nil
}

// SetLogger sends log lines of every level to l, or nowhere if l is nil, and drops
// lines below lvl. format is the part of a line between level and text, with %s
// for the address; empty means "(%s)". A Conn without a logger, from here or from
// the config, logs nothing.
func (c *Conn) SetLogger(l Logger, lvl LogLevel, format string) {
	c.logs.setSinks(c.sink(l, format), lvl)
}

// SetLoggerForLevel sends log lines of level lvl to l, or nowhere if l is nil.
// format is as for SetLogger. Calls with a level that does not exist do nothing.
func (c *Conn) SetLoggerForLevel(l Logger, lvl LogLevel, format string) {
	c.logs.setSink(c.sink(l, format), lvl)
}

// SetLoggerLevel drops log lines below lvl.
func (c *Conn) SetLoggerLevel(lvl LogLevel) { c.logs.SetLoggerLevel(lvl) }

func (c *Conn) sink(l Logger, format string) sink {
	return sink{output: l, prefix: fmt.Sprintf(cmp.Or(format, "(%s)"), c.addr)}
}
