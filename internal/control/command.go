package control

import (
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
)

// Command is something for the owner to do: one of the types below.
type Command interface{ command() }

type (
	// Dial starts a dial, whose result the owner reports with Dialled or
	// DialFailed. It must not subscribe before SubAfter, which may be zero or in the past.
	Dial struct {
		ID       ID
		Addr     string
		SubAfter time.Time
	}
	// CancelDial cancels a dial. The owner still reports its result.
	CancelDial struct{ ID ID }
	// Open starts reading from a connection whose dial succeeded. The owner's last
	// report about the connection is Down.
	Open struct{ ID ID }
	// Close closes a link at once. Without Cut and Silent, the link comes from a dial
	// whose address is no longer wanted: it was never opened, and no Down follows. With
	// Cut, it is an open connection that a stop cannot wait for. With Silent, it is a
	// draining connection that has nothing left to do and gets no CLOSE_WAIT. With
	// either, Down follows.
	Close struct {
		ID          ID
		Cut, Silent bool
	}
	// SetRDY writes an RDY.
	SetRDY struct {
		ID  ID
		RDY int
	}
	// SetFlags sets the flags that readers and handlers check. It precedes the RDYs
	// of the same decision.
	SetFlags struct {
		Epoch     uint32 // the stamp of messages that arrive from now on
		Reporting bool   // handlers report successes too, not only failures
		Listening bool   // the reader of the next message calls Wake
		WeighAt   int64  // the reader that brings so many bytes into memory calls Weigh; 0: none does
		Spending  bool   // the owner calls Spend before it sends an ack or a requeue
		Bounded   bool   // the owner calls Stall when takers wait in vain
	}
	// Drain writes CLS. Messages that still arrive are requeued.
	Drain struct{ ID ID }
	// Requeue requeues the messages of a draining connection that no handler has
	// begun. It follows Drain: before CLS, nsqd would deliver them right back.
	Requeue struct{ ID ID }
	// Abandon ends a draining connection as soon as it has sent the acks that it
	// already holds. It waits for no others.
	Abandon struct{ ID ID }
	// ReturnWaiting requeues the messages that wait without a taker.
	ReturnWaiting struct{}
	// HurryTakers gives takers the messages that they have: no more come before one in
	// flight is acked or requeued.
	HurryTakers struct{}
	// Reply gives a waiting caller its result. If that is Failed, Err is the error
	// that was passed to DialFailed; otherwise Err is nil.
	Reply struct {
		Call   Call
		Result Result
		Err    error
	}
	// Poll has nsqlookupds polled now.
	Poll struct{}
	// StopDialling cancels all dials and ends the polling of nsqlookupds.
	StopDialling struct{}
	// StopHandlers closes the queue and requeues the messages in it. From then on
	// no handler begins a message.
	StopHandlers struct{}
	// EndContexts ends the contexts of all messages.
	EndContexts struct{}
	// AbandonHandlers passes the acks that handlers have gathered to the
	// connections, and records which messages are still unacked. After the Abandons
	// that follow, no ack can be sent.
	AbandonHandlers struct{}
	// Tell announces an event to the log and to hooks.
	Tell struct{ Event Event }
	// Done ends the owner's loop.
	Done struct{}
)

func (Dial) command()            {}
func (CancelDial) command()      {}
func (Open) command()            {}
func (Close) command()           {}
func (SetRDY) command()          {}
func (SetFlags) command()        {}
func (Drain) command()           {}
func (Requeue) command()         {}
func (Abandon) command()         {}
func (ReturnWaiting) command()   {}
func (HurryTakers) command()     {}
func (Reply) command()           {}
func (Poll) command()            {}
func (StopDialling) command()    {}
func (StopHandlers) command()    {}
func (EndContexts) command()     {}
func (AbandonHandlers) command() {}
func (Tell) command()            {}
func (Done) command()            {}

// Event is something that happened to the Consumer and is worth reporting: one of
// the types below. Its ID may be that of a connection that is gone.
type Event interface{ event() }

type (
	// DialBegun comes before Dial.
	DialBegun struct {
		ID   ID
		Addr string
	}
	// DialFailed comes before the Reply that gives a caller the same error.
	DialFailed struct {
		ID    ID
		Addr  string
		Err   error
		Took  time.Duration
		First bool          // since the address became wanted or was last connected
		Retry time.Duration // as in ConnLost
	}
	// ConnUp comes before Open.
	ConnUp struct {
		ID   ID
		Addr string
		Took time.Duration // of the dial
	}
	// ConnLost says that a connection ended although it was not draining.
	ConnLost struct {
		ID   ID
		Addr string
		Err  error
		// Retry is the time until the next dial. If that needs the consent of an
		// nsqlookupd, it is the time until the next poll, 0 for a regular one.
		Retry time.Duration
		Up    time.Duration // how long it lasted
	}
	// ConnClosed says that a draining connection ended. Err is not nil if it was
	// lost before all its messages were acked.
	ConnClosed struct {
		ID   ID
		Addr string
		Err  error
		Up   time.Duration // how long it lasted
	}
	// Listed says which nsqds the Consumer connects to from now on because an nsqlookupd
	// lists them, and which it disconnects from because none lists them any more. The
	// addresses are sorted.
	Listed struct{ Added, Removed []string }
	// LowMaxRDY says that an nsqd's max-rdy-count is below max_in_flight.
	LowMaxRDY struct {
		ID                  ID
		Addr                string
		MaxRDY, MaxInFlight int
	}
	// FewSlots says, once, that max_in_flight leaves handlers or nsqds idle. Messages is how
	// many messages the handlers can have at a time: batch handlers have several each.
	FewSlots struct{ MaxInFlight, Messages, NSQDs int }
	// Overload says, once, that messages expire before a handler is free.
	Overload struct {
		MaxInFlight, Handlers int
		Lease                 time.Duration
	}
	// Backoff says that the backoff level has changed.
	Backoff struct {
		Level, Before int           // 0: no backoff
		Pause         time.Duration // time until messages flow again
	}
	// StopBegun is the first event of a stop.
	StopBegun struct{}
	// StopEnded is the last event of a Consumer.
	StopEnded struct{}
)

func (DialBegun) event()  {}
func (DialFailed) event() {}
func (ConnUp) event()     {}
func (ConnLost) event()   {}
func (ConnClosed) event() {}
func (Listed) event()     {}
func (LowMaxRDY) event()  {}
func (FewSlots) event()   {}
func (Overload) event()   {}
func (Backoff) event()    {}
func (StopBegun) event()  {}
func (StopEnded) event()  {}

// NSQD is the state of a wanted address.
type NSQD struct {
	Addr  string
	State fleet.State
	ID    ID        // of its dial or connection; 0 while it waits
	Err   error     // from the last failed dial or lost connection
	Due   time.Time // while it waits, when the next dial is due: see fleet.Machine.Look
}
