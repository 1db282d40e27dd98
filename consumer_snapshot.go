package nsq

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/rdyhq/nsq/internal/control"
	"github.com/rdyhq/nsq/internal/fleet"
)

// Snapshot is the state of a Consumer when [Consumer.Snapshot] was called.
type Snapshot struct {
	Topic, Channel string
	State          ConsumerState
	Started        time.Time // when the Consumer was made

	// Handlers is how many goroutines call handlers. Busy is how many of them have a
	// message.
	Handlers, Busy int
	// Queued is how many messages wait for a handler.
	Queued int
	// Oldest is how long the handler that has been at work the longest has had its message,
	// to the millisecond; 0 if none is at work.
	Oldest time.Duration

	MaxInFlight int  // as last set
	Paused      bool // by Pause
	InFlight    int  // messages received and not acked or requeued, over all connections

	MaxBytesInFlight int64 // as configured; 0: no bound
	// BytesInFlight is what the bodies of the messages in hand take, over all connections,
	// including those that have ended. Bodies over 2 KiB are rounded up by less than a
	// thousandth. A body counts until its message is acked, requeued or given up and, if a
	// handler is at work on it by then, until that handler returns.
	BytesInFlight int64

	// Connections has every nsqd that the Consumer is connected to or tries to connect
	// to, and the connections that are being closed, sorted by address. From the
	// beginning of a stop it has only the latter.
	Connections []ConnectionSnapshot

	// BackoffLevel is 0 while there is no backoff.
	BackoffLevel int
	// BackoffUntil is when the current pause ends. During a pause no messages come.
	// Without one it is zero; if the level is above 0, messages come one at a time.
	BackoffUntil time.Time

	// Lookupds has the nsqlookupds that the Consumer asks, in the order in which they were
	// added.
	Lookupds []LookupdSnapshot

	Counts // over all connections, including those that have ended
}

// ConsumerState says whether a Consumer runs, stops or has stopped.
type ConsumerState string

// The states of a Consumer.
const (
	ConsumerRunning  ConsumerState = "running" // also before it has connected
	ConsumerStopping ConsumerState = "stopping"
	ConsumerStopped  ConsumerState = "stopped"
)

// ConnectionState is the state of a Consumer's connection to an nsqd.
type ConnectionState string

// The states of a connection.
const (
	ConnectionDialing ConnectionState = "connecting" // being dialled
	ConnectionUp      ConnectionState = "connected"
	ConnectionClosing ConnectionState = "closing" // ends when its messages are acked or requeued
	ConnectionWaiting ConnectionState = "waiting" // to be dialled again
)

// ConnectionSnapshot is the state of one connection of a Consumer, or of an nsqd that
// it is not connected to.
type ConnectionSnapshot struct {
	Addr  string // as given to ConnectToNSQD, or as listed by nsqlookupd
	State ConnectionState

	RDY         int       // how many messages nsqd may have in flight on this connection
	InFlight    int       // messages received and not acked or requeued
	LastMessage time.Time // zero before the first message of this connection

	BytesInFlight int64 // what the bodies in hand take that came over this connection

	Version     string // nsqd's; empty without a connection
	TLS         string // its version, such as "TLS 1.3"; empty without
	Compression string // "snappy", "deflate" or empty

	LastError error     // from the last failed dial or lost connection; nil for none
	NextDial  time.Time // zero unless waiting; the earliest time if an nsqlookupd has to list the nsqd first

	// Counts are over all connections to this nsqd for as long as the Consumer has known
	// it. While an old connection is being closed, the nsqd may have two entries, which
	// count different connections: add them up.
	Counts
}

// MarshalJSON writes LastError as its text, or null.
func (s ConnectionSnapshot) MarshalJSON() ([]byte, error) {
	type plain ConnectionSnapshot // without this method
	return json.Marshal(struct {
		plain
		LastError *string // hides that of plain
	}{plain(s), errorText(s.LastError)})
}

// Snapshot returns the state of the Consumer, also after it has stopped. The
// Consumer's Logger and BackoffStrategy must not call it: the Consumer waits for them.
func (c *Consumer) Snapshot() Snapshot {
	result := make(chan Snapshot, 1)
	if c.post(func(now time.Time) { result <- c.loop.snapshot(now) }) {
		return <-result
	}
	<-c.StopChan // from here on no other goroutine uses the loop's fields
	return c.loop.snapshot(time.Now())
}

func (l *runLoop) snapshot(now time.Time) Snapshot {
	s := Snapshot{
		Topic: l.c.topic, Channel: l.c.channel, State: l.state(), Started: l.c.start,
		Counts: l.past.sum, Lookupds: slices.Clone(l.lookupds),
		MaxBytesInFlight: l.c.cfg.MaxBytesInFlight, BytesInFlight: l.c.memory.held.Load(),
	}
	s.Handlers, s.Busy, s.Queued, s.Oldest = l.c.queue.load()
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
		s.add(&shown.Counts)
	}
	slices.SortStableFunc(s.Connections, func(a, b ConnectionSnapshot) int { return cmp.Compare(a.Addr, b.Addr) })
	l.past.share(s.Connections)
	return s
}

// state returns the state of the Consumer.
func (l *runLoop) state() ConsumerState {
	select {
	case <-l.c.StopChan:
		return ConsumerStopped
	default:
	}
	if l.c.queue.isSealed() {
		return ConsumerStopping
	}
	return ConsumerRunning
}

// notConnected returns the state of an nsqd to which there is no connection.
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
		BytesInFlight: cc.bytes.Load(),
		Version:       how.Version, TLS: how.TLS, Compression: how.Compression,
	}
	if cc.draining.Load() {
		s.State, s.RDY = ConnectionClosing, 0
	}
	s.add(cc.countsWith(l))
	return s
}

// ConsumerStats holds a Consumer's counts since it was made. Those of messages never fall.
// [Consumer.Snapshot] has more.
type ConsumerStats struct {
	MessagesReceived uint64 // deliveries, redeliveries included
	MessagesFinished uint64 // FINs given to a connection
	MessagesRequeued uint64 // REQs given to a connection
	Connections      int    // nsqds connected now
}

// IsStarved reports whether any connection has nearly as many messages in flight as it
// may have: at least one, and at least 85 % of its RDY. A handler that gathers messages
// can take that as the sign to process them, since few more come until it does.
func (c *Consumer) IsStarved() bool {
	for _, conn := range c.connected.Load().open {
		s := conn.link.Stats()
		if s.InFlight > 0 && s.InFlight >= s.RDY*85/100 {
			return true
		}
	}
	return false
}

// Stats returns the current counts.
func (c *Consumer) Stats() *ConsumerStats {
	now := c.connected.Load()
	sum := now.past
	for _, conn := range now.open {
		sum.add(conn.counts())
	}
	return &ConsumerStats{
		MessagesReceived: sum.Received,
		MessagesFinished: sum.Finished,
		MessagesRequeued: sum.Requeued,
		Connections:      len(now.open),
	}
}

// connections is what the run loop publishes of its connections: the open ones, ordered
// by ID, and the summed counts of those that have ended.
type connections struct {
	open []*consumerConn
	past Counts
}

// show publishes the connections for Stats and IsStarved.
func (l *runLoop) show() {
	shown := &connections{open: make([]*consumerConn, 0, len(l.conns)), past: l.past.sum}
	for _, conn := range l.conns {
		shown.open = append(shown.open, conn)
	}
	slices.SortFunc(shown.open, func(a, b *consumerConn) int { return cmp.Compare(a.id, b.id) })
	l.c.connected.Store(shown)
}
