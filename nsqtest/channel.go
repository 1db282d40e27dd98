package nsqtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// The Nsqd's mutex guards everything in this file; every function's caller holds it.

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
	queue    []*message           // ready to be delivered, the next first
	inFlight map[wire.ID]*message // delivered; their owners' connections may be lost
	deferred map[wire.ID]*message // waiting for their delay to end
	clients  []*client            // in the order of their SUBs
	turn     int                  // index of the client that is offered the next message
	paused   bool
	stats    Stats // only the counts, not the current state
}

// A message is one channel's copy of a published message.
type message struct {
	wire.Message
	delay     time.Duration // how long put defers it
	owner     *client       // the client it is in flight to, or nil
	delivered time.Time     // when it was last sent to its owner
	timeout   event         // planned while in flight or deferred; queues it again
}

// ensureTopic returns a topic, and creates it if it does not exist.
func (d *Nsqd) ensureTopic(name string) *topic {
	t := d.topics[name]
	if t == nil {
		t = &topic{name: name}
		d.topics[name] = t
	}
	return t
}

// findChannel returns nil if the channel does not exist.
func (d *Nsqd) findChannel(topic, name string) *channel {
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

// ensureChannel returns a channel, and creates it if it does not exist. A topic's
// first channel gets the topic's backlog.
func (d *Nsqd) ensureChannel(topic, name string) *channel {
	if ch := d.findChannel(topic, name); ch != nil {
		return ch
	}
	t := d.ensureTopic(topic)
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

// publish puts a copy of the message into each of the topic's channels.
func (d *Nsqd) publish(topic string, body []byte, delay time.Duration) wire.ID {
	d.lastID++
	m := message{delay: delay, Message: wire.Message{
		Timestamp: time.Now().UnixNano(),
		ID:        wire.ID(fmt.Appendf(nil, "%016x", d.lastID)),
		Body:      body,
	}}
	t := d.ensureTopic(topic)
	if len(t.channels) == 0 {
		t.backlog = append(t.backlog, &m)
	}
	for _, ch := range t.channels {
		duplicate := m // not m itself: each channel changes its copy
		ch.put(&duplicate)
	}
	return m.ID
}

// put defers m if it has a delay, and queues it otherwise.
func (ch *channel) put(m *message) {
	if m.delay > 0 {
		ch.deferred[m.ID] = m
		ch.expireAt(m, time.Now().Add(m.delay))
	} else {
		ch.queue = append(ch.queue, m)
	}
	ch.dispatch()
}

// dispatch assigns queued messages to clients, while any is ready.
func (ch *channel) dispatch() {
	for len(ch.queue) > 0 && !ch.paused {
		c := ch.pick()
		if c == nil {
			return
		}
		m := ch.queue[0]
		ch.queue = ch.queue[1:]
		ch.assign(m, c)
	}
}

// pick returns a client that is ready, or nil. A client that is owed a straggler
// comes first; the others take turns.
func (ch *channel) pick() *client {
	for _, c := range ch.clients {
		if c.stragglerRDY > 0 && c.ready() {
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

// assign puts m in flight to c.
func (ch *channel) assign(m *message, c *client) {
	m.owner = c
	ch.inFlight[m.ID] = m
	c.inFlight++
	c.stragglerRDY = 0
	ch.transmit(m)
}

// transmit sends m to its owner and counts the delivery as an attempt. Resend calls
// it for a message that is already in flight, which need not go through the queue.
func (ch *channel) transmit(m *message) {
	m.delivered = time.Now()
	m.Attempts++
	ch.stats.Delivered++
	ch.expireAt(m, m.delivered.Add(m.owner.msgTimeout))
	m.owner.write(wire.AppendMessage(nil, &m.Message))
}

// release takes m out of flight, or ends its delay.
func (ch *channel) release(m *message) {
	ch.nsqd.agenda.cancel(&m.timeout)
	delete(ch.deferred, m.ID)
	delete(ch.inFlight, m.ID)
	if m.owner != nil {
		m.owner.inFlight--
		m.owner = nil
	}
}

func (ch *channel) finish(m *message) {
	ch.release(m)
	ch.stats.Finished++
	ch.dispatch()
}

func (ch *channel) requeue(m *message, delay time.Duration) {
	ch.release(m)
	ch.stats.Requeued++
	m.delay = delay
	ch.put(m)
}

// touch extends m's timeout, at most to MaxMsgTimeout after its delivery.
func (ch *channel) touch(m *message) {
	at, limit := time.Now().Add(m.owner.msgTimeout), m.delivered.Add(ch.nsqd.opts.MaxMsgTimeout)
	if at.After(limit) {
		at = limit
	}
	ch.expireAt(m, at)
}

// expireAt plans the end of m's flight or delay.
func (ch *channel) expireAt(m *message, at time.Time) {
	m.timeout.rank = rankMessage
	m.timeout.do = func() { ch.expire(m) }
	ch.nsqd.agenda.plan(&m.timeout, at)
}

// expire queues m again after its flight or delay.
func (ch *channel) expire(m *message) {
	if m.owner != nil {
		ch.stats.TimedOut++
	}
	ch.release(m)
	m.delay = 0
	ch.put(m)
}

// requeueAll queues what is in flight and deferred, in the order in which timeouts
// and delays would have ended.
func (ch *channel) requeueAll() {
	waiting := slices.AppendSeq(slices.Collect(maps.Values(ch.inFlight)), maps.Values(ch.deferred))
	slices.SortFunc(waiting, func(a, b *message) int { return a.timeout.compare(&b.timeout) })
	for _, m := range waiting {
		ch.release(m)
	}
	ch.queue = append(ch.queue, waiting...)
}

// empty drops all messages.
func (ch *channel) empty() {
	ch.requeueAll()
	ch.queue = nil
}

// removeClient removes c. Its messages stay in flight until they time out, unless
// it was the last client of an ephemeral channel, which is removed with them.
func (ch *channel) removeClient(c *client) {
	ch.clients = slices.DeleteFunc(ch.clients, func(o *client) bool { return o == c })
	if len(ch.clients) == 0 && ephemeral(ch.name) {
		ch.remove()
	}
}

// remove deletes the channel and its messages. It keeps an ephemeral topic: one
// without channels and messages behaves like one that does not exist.
func (ch *channel) remove() {
	ch.empty()
	t := ch.topic
	t.channels = slices.DeleteFunc(t.channels, func(o *channel) bool { return o == ch })
}

func ephemeral(name string) bool { return strings.HasSuffix(name, "#ephemeral") }
