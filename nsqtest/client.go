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

// A client is one connection to the fake nsqd: a goroutine that reads and
// executes commands, and one that writes what these and deliveries left in out.
type client struct {
	nsqd    *Nsqd
	id      int
	conn    *socket
	in      []byte                 // read and not yet executed; the reader's own
	granted *wire.IdentifyResponse // by IDENTIFY, until upgrade has done it; the reader's own

	// Guarded by the Nsqd's mutex:

	wake       sync.Cond // out, held, writing, ending or the Nsqd's deaf changed
	out        []byte
	held       int           // how much of out may be sent now, while upgrading; else negative
	writing    bool          // what was taken from out is being written
	stream     io.ReadWriter // conn, or TLS or compression on top of it; the reader changes it
	ending     bool          // takes no more output and closes once out is written
	muted      bool          // a fault swallows the reply of the command being executed
	state      state
	authorized bool
	identify   json.RawMessage

	secure      bool   // TLS is up
	compression string // as inspect shows it
	msgTimeout  time.Duration
	channel     *channel // nil before SUB
	rdy         int
	inFlight    int
	straggle    int           // the RDY before it fell to 0, while one more message is owed
	interval    time.Duration // of heartbeats; 0 is off
	beat        event         // sends a heartbeat
	idle        event         // gives the client up; not planned while it owes no command
}

func newClient(d *Nsqd, id int, conn net.Conn) *client {
	c := &client{
		nsqd:       d,
		id:         id,
		held:       -1,
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
			c.channel.leave(c)
		}
	})
	writer.Wait()
	d.update(func() {
		d.clients = slices.DeleteFunc(d.clients, func(o *client) bool { return o == c })
	})
}

// end lets the writer close the connection after what it has to write.
// Callers hold the mutex.
func (c *client) end() {
	c.ending = true
	c.wake.Broadcast()
}

// abort is end without the pending output. Callers hold the mutex, and close
// the connection it returns after they let go of it.
func (c *client) abort() net.Conn {
	c.out = nil
	c.end()
	return c.conn
}

// cut closes the connection abruptly.
func (c *client) cut() {
	c.nsqd.update(func() { c.abort() })
	_ = c.conn.Close()
}

func (c *client) readLoop() {
	if !c.readMagic() {
		return
	}
	for {
		cmd, err := c.next()
		if err != nil || !c.handle(cmd) || !c.upgrade() {
			return
		}
	}
}

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

// next reads one command. The time the client has for it runs from now.
func (c *client) next() (Command, error) {
	c.nsqd.update(c.await)
	for {
		cmd, n, err := wire.ParseCommand(c.in, c.nsqd.limits())
		if errors.Is(err, wire.ErrShort) {
			if err := c.fill(); err != nil {
				return Command{}, err
			}
			continue
		}
		// An error of nsqd's own is about the body, which stays unread: what to
		// do about it depends on the command.
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

// fill reads once.
func (c *client) fill() error {
	c.in = slices.Grow(c.in, 4096)
	n, err := c.stream.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	return err
}

func (c *client) mayRead() bool {
	c.nsqd.mu.Lock()
	defer c.nsqd.mu.Unlock()
	for c.nsqd.deaf && !c.ending {
		c.wake.Wait()
	}
	return !c.ending
}

// write adds to what the writer sends next. Callers hold the mutex.
func (c *client) write(frames []byte) {
	if !c.ending {
		c.out = append(c.out, frames...)
		c.wake.Broadcast()
	}
}

// reply answers the command being executed. Callers hold the mutex.
func (c *client) reply(frame []byte) {
	if !c.muted {
		c.write(frame)
	}
}

// ready tells whether a message may be sent. Callers hold the mutex.
func (c *client) ready() bool {
	return !c.ending && c.inFlight < max(c.rdy, c.straggle)
}

func (c *client) writeLoop() {
	for {
		batch, stream, deadline := c.take()
		if len(batch) == 0 {
			break
		}
		_ = c.conn.SetWriteDeadline(deadline)
		if _, err := stream.Write(batch); err != nil {
			c.cut()
			break
		}
	}
	_ = c.conn.Close()
}

// take waits for output and returns all that may be sent, and where to; nothing
// says that there will be none. As with nsqd it is to be written within one
// heartbeat interval.
func (c *client) take() (batch []byte, stream io.ReadWriter, deadline time.Time) {
	c.nsqd.mu.Lock()
	defer c.nsqd.mu.Unlock()
	c.writing = false
	c.wake.Broadcast()
	for c.sendable() == 0 && !c.ending {
		c.wake.Wait()
	}
	if c.interval > 0 {
		deadline = time.Now().Add(c.interval)
	}
	n := c.sendable()
	batch, c.out = c.out[:n:n], c.out[n:]
	c.held = min(c.held, 0)
	c.writing = true
	return batch, c.stream, deadline
}

func (c *client) sendable() int {
	if c.held >= 0 {
		return min(c.held, len(c.out))
	}
	return len(c.out)
}

// nsqd sends a heartbeat every interval, and gives a client up that completed
// no command for two. Callers of what follows hold the mutex.

// setInterval restarts the heartbeats; 0 ends them.
func (c *client) setInterval(interval time.Duration) {
	c.interval = interval
	if interval > 0 {
		c.nsqd.agenda.plan(&c.beat, time.Now().Add(interval))
	} else {
		c.nsqd.agenda.cancel(&c.beat)
	}
}

// await gives the client its full time for the next command.
func (c *client) await() {
	if c.interval > 0 {
		c.nsqd.agenda.plan(&c.idle, time.Now().Add(2*c.interval))
	}
}

func (c *client) onBeat() {
	if !c.nsqd.silent {
		c.write(ResponseFrame(wire.Heartbeat))
	}
	c.setInterval(c.interval)
}

func (c *client) onIdle() {
	if c.nsqd.deaf || c.nsqd.silent {
		c.await()
	} else {
		c.end()
	}
}
