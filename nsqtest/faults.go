package nsqtest

import (
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// A Command is a command that the fake nsqd received.
type Command struct {
	Conn   int    // the connection, numbered from 1 in the order of accepting
	Name   string // such as "SUB"
	Params []string
	Body   []byte // of IDENTIFY, AUTH, PUB, MPUB and DPUB

	refused *wire.Error // why the body was not read; nil if it was, or if there is none
}

// String returns the command's line, such as "SUB topic channel".
func (c Command) String() string {
	line := wire.Command{Name: c.Name, Params: c.Params}
	return line.String()
}

// A Fault replaces what the fake nsqd does about some of the commands it
// receives. A zero field has no effect.
type Fault struct {
	// Which commands: those with this name for which Match returns true. Of
	// these the fault skips the first Skip, then applies to at most Times.
	// Match is called on the connection's goroutine, with no lock held.
	// A Producer that publishes concurrently may send MPUB where a test expects PUB, unless
	// pack_publishes is false.
	Command string
	Match   func(Command) bool
	Skip    int
	Times   int

	// What the nsqd does, in this order. Later commands of the same connection
	// wait until it is done; heartbeats and messages do not.
	Delay  time.Duration // wait
	Before []byte        // send these bytes
	Reply  []byte        // if not nil, send these, perhaps none, instead of executing the command
	Mute   bool          // execute the command, but drop its reply
	Close  bool          // close the connection once everything is sent
}

type fault struct {
	Fault
	seen int // how many commands it has matched; guarded by the Nsqd's mutex
}

// Inject adds a fault. If several apply to a command, the one added first is used.
func (d *Nsqd) Inject(f Fault) {
	d.update(func() { d.faults = append(d.faults, &fault{Fault: f}) })
}

// ClearFaults removes all faults.
func (d *Nsqd) ClearFaults() {
	d.update(func() { d.faults = nil })
}

// Reject injects an error as the reply to every command with this name. As nsqd
// does, it then closes the connection, unless the code is E_FIN_FAILED,
// E_REQ_FAILED or E_TOUCH_FAILED.
func (d *Nsqd) Reject(command, code, desc string) {
	d.Inject(Fault{
		Command: command,
		Reply:   ErrorFrame(code, desc),
		Close:   wire.Code(code).Fatal(),
	})
}

// ResponseFrame returns a response as it is on the wire: "OK", "CLOSE_WAIT",
// "_heartbeat_" or IDENTIFY's JSON.
func ResponseFrame(data string) []byte { return wire.AppendResponse(nil, data) }

// ErrorFrame returns an error as it is on the wire. desc may be empty.
func ErrorFrame(code, desc string) []byte {
	return wire.AppendError(nil, &wire.Error{Code: wire.Code(code), Desc: desc})
}

// faultFor returns the fault that applies to a command, or the zero Fault.
func (d *Nsqd) faultFor(cmd Command) Fault {
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

// cuts are how many more bytes a connection sends and receives before it breaks;
// negative means that it does not break.
type cuts struct{ sent, received int }

var noCuts = cuts{sent: -1, received: -1}

// CutAfterSent breaks the next connection that is accepted, abruptly, as soon as n
// bytes have been sent to the client. With 0 it breaks at the first byte to send.
func (d *Nsqd) CutAfterSent(n int) {
	d.update(func() { d.cuts.sent = n })
}

// CutAfterReceived breaks the next connection that is accepted, abruptly, as soon
// as n bytes, the magic included, have been received. Commands that are complete
// by then are executed, but replies not yet sent are lost.
func (d *Nsqd) CutAfterReceived(n int) {
	d.update(func() { d.cuts.received = n })
}

// Disconnect closes a connection abruptly: output that is not yet sent is lost. It
// fails the test if the connection does not exist.
func (d *Nsqd) Disconnect(conn int) {
	d.tb.Helper()
	d.connected(conn).cut()
}

// Send sends raw bytes to a client, such as garbage or a frame out of turn. It
// fails the test if the connection does not exist.
func (d *Nsqd) Send(conn int, raw []byte) {
	d.tb.Helper()
	c := d.connected(conn)
	d.update(func() { c.write(raw) })
}

// Resend delivers a message that is in flight once more, to the connection that
// has it and whatever its RDY, as if the message had timed out. It fails the test
// if the message is not in flight.
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

// StopReading makes the nsqd stop reading from its connections, so that clients'
// writes pile up. The nsqd still sends, and closes no client for being silent.
func (d *Nsqd) StopReading() {
	d.setReadingStopped(true, time.Unix(1, 0))
}

// StartReading ends [Nsqd.StopReading].
func (d *Nsqd) StartReading() {
	d.setReadingStopped(false, time.Time{})
}

// setReadingStopped sets the state, and the read deadlines that interrupt reads
// under way, in one update. In two, a StopReading and a StartReading at the same
// time could leave connections with the state of the one and the deadline of the
// other.
func (d *Nsqd) setReadingStopped(stopped bool, deadline time.Time) {
	d.update(func() {
		d.readingStopped = stopped
		for _, c := range d.clients {
			if !c.late { // whose deadline has passed for good
				_ = c.conn.SetReadDeadline(deadline)
			}
		}
		d.resetIdle()
	})
}

// StopHeartbeats makes the nsqd send no heartbeats, so that it looks hung to its
// clients. It still executes commands, and closes no client for being silent.
func (d *Nsqd) StopHeartbeats() { d.setHeartbeatsStopped(true) }

// StartHeartbeats ends [Nsqd.StopHeartbeats].
func (d *Nsqd) StartHeartbeats() { d.setHeartbeatsStopped(false) }

func (d *Nsqd) setHeartbeatsStopped(stopped bool) {
	d.update(func() {
		d.heartbeatsStopped = stopped
		d.resetIdle()
	})
}

// resetIdle wakes the readers, and gives clients that owe a command their full
// time again. Callers hold the mutex.
func (d *Nsqd) resetIdle() {
	for _, c := range d.clients {
		c.wake.Broadcast()
		if c.idle.planned() {
			c.expectCommand()
		}
	}
}

// connected returns a connection by its number, or fails the test.
func (d *Nsqd) connected(conn int) *client {
	d.tb.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.clients {
		if c.id == conn {
			return c
		}
	}
	d.tb.Fatalf("nsqtest: there is no connection %d", conn)
	return nil
}
