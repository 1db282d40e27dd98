package nsq

import (
	"cmp"
	"slices"
	"time"

	"github.com/rdyhq/nsq/internal/control"
	"github.com/rdyhq/nsq/internal/fleet"
)

// Snapshot is the state of a Consumer at a moment, as [Consumer.Snapshot]
// returns it.
type Snapshot struct {
	Topic, Channel string

	MaxInFlight int                  // as it is now
	Paused      bool                 // by Pause
	InFlight    int                  // messages received and not answered, over all connections
	Connections []ConnectionSnapshot // by address; those that are wanted until it is stopped, and those that are being closed

	// BackoffLevel is 0 while there is no backoff.
	BackoffLevel int
	// BackoffUntil is when the pause ends in which no messages are taken. It is
	// zero if there is none; with a level over 0 messages then come one at a
	// time.
	BackoffUntil time.Time

	Counts // over all connections, former ones included
}

// Counts say what became of messages: Received is the sum of Finished,
// Requeued, Expired, Lost and what is in flight. nsqd delivers again what is
// Requeued, Expired and Lost. When a connection ends, answers that it did not
// send change from Finished and Requeued to Lost; otherwise counts only grow.
type Counts struct {
	Received uint64 // deliveries, redeliveries included
	Finished uint64 // FINs given to a connection
	Requeued uint64 // REQs given to a connection
	Expired  uint64 // messages whose lease ended before a handler began them
	Lost     uint64 // messages whose lease or connection ended before their answer was sent
	Refused  uint64 // FINs, REQs and TOUCHes that nsqd refused, most often because they came too late
}

// ConnectionState is where a Consumer is with an nsqd.
type ConnectionState string

// The states of a connection.
const (
	ConnectionDialing ConnectionState = "connecting" // it is being dialled
	ConnectionUp      ConnectionState = "connected"
	ConnectionClosing ConnectionState = "closing" // it takes no messages and ends when those it has are answered
	ConnectionWaiting ConnectionState = "waiting" // to be dialled again
)

// ConnectionSnapshot is the state of one connection of a Consumer, or of an
// nsqd to which there is none.
type ConnectionSnapshot struct {
	Addr  string // as it was given to ConnectToNSQD, or is listed by nsqlookupd
	State ConnectionState

	RDY         int       // messages that nsqd may have in flight here
	InFlight    int       // messages received and not answered
	LastMessage time.Time // zero before the first one of this connection

	Version     string // nsqd's; empty without a connection
	TLS         string // its version, such as "TLS 1.3"; empty without
	Compression string // "snappy", "deflate" or empty

	LastError error     // why the last dial failed or the last connection was lost; nil if none was
	NextDial  time.Time // when waiting

	Counts // of this connection; zero without one
}

// Snapshot returns the state of the Consumer. It also works when the Consumer
// has stopped. It must not be called by what the Consumer waits for: its Logger
// and its BackoffStrategy.
func (c *Consumer) Snapshot() Snapshot {
	result := make(chan Snapshot, 1)
	if c.post(func(now time.Time) { result <- c.loop.snapshot(now) }) {
		return <-result
	}
	<-c.StopChan // from here on nobody else touches what the loop owns
	return c.loop.snapshot(time.Now())
}

func (l *runLoop) snapshot(now time.Time) Snapshot {
	s := Snapshot{Topic: l.c.topic, Channel: l.c.channel, Counts: l.past}
	s.MaxInFlight, s.Paused = l.machine.MaxInFlight()
	var until time.Time
	if s.BackoffLevel, until = l.machine.Backoff(); until.After(now) {
		s.BackoffUntil = until
	}
	lastErrors := map[control.ID]error{}
	for _, n := range l.machine.NSQDs() {
		if n.State == fleet.Connected {
			lastErrors[n.ID] = n.Err
		} else if l.machine.Phase() == control.Active {
			s.Connections = append(s.Connections, notConnected(n))
		}
	}
	for _, conn := range l.conns {
		shown := conn.snapshot()
		shown.LastError = lastErrors[conn.id]
		s.Connections = append(s.Connections, shown)
		s.InFlight += shown.InFlight
		s.add(conn)
	}
	slices.SortStableFunc(s.Connections, func(a, b ConnectionSnapshot) int { return cmp.Compare(a.Addr, b.Addr) })
	return s
}

// notConnected shows an nsqd to which there is no connection.
func notConnected(n control.NSQD) ConnectionSnapshot {
	s := ConnectionSnapshot{Addr: n.Addr, State: ConnectionWaiting, LastError: n.Err, NextDial: n.Due}
	if n.State == fleet.Dialling {
		s.State = ConnectionDialing
	}
	return s
}

func (cc *consumerConn) snapshot() ConnectionSnapshot {
	l, how := cc.link.Stats(), cc.link.Transport()
	s := ConnectionSnapshot{
		Addr: cc.addr, State: ConnectionUp,
		RDY: l.RDY, InFlight: l.InFlight, LastMessage: l.LastMessage,
		Version: how.Version, TLS: how.TLS, Compression: how.Compression,
	}
	if cc.draining.Load() {
		s.State, s.RDY = ConnectionClosing, 0
	}
	s.add(cc)
	return s
}

func (s *Counts) add(cc *consumerConn) {
	l := cc.link.Stats()
	s.Received += l.Received
	s.Finished += l.Finished
	s.Requeued += l.Requeued
	s.Expired += l.Expired
	s.Lost += l.Lost
	s.Refused += cc.refused.Load()
}

// ConsumerStats are a Consumer's counts since it was made. [Consumer.Snapshot]
// has more.
type ConsumerStats struct {
	MessagesReceived uint64 // deliveries, redeliveries included
	MessagesFinished uint64 // FINs given to a connection
	MessagesRequeued uint64 // REQs given to a connection
	Connections      int    // nsqds connected now
}

// IsStarved tells whether a connection has nearly all the messages in flight
// that it may have: at least 85 % of its RDY, and one. A handler that gathers
// messages may take it as the sign to process what it has, for no more will
// come before that.
func (c *Consumer) IsStarved() bool {
	for _, conn := range c.connected.Load().open {
		s := conn.link.Stats()
		if s.InFlight > 0 && s.InFlight >= s.RDY*85/100 {
			return true
		}
	}
	return false
}

// Stats returns the counts as they are now.
func (c *Consumer) Stats() *ConsumerStats {
	now := c.connected.Load()
	sum := now.past
	for _, conn := range now.open {
		sum.add(conn)
	}
	return &ConsumerStats{
		MessagesReceived: sum.Received,
		MessagesFinished: sum.Finished,
		MessagesRequeued: sum.Requeued,
		Connections:      len(now.open),
	}
}

// connections are the connections of a moment, and the counts of former ones.
type connections struct {
	open []*consumerConn
	past Counts
}

// show shows the connections to Stats and IsStarved.
func (l *runLoop) show() {
	shown := &connections{open: make([]*consumerConn, 0, len(l.conns)), past: l.past}
	for _, conn := range l.conns {
		shown.open = append(shown.open, conn)
	}
	slices.SortFunc(shown.open, func(a, b *consumerConn) int { return cmp.Compare(a.id, b.id) })
	l.c.connected.Store(shown)
}
