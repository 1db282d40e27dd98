package nsqtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// Everything in this file is guarded by the Nsqd's mutex.

// A topic copies each message to all its channels.
type topic struct {
	name     string
	channels []*channel
	backlog  []*message // published before there was a channel
}

// A channel queues the messages of a topic and hands them to its clients.
type channel struct {
	nsqd     *Nsqd
	topic    *topic
	name     string
	queue    []*message
	inFlight map[wire.ID]*message
	deferred map[wire.ID]*message
	clients  []*client
	turn     int // index of the client to be offered the next message
	paused   bool
	stats    Stats // the counts
}

// A message is one channel's copy.
type message struct {
	wire.Message
	delay     time.Duration // to be deferred by when it is put into a channel
	owner     *client       // while in flight
	delivered time.Time     // while in flight
	timeout   event         // ends the flight or the delay
}

func (d *Nsqd) topic(name string) *topic {
	t := d.topics[name]
	if t == nil {
		t = &topic{name: name}
		d.topics[name] = t
	}
	return t
}

// find returns nil if there is no such channel.
func (d *Nsqd) find(topic, name string) *channel {
	t := d.topics[topic]
	if t == nil {
		return nil
	}
	i := slices.IndexFunc(t.channels, func(ch *channel) bool { return ch.name == name })
	if i < 0 {
		return nil
	}
	return t.channels[i]
}

// channel finds or creates; a topic's first channel gets its backlog.
func (d *Nsqd) channel(topic, name string) *channel {
	if ch := d.find(topic, name); ch != nil {
		return ch
	}
	t := d.topic(topic)
	ch := &channel{
		nsqd:     d,
		topic:    t,
		name:     name,
		inFlight: make(map[wire.ID]*message),
		deferred: make(map[wire.ID]*message),
	}
	t.channels = append(t.channels, ch)
	for _, m := range t.backlog {
		ch.put(m)
	}
	t.backlog = nil
	return ch
}

func (d *Nsqd) publish(topic string, body []byte, delay time.Duration) wire.ID {
	d.lastID++
	m := message{delay: delay, Message: wire.Message{
		Timestamp: time.Now().UnixNano(),
		ID:        wire.ID(fmt.Appendf(nil, "%016x", d.lastID)),
		Body:      body,
	}}
	t := d.topic(topic)
	if len(t.channels) == 0 {
		t.backlog = append(t.backlog, &m)
	}
	for _, ch := range t.channels {
		duplicate := m
		ch.put(&duplicate)
	}
	return m.ID
}

func (ch *channel) put(m *message) {
	if m.delay > 0 {
		ch.deferred[m.ID] = m
		ch.expireAt(m, time.Now().Add(m.delay))
	} else {
		ch.queue = append(ch.queue, m)
	}
	ch.deliver()
}

// deliver hands out what is queued, as far as there are clients to take it.
func (ch *channel) deliver() {
	for len(ch.queue) > 0 && !ch.paused {
		c := ch.pick()
		if c == nil {
			return
		}
		m := ch.queue[0]
		ch.queue = ch.queue[1:]
		ch.send(m, c)
	}
}

// pick chooses by turns among the clients that are ready. One that is owed a
// straggler comes first.
func (ch *channel) pick() *client {
	for _, c := range ch.clients {
		if c.straggle > 0 && c.ready() {
			return c
		}
	}
	for i := range ch.clients {
		at := (ch.turn + i) % len(ch.clients)
		if c := ch.clients[at]; c.ready() {
			ch.turn = at + 1
			return c
		}
	}
	return nil
}

func (ch *channel) send(m *message, c *client) {
	m.owner = c
	ch.inFlight[m.ID] = m
	c.inFlight++
	c.straggle = 0
	ch.transmit(m)
}

// transmit delivers a message to its owner. On its own it is a redelivery
// without the detour through the queue.
func (ch *channel) transmit(m *message) {
	m.delivered = time.Now()
	m.Attempts++
	ch.stats.Delivered++
	ch.expireAt(m, m.delivered.Add(m.owner.msgTimeout))
	m.owner.write(wire.AppendMessage(nil, &m.Message))
}

// take ends a flight or a delay.
func (ch *channel) take(m *message) {
	ch.nsqd.agenda.cancel(&m.timeout)
	delete(ch.deferred, m.ID)
	delete(ch.inFlight, m.ID)
	if m.owner != nil {
		m.owner.inFlight--
		m.owner = nil
	}
}

func (ch *channel) finish(m *message) {
	ch.take(m)
	ch.stats.Finished++
	ch.deliver()
}

func (ch *channel) requeue(m *message, delay time.Duration) {
	ch.take(m)
	ch.stats.Requeued++
	m.delay = delay
	ch.put(m)
}

// touch gives the message another timeout, within the longest flight allowed.
func (ch *channel) touch(m *message) {
	at, limit := time.Now().Add(m.owner.msgTimeout), m.delivered.Add(ch.nsqd.opts.MaxMsgTimeout)
	if at.After(limit) {
		at = limit
	}
	ch.expireAt(m, at)
}

func (ch *channel) expireAt(m *message, at time.Time) {
	m.timeout.rank = rankMessage
	m.timeout.do = func() { ch.expire(m) }
	ch.nsqd.agenda.plan(&m.timeout, at)
}

func (ch *channel) expire(m *message) {
	if m.owner != nil {
		ch.stats.TimedOut++
	}
	ch.take(m)
	m.delay = 0
	ch.put(m)
}

// restore queues again what is in flight and deferred, in the order of when it
// would have come back.
func (ch *channel) restore() {
	waiting := slices.AppendSeq(slices.Collect(maps.Values(ch.inFlight)), maps.Values(ch.deferred))
	slices.SortFunc(waiting, func(a, b *message) int { return a.timeout.compare(&b.timeout) })
	for _, m := range waiting {
		ch.take(m)
	}
	ch.queue = append(ch.queue, waiting...)
}

func (ch *channel) empty() {
	ch.restore()
	ch.queue = nil
}

// leave takes a client out; its messages stay in flight until they time out.
func (ch *channel) leave(c *client) {
	ch.clients = slices.DeleteFunc(ch.clients, func(o *client) bool { return o == c })
	if len(ch.clients) == 0 && ephemeral(ch.name) {
		ch.remove()
	}
}

// remove deletes the channel. Its topic may stay, even an ephemeral one: without
// channels and messages it is as good as none.
func (ch *channel) remove() {
	ch.empty()
	t := ch.topic
	t.channels = slices.DeleteFunc(t.channels, func(o *channel) bool { return o == ch })
}

func ephemeral(name string) bool { return strings.HasSuffix(name, "#ephemeral") }
