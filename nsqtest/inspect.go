package nsqtest

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// Publish publishes messages to a topic and returns their IDs. It also works while
// the nsqd is killed. It fails the test if the topic's name is invalid or a body is
// empty.
func (d *Nsqd) Publish(topic string, bodies ...string) []string {
	d.tb.Helper()
	if !wire.ValidName(topic) || slices.Contains(bodies, "") {
		d.tb.Fatalf("nsqtest: Publish to %q: invalid topic name or empty body", topic)
	}
	ids := make([]string, len(bodies))
	d.update(func() {
		for i, body := range bodies {
			id := d.publish(topic, []byte(body), 0)
			ids[i] = string(id[:])
		}
	})
	return ids
}

// CreateChannel creates a channel without a client, so that it gets copies of what
// is published from now on. It fails the test if a name is invalid.
func (d *Nsqd) CreateChannel(topic, channel string) {
	d.tb.Helper()
	if !wire.ValidName(topic) || !wire.ValidName(channel) {
		d.tb.Fatalf("nsqtest: CreateChannel: invalid topic or channel name: %q, %q", topic, channel)
	}
	d.update(func() { d.ensureChannel(topic, channel) })
}

// DeleteChannel deletes a channel with its messages, and closes its clients'
// connections abruptly.
func (d *Nsqd) DeleteChannel(topic, channel string) {
	var conns []net.Conn
	d.update(func() {
		if ch := d.findChannel(topic, channel); ch != nil {
			for _, c := range ch.clients {
				conns = append(conns, c.abort())
			}
			ch.remove()
		}
	})
	closeAll(conns)
}

// Pause stops deliveries to the channel's clients.
func (d *Nsqd) Pause(topic, channel string) { d.setPaused(topic, channel, true) }

// Unpause ends [Nsqd.Pause].
func (d *Nsqd) Unpause(topic, channel string) { d.setPaused(topic, channel, false) }

func (d *Nsqd) setPaused(topic, channel string, paused bool) {
	d.update(func() {
		if ch := d.findChannel(topic, channel); ch != nil {
			ch.paused = paused
			ch.dispatch()
		}
	})
}

// Empty drops all messages of a channel: queued, in flight and deferred.
func (d *Nsqd) Empty(topic, channel string) {
	d.update(func() {
		if ch := d.findChannel(topic, channel); ch != nil {
			ch.empty()
		}
	})
}

// Stats are the figures of one channel: its state now, and counts since it was
// created.
type Stats struct {
	Depth    int // messages in the queue
	InFlight int // including those of lost connections, until they time out
	Deferred int
	Clients  int

	Delivered int // including redeliveries
	Finished  int
	Requeued  int // by REQ
	TimedOut  int
}

// Stats returns the figures of a channel. They are all 0 if it does not exist.
func (d *Nsqd) Stats(topic, channel string) Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	ch := d.findChannel(topic, channel)
	if ch == nil {
		return Stats{}
	}
	s := ch.stats
	s.Depth = len(ch.queue)
	s.InFlight = len(ch.inFlight)
	s.Deferred = len(ch.deferred)
	s.Clients = len(ch.clients)
	return s
}

// Queued returns the bodies of the messages in a channel's queue, the next first.
// With an empty channel name it returns those of a topic that has no channel yet.
func (d *Nsqd) Queued(topic, channel string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var waiting []*message
	if ch := d.findChannel(topic, channel); ch != nil {
		waiting = ch.queue
	} else if t := d.topics[topic]; t != nil && channel == "" {
		waiting = t.backlog
	}
	var bodies []string
	for _, m := range waiting {
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

// A Client is what the nsqd knows about one connection.
type Client struct {
	Conn       int    // the connection, numbered from 1 in the order of accepting
	RemoteAddr string // the client's end
	Topic      string // empty before SUB
	Channel    string
	RDY        int
	InFlight   int
	Closing    bool            // CLS was received
	Identify   json.RawMessage // the body of IDENTIFY, as the client sent it

	TLS         bool
	Compression string // "snappy", "deflate" or empty
}

// Clients returns the open connections, the oldest first.
func (d *Nsqd) Clients() []Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	var clients []Client
	for _, c := range d.clients {
		if c.ending {
			continue
		}
		info := Client{
			Conn:       c.id,
			RemoteAddr: c.conn.RemoteAddr().String(),
			RDY:        c.rdy,
			InFlight:   c.inFlight,
			Closing:    c.state == stateClosing,
			Identify:   c.identify,

			TLS:         c.secure,
			Compression: c.compression,
		}
		if c.channel != nil {
			info.Topic, info.Channel = c.channel.topic.name, c.channel.name
		}
		clients = append(clients, info)
	}
	return clients
}

// Commands returns all commands received so far, each after the number of its
// connection: "1 SUB t c", "1 RDY 5", "2 FIN 0123456789abcdef".
func (d *Nsqd) Commands() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for _, cmd := range d.commands {
		lines = append(lines, fmt.Sprintf("%d %s", cmd.conn, cmd.line))
	}
	return lines
}

// CommandsOf returns the commands received so far on one connection: "SUB t c",
// "RDY 5".
func (d *Nsqd) CommandsOf(conn int) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for _, cmd := range d.commands {
		if cmd.conn == conn {
			lines = append(lines, cmd.line)
		}
	}
	return lines
}

// WaitFor returns when cond returns true. It fails the test if that does not
// happen within the timeout. It calls cond after each change of the nsqd's state;
// cond may call any method. In a synctest bubble the timeout is in virtual time,
// and synctest.Wait is often enough instead.
func (d *Nsqd) WaitFor(timeout time.Duration, cond func() bool) {
	d.tb.Helper()
	deadline := time.Now().Add(timeout)
	timer := time.AfterFunc(timeout, func() { d.update(func() {}) })
	defer timer.Stop()
	for {
		d.mu.Lock()
		seen := d.version
		d.mu.Unlock()
		if cond() {
			return
		}
		if !time.Now().Before(deadline) {
			d.tb.Fatalf("nsqtest: nsqd %s: condition not met within %v; commands so far: %q",
				d.addr, timeout, d.Commands())
		}
		d.mu.Lock()
		for d.version == seen {
			d.changed.Wait()
		}
		d.mu.Unlock()
	}
}
