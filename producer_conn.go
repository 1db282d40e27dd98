package nsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/publishing"
	"github.com/rdyhq/nsq/internal/wire"
)

// connector holds the connection of a Producer to its nsqd, and makes it on demand.
type connector struct {
	addr string
	cfg  *Config
	log  *slog.Logger
	gate dialGate // nil if every dial is allowed

	hooks *hooks
	tally *producerTally

	// alive ends when the Producer is stopped. The dial under way, and waits for a
	// connection or for room, end with it.
	alive context.Context
	end   context.CancelCauseFunc

	outstanding window         // bytes of commands that wait to be sent or for nsqd's reply
	wg          sync.WaitGroup // the dial under way, and links that have not ended

	mu        sync.Mutex    // guards what follows
	conn      *producerConn // nil while not connected
	dial      *producerDial // nil unless an attempt to connect is under way
	limits    publishing.Limits
	failed    error         // of the last attempt; nil if it succeeded
	lastError error         // for snapshots; set by adopt and noteError
	outage    bool          // nsqd was dialled in vain since the last success
	redial    *fleet.Redial // says whether there may be another attempt
	stopping  bool          // set by refuse: no connection is made or adopted any longer
}

// producerDial is an attempt to connect. All callers wait for the same one. done
// is closed once conn or err is set.
type producerDial struct {
	again bool // nsqd was dialled in vain before, since the last success
	done  chan struct{}
	conn  *producerConn
	err   error
}

func newConnector(addr string, cfg *Config, log *slog.Logger, hooks *hooks, tally *producerTally) *connector {
	n := &connector{addr: addr, cfg: cfg, log: log, hooks: hooks, tally: tally}
	n.alive, n.end = context.WithCancelCause(context.Background())
	n.outstanding.limit = maxOutstanding
	n.redial = fleet.NewRedial(rand.Uint64()) // #nosec G404 -- jitter
	return n
}

// connect returns the connection. Without one it waits for the attempt under way,
// or starts one. For some time after a failed attempt it returns that attempt's error
// instead, at once.
func (n *connector) connect(ctx context.Context) (*producerConn, error) {
	if ctx.Err() != nil {
		return nil, n.notSent(ctx)
	}
	n.mu.Lock()
	c, d, err := n.look()
	n.mu.Unlock()
	if d == nil {
		return c, err
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-n.alive.Done():
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, n.notSent(ctx)
	}
}

// look returns the connection; or the attempt to wait for, which it starts if there is
// none; or the reason why there is neither. Callers hold the mutex.
func (n *connector) look() (*producerConn, *producerDial, error) {
	switch {
	case n.stopping:
		return nil, nil, ErrStopped
	case n.conn != nil:
		return n.conn, nil, nil
	case n.dial == nil && !n.mayDial():
		return nil, nil, n.failed
	case n.dial == nil:
		d := &producerDial{again: n.outage, done: make(chan struct{})}
		n.dial = d
		n.wg.Go(func() { n.dialNSQD(d) })
	}
	return nil, n.dial, nil
}

// connected reports whether there is a connection.
func (n *connector) connected() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conn != nil
}

func (n *connector) notSent(ctx context.Context) error {
	return fmt.Errorf("[%s] %w: %w", n.addr, ErrNotSent, context.Cause(ctx))
}

