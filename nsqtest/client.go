package nsqtest

import (
	"encoding/json"
	"errors"
	"net"
	"os"
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
	nsqd *Nsqd
	id   int
	conn net.Conn
	in   []byte // read and not yet executed; the reader's own
	cuts cuts   // received is the reader's own, sent the writer's

	// Guarded by the Nsqd's mutex:

	wake       sync.Cond // out, ending or the Nsqd's deaf changed
	out        []byte
	ending     bool // takes no more output and closes once out is written
	muted      bool // a fault swallows the reply of the command being executed
	state      state
	authorized bool
	identify   json.RawMessage
	msgTimeout time.Duration
	channel    *channel // nil before SUB
	rdy        int
	inFlight   int
	straggle   int           // the RDY before it fell to 0, while one more message is owed
	interval   time.Duration // of heartbeats; 0 is off
	beat       event         // sends a heartbeat
	idle       event         // gives the client up; not planned while it owes no command
}

func newClient(d *Nsqd, id int, conn net.Conn) *client {
	c := &client{
		nsqd:       d,
		id:         id,
		conn:       conn,
		cuts:       d.cuts,
		state:      stateInit,
		msgTimeout: d.opts.MsgTimeout,
	}
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
		if err != nil || !c.handle(cmd) {
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

// fill reads once, when the nsqd is not deaf and up to where the connection is
// to be cut.
func (c *client) fill() error {
	if !c.mayRead() {
		return net.ErrClosed
	}
	c.in = slices.Grow(c.in, 4096)
	room := c.in[len(c.in):cap(c.in)]
	if c.cuts.received >= 0 {
		room = room[:min(len(room), c.cuts.received)]
	}
	n, err := c.conn.Read(room)
	c.in = c.in[:len(c.in)+n]
	if c.cuts.received >= 0 {
		c.cuts.received -= n
		if c.cuts.received == 0 {
			c.cut()
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // StopReading interrupted; the next fill will wait
	}
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
		batch, deadline := c.take()
		if batch == nil {
			break
		}
		if err := c.flush(batch, deadline); err != nil {
			c.cut()
			break
		}
	}
	_ = c.conn.Close()
}

// take waits for output and returns all of it, or nil when there will be none.
// As with nsqd it is to be written within one heartbeat interval.
func (c *client) take() (batch []byte, deadline time.Time) {
	c.nsqd.mu.Lock()
	defer c.nsqd.mu.Unlock()
	for len(c.out) == 0 && !c.ending {
		c.wake.Wait()
	}
	if c.interval > 0 {
		deadline = time.Now().Add(c.interval)
	}
	batch, c.out = c.out, nil
	return batch, deadline
}

// flush writes up to where the connection is to be cut.
func (c *client) flush(batch []byte, deadline time.Time) error {
	if c.cuts.sent >= 0 {
		batch = batch[:min(len(batch), c.cuts.sent)]
		c.cuts.sent -= len(batch)
	}
	_ = c.conn.SetWriteDeadline(deadline)
	if _, err := c.conn.Write(batch); err != nil {
		return err
	}
	if c.cuts.sent == 0 {
		return net.ErrClosed
	}
	return nil
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
