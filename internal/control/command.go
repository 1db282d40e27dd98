package control

import (
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
)

// Command is something for the owner to do: one of the types below.
type Command interface{ command() }

type (
	// Dial starts a dial, whose result the owner reports with Dialled or
	// DialFailed.
	Dial struct {
		ID   ID
		Addr string
	}
	// CancelDial has a dial end soon. Its result is reported all the same.
	CancelDial struct{ ID ID }
	// Open begins to read from a connection whose dial succeeded. Down is the
	// last that is heard of it.
	Open struct{ ID ID }
	// Close closes a link at once: that of a dial nobody wants, which was never
	// opened and is not heard of again; or an open one, whose Down follows.
	Close struct {
		ID  ID
		Cut bool // an open connection is cut because a stop's time is over
	}
	// SetRDY writes an RDY.
	SetRDY struct {
		ID  ID
		RDY int
	}
	// SetFlags sets what readers and handlers look at. It comes before the RDYs
	// that follow from the same decision.
	SetFlags struct {
		Epoch     uint32 // messages that arrive from now on are stamped with it
		Reporting bool   // successes are reported, not only failures
		Listening bool   // the next message is reported, by Wake
	}
	// Drain writes CLS and has messages that still arrive requeued.
	Drain struct{ ID ID }
	// Requeue requeues what no handler has begun of a draining connection. It
	// comes after Drain: nsqd would deliver a message again at once.
	Requeue struct{ ID ID }
	// Abandon has a draining connection end as soon as the acks that it was given
	// are sent, without waiting for others.
	Abandon struct{ ID ID }
	// Reply tells a waiting caller the result. Err is that of DialFailed if the
	// result is Failed, and nil otherwise.
	Reply struct {
		Call   Call
		Result Result
		Err    error
	}
	// Poll asks nsqlookupds soon.
	Poll struct{}
	// StopDialling ends all dials and the polling of nsqlookupds.
	StopDialling struct{}
	// StopHandlers closes the queue and requeues what is in it. No handler
	// begins a message any more.
	StopHandlers struct{}
	// EndContexts ends the contexts of all messages.
	EndContexts struct{}
	// LeaveHandlers sends the acks that handlers have given and not sent, and
	// notes what they leave behind. No ack can follow the Abandons after it.
	LeaveHandlers struct{}
	// Tell makes an event known, to the log for instance.
	Tell struct{ Event Event }
	// Done ends the owner's loop.
	Done struct{}
)

func (Dial) command()          {}
func (CancelDial) command()    {}
func (Open) command()          {}
func (Close) command()         {}
func (SetRDY) command()        {}
func (SetFlags) command()      {}
func (Drain) command()         {}
func (Requeue) command()       {}
func (Abandon) command()       {}
func (Reply) command()         {}
func (Poll) command()          {}
func (StopDialling) command()  {}
func (StopHandlers) command()  {}
func (EndContexts) command()   {}
func (LeaveHandlers) command() {}
func (Tell) command()          {}
func (Done) command()          {}

// Event is something that happened to the Consumer, for those that watch it: one
// of the types below. Events that carry an ID may be about a connection that is
// gone.
type Event interface{ event() }

type (
	// DialBegun comes before Dial.
	DialBegun struct {
		ID   ID
		Addr string
	}
	// DialFailed comes before the Reply that tells a caller the same.
	DialFailed struct {
		ID    ID
		Addr  string
		Err   error
		First bool          // since the address became wanted, or was last connected
		Retry time.Duration // until the next dial
	}
	// ConnUp comes before Open.
	ConnUp struct {
		ID   ID
		Addr string
	}
	// ConnLost says that a connection ended unasked.
	ConnLost struct {
		ID    ID
		Addr  string
		Err   error
		Retry time.Duration // until the next dial
	}
	// ConnClosed says that a draining connection ended. Err is not nil if it was
	// lost before all its messages were acked.
	ConnClosed struct {
		ID   ID
		Addr string
		Err  error
	}
	// Unlisted says that an nsqd is let go because no nsqlookupd lists it.
	Unlisted struct{ Addr string }
	// LowMaxRDY says that an nsqd's max-rdy-count is below max_in_flight.
	LowMaxRDY struct {
		ID                  ID
		Addr                string
		MaxRDY, MaxInFlight int
	}
	// FewSlots says, once, that max_in_flight leaves handlers or nsqds idle.
	FewSlots struct{ MaxInFlight, Handlers, NSQDs int }
	// Overload says, once, that leases end before a handler is free.
	Overload struct {
		MaxInFlight, Handlers int
		Lease                 time.Duration
	}
	// Backoff says that the level of backoff has changed. 0 is its end.
	Backoff struct {
		Level int
		Pause time.Duration // from now on
	}
	// StopBegun is a stop's first event.
	StopBegun struct{}
	// StopEnded is its last one.
	StopEnded struct{}
)

func (DialBegun) event()  {}
func (DialFailed) event() {}
func (ConnUp) event()     {}
func (ConnLost) event()   {}
func (ConnClosed) event() {}
func (Unlisted) event()   {}
func (LowMaxRDY) event()  {}
func (FewSlots) event()   {}
func (Overload) event()   {}
func (Backoff) event()    {}
func (StopBegun) event()  {}
func (StopEnded) event()  {}

// NSQD is what is known of a wanted address.
type NSQD struct {
	Addr  string
	State fleet.State
	ID    ID        // of its dial or connection; 0 while it waits
	Err   error     // of the last dial that failed or connection that was lost
	Due   time.Time // of the next dial, while it waits
}