func (n *connector) dialNSQD(d *producerDial) {
	l, event, err := n.openLink()
	if err == nil {
		d.conn = n.newConn(l)
		n.wg.Add(1) // until Down
	} else {
		d.err = fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	switch {
	case !n.dialEnded(d, event, err):
		if l != nil {
			l.Close(nil)
		}
		d.conn, d.err = nil, ErrStopped
	case errors.Is(err, errNoConsent): // nsqd was not dialled
		n.log.InfoContext(repeatable{Context: context.Background(), kind: "unlisted"}, "not connected to nsqd", "err", err)
	case err != nil:
		logDialFailed(n.log, err, !d.again)
	}
	close(d.done)
}

// openLink waits until nsqd may be dialled, and dials it. The event is nil if nsqd was not
// dialled.
func (n *connector) openLink() (*link.Link, *ConnectEvent, error) {
	if err := n.awaitGate(); err != nil {
		return nil, nil, connectError(n.addr, "", "", err)
	}
	n.log.InfoContext(repeating, "connecting to nsqd")
	start := time.Now()
	l, err := link.Dial(n.alive, n.cfg.linkConfig(n.addr, n.log))
	n.cfg.warnOfClearAuth(n.log, n.addr, l, err)
	event := &ConnectEvent{Addr: n.addr, Took: time.Since(start)}
	if err == nil {
		n.tally.connected()
		how := l.Transport()
		event.Version, event.TLS, event.Compression = how.Version, how.TLS, how.Compression
	} else {
		err = connectError(n.addr, "", "", err)
		event.Err = err
	}
	return l, event, err
}

// dialEnded adopts the result of an attempt to connect, tells the hooks, and starts the link.
// It reports false if the Producer was stopped during the attempt.
//
// It holds the mutex until the link has started, for two reasons:
//
//  1. The hooks are told after the adoption and before the start. So a Connected hook finds
//     the Producer connected, and Connected comes before the Disconnected of the same
//     connection.
//  2. A link that ends at once drops its connection only after the adoption. Otherwise the
//     Producer would look connected until its next publish.
func (n *connector) dialEnded(d *producerDial, event *ConnectEvent, err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dial = nil
	if !n.stopping {
		n.adopt(d, err)
	}
	if event != nil {
		tell(n.hooks, n.hooks.connected, *event)
	}
	if d.conn != nil {
		d.conn.link.Start(d.conn)
	}
	return !n.stopping
}

// adopt updates the connection, the last error, the time of the next dial and the gate after
// an attempt to connect. Callers hold the mutex.
func (n *connector) adopt(d *producerDial, err error) {
	n.conn, n.failed = d.conn, d.err
	if err != nil {
		n.lastError = err
	}
	switch {
	case err == nil:
		n.outage = false
		n.redial.Succeeded()
	case errors.Is(err, errNoConsent): // nsqd was not dialled
		return
	default:
		n.outage = true
		n.redial.Failed(time.Now())
		n.limits.Doubt() // nsqd may restart
	}
	n.tellGate(err == nil)
}

// ping connects and queues a NOP.
func (n *connector) ping() error {
	return retryLost(func() error {
		c, err := n.connect(context.Background())
		if err == nil && !c.link.Nop() {
			err = n.dropEnded(c)
		}
		return err
	})
}

// reserve waits for room for a command, until patience is over or ctx ends. With a
// patience of 0 only ctx bounds the wait.
func (n *connector) reserve(ctx context.Context, size int64, patience time.Duration) error {
	err := n.outstanding.acquire(ctx, n.alive, size, patience)
	if err == nil || errors.Is(err, ErrStopped) {
		return err
	}
	return fmt.Errorf("[%s] %w: %w", n.addr, ErrNotSent, err)
}

// drop forgets c, so that the next caller makes a new connection. It does nothing if
// that has happened already.
func (n *connector) drop(c *producerConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn != c {
		return
	}
	n.conn = nil
	if !c.listens.Load() {
		n.tellGate(false)
	}
}

// dropEnded drops a connection that did not take a command, and returns the error
// for that command.
func (n *connector) dropEnded(c *producerConn) error {
	n.drop(c)
	if n.alive.Err() != nil { // Stop drains the connection
		return ErrStopped
	}
	return lostError{
		error:   fmt.Errorf("[%s] %w: the connection ended", n.addr, ErrNotSent),
		verdict: publishing.Lost,
	}
}

// refuse makes connect fail with ErrStopped from now on, and ends alive. It reports
// whether this is the first call.
func (n *connector) refuse() bool {
	n.mu.Lock()
	first := !n.stopping
	n.stopping = true
	n.mu.Unlock()
	n.end(ErrStopped)
	return first
}

// notTaken releases the room of a command that the connection did not take, and
// returns the error for that command.
func (n *connector) notTaken(c *producerConn, size int64) error {
	n.outstanding.release(size)
	return n.dropEnded(c)
}

// producerConn is a connection of a Producer, and the Receiver of its link.
type producerConn struct {
	from    *connector
	link    *link.Link
	since   time.Time                          // when it was made
	sure    atomic.Pointer[publishing.Figures] // what nsqd is taken to accept: see passage
	listens atomic.Bool                        // nsqd closes the connection only because it refused a publish
	broken  error                              // why later replies cannot be trusted; only the link's goroutines use it
	// unpacked says that nsqd has lately refused a pack, so that publishes are sent singly.
	// Once the link has started, only its goroutines use it.
	unpacked bool
}

// fail ends the connection.
func (c *producerConn) fail(err error) {
	c.broken = err
	c.listens.Store(stillListens(err))
	c.link.Close(err)
	c.from.drop(c)
}

// Messages is never called: a link without a subscription ends at the header of a message.
func (c *producerConn) Messages([]wire.Message) {}

// TooBig is never called, for the same reason.
func (c *producerConn) TooBig(wire.Message, int) {}

// Failed ends the connection: a Producer sends no FIN, REQ or TOUCH.
func (c *producerConn) Failed(*wire.Error) { c.fail(link.ErrUnexpectedReply) }

// Down drops the connection, so that the next publish makes a new one.
func (c *producerConn) Down(err error) {
	c.from.drop(c)
	if _, refused := errors.AsType[*wire.Error](err); !refused {
		c.from.doubtLimits() // nsqd may have restarted
	}
	if err != nil {
		err = reason(err)
		c.from.noteError(err)
	}
	tell(c.from.hooks, c.from.hooks.disconnected, DisconnectEvent{Addr: c.from.addr, Err: err, Up: time.Since(c.since)})
	if err != nil && c.from.gate != nil {
		c.from.gate.lost(err)
	}
	if err != nil {
		c.from.log.WarnContext(repeating, "connection to nsqd lost", "err", err)
	}
	c.from.wg.Done()
}
