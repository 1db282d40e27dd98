package nsqtest

import (
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// A Command is one that the fake nsqd received.
type Command struct {
	Conn   int    // the connection, counted from 1 in the order of accepting
	Name   string // such as "SUB"
	Params []string
	Body   []byte // of IDENTIFY, AUTH and the publish commands

	refused *wire.Error // why the body was not read
}

// String is the command's line, without the connection and the body.
func (c Command) String() string {
	line := wire.Command{Name: c.Name, Params: c.Params}
	return line.String()
}

// A Fault replaces what the fake nsqd does about some of the commands it
// receives. The zero value of a field means that it does not matter.
type Fault struct {
	// Which commands: those of that name, for which Match (called without a
	// lock, on the connection's goroutine) is true; of these, the ones after
	// the first Skip, and at most Times of them.
	Command string
	Match   func(Command) bool
	Skip    int
	Times   int

	// What happens, in this order. Later commands of the same connection wait
	// for it; heartbeats and messages do not.
	Delay  time.Duration // wait
	Before []byte        // send this
	Reply  []byte        // send this instead of executing the command; empty but not nil sends nothing
	Mute   bool          // execute the command, but swallow the reply
	Close  bool          // close the connection once all of this is sent
}

type fault struct {
	Fault
	seen int
}

// Inject adds a fault. The first one added that applies to a command is used.
func (d *Nsqd) Inject(f Fault) {
	d.update(func() { d.faults = append(d.faults, &fault{Fault: f}) })
}

// ClearFaults takes back all that was injected.
func (d *Nsqd) ClearFaults() {
	d.update(func() { d.faults = nil })
}

// Reject answers each command of that name with an error, and closes the
// connection if nsqd does so after that code: always but for E_FIN_FAILED,
// E_REQ_FAILED and E_TOUCH_FAILED.
func (d *Nsqd) Reject(command, code, desc string) {
	d.Inject(Fault{
		Command: command,
		Reply:   ErrorFrame(code, desc),
		Close:   wire.Code(code).Fatal(),
	})
}

// ResponseFrame is a response as it is on the wire, such as "OK",
// "CLOSE_WAIT", "_heartbeat_" or IDENTIFY's JSON.
func ResponseFrame(data string) []byte { return wire.AppendResponse(nil, data) }

// ErrorFrame is an error as it is on the wire; the description may be empty.
func ErrorFrame(code, desc string) []byte {
	return wire.AppendError(nil, &wire.Error{Code: wire.Code(code), Desc: desc})
}

// fault finds what is to be done about a command; the zero Fault is nothing.
func (d *Nsqd) fault(cmd Command) Fault {
	d.mu.Lock()
	faults := d.faults
	d.mu.Unlock()
	for _, f := range faults {
		if f.Command != "" && f.Command != cmd.Name || f.Match != nil && !f.Match(cmd) {
			continue
		}
		d.mu.Lock()
		f.seen++
		nth := f.seen - f.Skip
		d.mu.Unlock()
		if nth > 0 && (f.Times == 0 || nth <= f.Times) {
			return f.Fault
		}
	}
	return Fault{}
}

// cuts are the bytes after which a connection breaks; negative is never.
type cuts struct{ sent, received int }

var noCuts = cuts{sent: -1, received: -1}

// CutAfterSent makes the next connection to be accepted break abruptly when n
// bytes were sent to its client.
func (d *Nsqd) CutAfterSent(n int) {
	d.update(func() { d.cuts.sent = n })
}

// CutAfterReceived makes the next connection to be accepted break abruptly when
// n bytes, the magic included, were received. Commands that are complete by
// then are executed, but answers that are not yet sent never will be.
func (d *Nsqd) CutAfterReceived(n int) {
	d.update(func() { d.cuts.received = n })
}

// Disconnect closes a connection abruptly. It fails the test if there is no such
// connection.
func (d *Nsqd) Disconnect(conn int) {
	d.tb.Helper()
	d.client(conn).cut()
}

// Send writes raw bytes to a client: garbage, or a frame out of turn. It fails
// the test if there is no such connection.
func (d *Nsqd) Send(conn int, raw []byte) {
	d.tb.Helper()
	c := d.client(conn)
	d.update(func() { c.write(raw) })
}

// Resend delivers a message that is in flight once more to the connection that
// has it, as if it had timed out and come back, whatever the RDY. It fails the
// test if the message is not in flight.
func (d *Nsqd) Resend(id string) {
	d.tb.Helper()
	found := false
	d.update(func() {
		for _, t := range d.topics {
			for _, ch := range t.channels {
				wid, err := wire.ParseID(id)
				if m := ch.inFlight[wid]; err == nil && m != nil {
					found = true
					ch.transmit(m)
				}
			}
		}
	})
	if !found {
		d.tb.Fatalf("nsqtest: message %s is not in flight", id)
	}
}

// StopReading makes the nsqd stop reading from its connections, so that what
// clients write piles up. It still sends, and gives no client up.
func (d *Nsqd) StopReading() {
	d.setDeaf(true, time.Unix(1, 0))
}

// StartReading ends [Nsqd.StopReading].
func (d *Nsqd) StartReading() {
	d.setDeaf(false, time.Time{})
}

// setDeaf sets the deadlines, which interrupt reads under way, together with
// the state: if StopReading and StartReading met in between, connections could
// be left with the deadline of the one and the state of the other.
func (d *Nsqd) setDeaf(deaf bool, deadline time.Time) {
	d.update(func() {
		d.deaf = deaf
		for _, c := range d.clients {
			_ = c.conn.SetReadDeadline(deadline)
		}
		d.pardon()
	})
}

// StopHeartbeats makes the nsqd send no heartbeats, and give no client up: to
// its clients it looks hung. Commands are still executed.
func (d *Nsqd) StopHeartbeats() { d.setSilent(true) }

// StartHeartbeats ends [Nsqd.StopHeartbeats].
func (d *Nsqd) StartHeartbeats() { d.setSilent(false) }

func (d *Nsqd) setSilent(silent bool) {
	d.update(func() {
		d.silent = silent
		d.pardon()
	})
}

// pardon wakes the readers and gives clients that owe a command their full time
// again. Callers hold the mutex.
func (d *Nsqd) pardon() {
	for _, c := range d.clients {
		c.wake.Broadcast()
		if c.idle.planned() {
			c.await()
		}
	}
}

// client finds a connection that exists, or fails the test.
func (d *Nsqd) client(conn int) *client {
	d.tb.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.clients {
		if c.id == conn {
			return c
		}
	}
	d.tb.Fatalf("nsqtest: connection %d is not connected", conn)
	return nil
}
