package nsqtest

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// The states of a connection, as flags.
type state int

const (
	stateInit       state = 1 << iota
	stateSubscribed       // after SUB
	stateClosing          // after CLS
	stateReceiving  = stateSubscribed | stateClosing
	stateAny        = stateInit | stateReceiving
)

// A client is one connection to the fake nsqd. Its reader goroutine reads and
// executes commands. Its writer goroutine sends what commands, deliveries and
// heartbeats append to out.
type client struct {
	nsqd    *Nsqd
	id      int
	conn    *socket
	in      []byte                 // read and not yet executed; only the reader uses it
	granted *wire.IdentifyResponse // what upgrade has yet to start; only the reader uses it

	// Guarded by the Nsqd's mutex:

	wake       sync.Cond     // out, sendLimit, writing, ending or Nsqd.readingStopped changed
	out        []byte        // to be sent
	sendLimit  int           // bytes of out that may be sent during an upgrade; else -1: all
	writing    bool          // the writer is sending a batch that it took from out
	stream     io.ReadWriter // conn, or TLS or compression on top of it; the reader changes it
	ending     bool          // out accepts no more; the writer closes conn once out is sent
	muted      bool          // replies to the command being executed are dropped: Fault.Mute
	state      state
	authorized bool            // AUTH succeeded
	identify   json.RawMessage // the body of IDENTIFY

	secure       bool   // TLS is up
	compression  string // as Client.Compression
	msgTimeout   time.Duration
	channel      *channel // nil before SUB
	rdy          int
	inFlight     int           // how many messages this client owns
	stragglerRDY int           // the RDY before it fell to 0, while a straggler is owed; else 0
	interval     time.Duration // of heartbeats; 0 means none
	beat         event         // sends a heartbeat
	idle         event         // closes the client; planned while it owes a command
	late         bool          // it did not send the command in time
}

func newClient(d *Nsqd, id int, conn net.Conn) *client {
	c := &client{
		nsqd:       d,
		id:         id,
		sendLimit:  -1,
		state:      stateInit,
		msgTimeout: d.opts.MsgTimeout,
	}
	c.conn = &socket{Conn: conn, client: c, cuts: d.cuts}
	c.stream = c.conn
	d.cuts = noCuts
	c.wake.L = &d.mu
	c.beat = event{rank: rankHeartbeat, do: c.onBeat}
	c.idle = event{rank: rankIdle, do: c.onIdle}
	return c
}

// run serves the client until its connection ends.
func (c *client) run() {
	var writer sync.WaitGroup
	writer.Go(c.writeLoop)
	c.readLoop()
	d := c.nsqd
	d.update(func() {
		c.end()
		d.agenda.cancel(&c.beat)
		d.agenda.cancel(&c.idle)
		if c.channel != nil {
			c.channel.removeClient(c)
		}
	})
	writer.Wait()
	d.update(func() {
		d.clients = slices.DeleteFunc(d.clients, func(o *client) bool { return o == c })
	})
}

// end makes the writer close the connection once the pending output is sent.
// Callers hold the mutex.
func (c *client) end() {
	c.ending = true
	c.wake.Broadcast()
}

// abort ends the client and drops its pending output. Callers hold the mutex. After
// they unlock it they close the connection that abort returns.
func (c *client) abort() net.Conn {
	c.out = nil
	c.end()
	return c.conn
}

// cut closes the connection at once and drops the pending output.
func (c *client) cut() {
	c.nsqd.update(func() { c.abort() })
	_ = c.conn.Close()
}

func (c *client) readLoop() {
	if !c.readMagic() {
		return
	}
	for {
		cmd, err := c.nextCommand()
		if err != nil || !c.handle(cmd) || !c.upgrade() {
			return
		}
	}
}

// readMagic reads the protocol's magic and reports whether it is right.
func (c *client) readMagic() bool {
	for len(c.in) < len(wire.MagicV2) {
		if c.fill() != nil {
			return false
		}
	}
	ok := string(c.in[:len(wire.MagicV2)]) == wire.MagicV2
	c.in = c.in[len(wire.MagicV2):]
	c.nsqd.update(func() {
		if ok {
			c.setInterval(c.nsqd.opts.HeartbeatInterval)
		} else {
			c.write(ErrorFrame(string(wire.BadProtocol), ""))
		}
	})
	return ok
}

// nextCommand reads one command. From now on the client has two heartbeat intervals
// to complete it.
func (c *client) nextCommand() (Command, error) {
	c.nsqd.update(c.expectCommand)
	for {
		cmd, n, err := wire.ParseLine(c.in)
		if err == nil && !c.refusesLine(cmd) {
			cmd, n, err = wire.ParseCommand(c.in, c.nsqd.limits())
		}
		if errors.Is(err, wire.ErrShort) {
			if err := c.fill(); err != nil {
				c.replyCutShort()
				return Command{}, err
			}
			continue
		}
		// A *wire.Error is about the body, which stays unread. When to reply with
		// it depends on the command.
		refused, ok := errors.AsType[*wire.Error](err)
		if err != nil && !ok {
			return Command{}, err
		}
		c.in = c.in[n:]
		return Command{
			Conn: c.id, Name: cmd.Name, Params: cmd.Params,
			Body: slices.Clone(cmd.Body), refused: refused,
		}, nil
	}
}

// replyCutShort replies to a command that is incomplete when the connection ends.
func (c *client) replyCutShort() {
	if err := wire.CutShort(c.in); err != nil {
		c.nsqd.update(func() { c.write(wire.AppendError(nil, err)) })
	}
}

// fill appends the result of one Read to c.in.
func (c *client) fill() error {
	c.in = slices.Grow(c.in, 4096)
	n, err := c.stream.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	return err
}

// mayRead waits while reading is stopped. It reports whether the connection is
// still in use.
func (c *client) mayRead() bool {
	c.nsqd.mu.Lock()
	defer c.nsqd.mu.Unlock()
	for c.nsqd.readingStopped && !c.ending && !c.late {
		c.wake.Wait()
	}
	return !c.ending && !c.late
}

// write appends frames to out. Callers hold the mutex.
func (c *client) write(frames []byte) {
	if !c.ending {
		c.out = append(c.out, frames...)
		c.wake.Broadcast()
	}
}

// reply replies to the command being executed, unless the client is muted.
// Callers hold the mutex.
func (c *client) reply(frame []byte) {
	if !c.muted {
		c.write(frame)
	}
}

// ready reports whether the client may be sent a message. Callers hold the mutex.
func (c *client) ready() bool {
	return !c.ending && c.inFlight < max(c.rdy, c.stragglerRDY)
}

// writeLoop sends output until the client ends or a Write fails, and then closes
// the connection.
func (c *client) writeLoop() {
	for {
		batch, stream, interval := c.nextBatch()
		if len(batch) == 0 {
			break
		}
		if err := c.send(stream, batch, interval); err != nil {
			c.cut()
			break
		}
	}
	_ = c.conn.Close()
}

// send writes a batch in pieces. As in nsqd, which writes message by message, each has
// one heartbeat interval.
func (c *client) send(stream io.Writer, batch []byte, interval time.Duration) error {
	const piece = 64 << 10
	for len(batch) > 0 {
		var deadline time.Time
		if interval > 0 {
			deadline = time.Now().Add(interval)
		}
		_ = c.conn.SetWriteDeadline(deadline)
		n := min(len(batch), piece)
		if _, err := stream.Write(batch[:n]); err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// nextBatch waits for output that may be sent, and returns it with the stream to
// send it on, and the heartbeat interval. An empty batch means that the client has ended.
func (c *client) nextBatch() (batch []byte, stream io.ReadWriter, interval time.Duration) {
	c.nsqd.mu.Lock()
	defer c.nsqd.mu.Unlock()
	c.writing = false
	c.wake.Broadcast()
	for c.sendable() == 0 && !c.ending {
		c.wake.Wait()
	}
	n := c.sendable()
	batch, c.out = c.out[:n:n], c.out[n:]
	c.sendLimit = min(c.sendLimit, 0)
	c.writing = true
	return batch, c.stream, c.interval
}

// sendable returns how many bytes of out may be sent. Callers hold the mutex.
func (c *client) sendable() int {
	if c.sendLimit >= 0 {
		return min(c.sendLimit, len(c.out))
	}
	return len(c.out)
}

// nsqd sends a heartbeat every interval, and closes a client that completes no
// command for two intervals. Callers of what follows hold the mutex.

// setInterval restarts the heartbeats, or stops them if interval is 0.
func (c *client) setInterval(interval time.Duration) {
	c.interval = interval
	if interval > 0 {
		c.nsqd.agenda.plan(&c.beat, time.Now().Add(interval))
	} else {
		c.nsqd.agenda.cancel(&c.beat)
	}
}

// expectCommand gives the client two intervals to complete its next command.
func (c *client) expectCommand() {
	if c.interval > 0 {
		c.nsqd.agenda.plan(&c.idle, time.Now().Add(2*c.interval))
	}
}

func (c *client) onBeat() {
	if !c.nsqd.heartbeatsStopped {
		c.write(ResponseFrame(wire.Heartbeat))
	}
	c.setInterval(c.interval)
}

// onIdle ends the reader, which closes the client. As in nsqd, a client that has sent
// part of a command's body gets a reply first.
func (c *client) onIdle() {
	if c.nsqd.readingStopped || c.nsqd.heartbeatsStopped {
		c.expectCommand()
	} else {
		c.late = true
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
}
