package nsq

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/control"
	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// Bodies are copied out of the read buffer into slabs of at most bodySlab bytes,
	// and messages are cut from slabs of at most messageSlab: a message that a
	// handler keeps pins no more than that. A larger body has memory of its own.
	bodySlab    = 16 << 10
	messageSlab = 63 // 64 would take the next larger of the allocator's sizes

	// nsqd's default msg-timeout and max-msg-timeout, used for an nsqd that does not
	// report its own.
	defaultMsgTimeout    = time.Minute
	defaultMaxMsgTimeout = 15 * time.Minute
)

// consumerConn is a Consumer's connection to one nsqd. It receives what the link
// reads, and is the Delegate of the messages that came over it. The link calls
// Messages, TooBig, Failed and Down, one at a time; OnFinish, OnRequeue and OnTouch
// may be called from any goroutine.
type consumerConn struct {
	c    *Consumer
	id   control.ID
	addr string
	link *link.Link
	log  *slog.Logger

	// The length of a lease, and the most that TOUCHes can extend it to: see Message.
	msgTimeout, maxMsgTimeout time.Duration

	// ctx ends with the connection. The contexts of its messages are its children.
	ctx    context.Context
	cancel context.CancelCauseFunc

	opened time.Duration // when, on the Consumer's clock

	// asked is when its RDY last rose, on that clock, and askedFor the highest RDY since it
	// was 0, or since it had not risen for rdyGrace.
	asked, askedFor atomic.Int64

	peak  int          // most messages in flight since the last slotUse; owned by the run loop
	bytes atomic.Int64 // what the bodies weigh that came over it and are still held

	// queued is how many messages have come to the queue, or were requeued instead. It is
	// set with the queue's mutex held.
	queued     atomic.Uint64
	queuedThen uint64 // the run loop's: see deliveryQueue.wanted

	borrows bool    // the reader is to handle what it has read; owned by the reader
	spare   *worker // for its next loan; owned by the reader

	lane lane // the queue's, of this connection; guarded by the queue's mutex

	draining atomic.Bool   // set by the run loop when it sends CLS
	refused  atomic.Uint64 // FINs, REQs and TOUCHes that nsqd refused

	givenUp, buried, discarded, panics atomic.Uint64 // see Counts
}

func newConsumerConn(c *Consumer, id control.ID, l *link.Link) *consumerConn {
	cc := &consumerConn{c: c, id: id, addr: l.Addr(), link: l, log: c.log.With("nsqd", l.Addr()), opened: c.elapsed()}
	granted, _ := l.Granted()
	cc.msgTimeout = c.lease(granted)
	cc.maxMsgTimeout = cmp.Or(fromMilliseconds(granted.MaxMsgTimeout), defaultMaxMsgTimeout)
	cc.ctx, cc.cancel = context.WithCancelCause(c.handling)
	return cc
}

// linkConfig returns the configuration of the Consumer's link to one nsqd.
func (c *Consumer) linkConfig(addr string) link.Config {
	cfg := c.cfg.linkConfig(addr, c.log)
	cfg.Topic, cfg.Channel, cfg.OwnAbove = c.topic, c.channel, largestSlab(c.cfg)
	cfg.MaxBody, cfg.Room = longestBody(c.cfg), c.memory.room
	return cfg
}

// lease returns how long an nsqd waits for an ack, never 0.
func (c *Consumer) lease(granted wire.IdentifyResponse) time.Duration {
	return cmp.Or(fromMilliseconds(granted.MsgTimeout), c.cfg.MsgTimeout, defaultMsgTimeout)
}

// drain asks nsqd to send no more messages. Those that still arrive are requeued.
func (cc *consumerConn) drain() {
	cc.draining.Store(true)
	cc.link.Drain()
	cc.c.memory.wake() // its reader waits no longer
}

// Messages queues the messages of one read for the handlers. It copies the bodies,
// except large ones, whose memory it may keep: see link.Config.OwnAbove.
func (cc *consumerConn) Messages(batch []wire.Message) {
	cc.borrows = cc.borrows || cc.c.queue.mayLend(len(batch)) // a read may come in several calls
	for len(batch) > 0 {
		n, bytes := slabSize(batch, largestSlab(cc.c.cfg))
		cc.enqueue(batch[:n], bytes, cc.borrows)
		batch = batch[n:]
	}
	if cc.c.gathers() || cc.c.flags.bounded.Load() {
		cc.c.hurryTakers(false)
	}
}

// largestSlab returns the largest number of bytes of bodies that share memory.
func largestSlab(cfg *Config) int {
	if cfg.RecycleBodies {
		return recycledSlab
	}
	return bodySlab
}

// slabSize returns how many messages at the front of a batch share a slab, and the total
// length of their bodies: at most that many bytes, unless the first alone is longer.
func slabSize(batch []wire.Message, most int) (n, bytes int) {
	for n < min(len(batch), messageSlab) && (n == 0 || bytes+len(batch[n].Body) <= most) {
		bytes += len(batch[n].Body)
		n++
	}
	return n, bytes
}

// enqueue queues one slab of messages, and wakes the machine if it is listening. lent says
// that the reader is about to handle them.
func (cc *consumerConn) enqueue(batch []wire.Message, bytes int, lent bool) {
	messages := make([]Message, len(batch))
	var mem []byte
	var extra *messageExtra
	own := bytes > largestSlab(cc.c.cfg) // one large body: see link.Config.OwnAbove
	switch {
	case own:
	case cc.c.cfg.RecycleBodies && bytes >= leastRecycled:
		shared := recycled.Get().(*bodies)
		shared.open.Store(int32(len(batch))) // #nosec G115 -- at most messageSlab
		mem, extra = shared.mem[:0], &shared.extra
	default:
		mem = make([]byte, 0, bytes)
	}
	epoch, received := cc.c.flags.epoch.Load(), cc.c.elapsed()
	lease := milliseconds32(cc.msgTimeout)
	held := int64(0)
	for i := range batch {
		w, m := &batch[i], &messages[i]
		body := w.Body
		m.weight = weigh(len(body))
		held += m.weight.bytes()
		if !own {
			from := len(mem)
			mem = append(mem, body...)
			body = mem[from:len(mem):len(mem)]
		}
		m.ID, m.Body = MessageID(w.ID), body
		m.Timestamp, m.Attempts = w.Timestamp, w.Attempts
		m.NSQDAddress, m.Delegate = cc.addr, cc
		m.original, m.conn, m.extra = m, cc, extra
		m.epoch, m.received, m.lease = epoch, received, lease
	}
	cc.holdBodies(held)
	if cc.draining.Load() || !cc.c.queue.put(messages, lent) { // a drain or a stop
		cc.c.queue.countQueued(cc, len(messages))
		for i := range messages {
			requeueUnbegun(&messages[i])
		}
	}
	if cc.c.flags.claimWake() {
		cc.c.post(cc.c.loop.machine.Wake)
	}
}

// TooBig requeues a message whose body exceeds max_msg_size, or is too long to be read
// without one. However many attempts it has had, it is not acked: another consumer may
// have room for it.
func (cc *consumerConn) TooBig(w wire.Message, size int) {
	cc.readOn()
	if most := cc.c.cfg.MaxMsgSize; most > 0 {
		cc.log.ErrorContext(repeating, "message not read: body exceeds max_msg_size", "id", string(w.ID[:]),
			"bytes", size, "max_msg_size", most, "attempts", w.Attempts)
	} else {
		cc.log.ErrorContext(repeating, "message not read: body exceeds twice max_bytes_in_flight, set max_msg_size to allow it",
			"id", string(w.ID[:]), "bytes", size, "max_bytes_in_flight", cc.c.cfg.MaxBytesInFlight, "attempts", w.Attempts)
	}
	cc.c.queue.countQueued(cc, 1)
	m := &Message{ID: MessageID(w.ID), Attempts: w.Attempts, received: cc.c.elapsed()}
	cc.tellAbandoned(m, false, ErrMessageTooBig)
	cc.conclude(nil, m, outcome{fate: unbegun, delay: autoDelay})
}

// Failed counts a FIN, REQ or TOUCH that nsqd refused because it came too late.
func (cc *consumerConn) Failed(err *wire.Error) {
	cc.readOn()
	cc.refused.Add(1)
	cc.tellRefused(err)
	cc.log.WarnContext(repeating, "nsqd refused an ack that came too late", "err", err)
}

// Down tells the run loop that the link has ended.
func (cc *consumerConn) Down(err error) {
	cc.c.post(func(now time.Time) { cc.c.loop.down(now, cc, err) })
}

// cleanUp forgets a message that was acked or requeued: if it was detached, the queue's
// entry, and if it was observed, its context. state is the message's state before.
func (cc *consumerConn) cleanUp(m *Message, state uint32) {
	if state&detached != 0 {
		cc.c.queue.forgetDetached(m)
	}
	if state&observed != 0 {
		cc.c.contexts.end(m, context.Canceled)
	}
}

// lost gives up the unacked messages of a connection that has ended, and ends their
// contexts. nsqd delivers them again, so if a handler began one now, the work would be
// done twice. The link has already counted them as lost. There may be some even after
// a drain.
func (cc *consumerConn) lost() {
	cc.cancel(fmt.Errorf("nsqd %s: %w", cc.addr, ErrConnectionLost))
	unbegun, begun := cc.c.queue.orphan(cc)
	for _, m := range unbegun {
		cc.releaseBodies(m.weight.bytes())
		cc.conclude(nil, m, outcome{fate: lostUnbegun})
	}
	for _, m := range begun {
		cc.conclude(nil, m, outcome{fate: connectionLost})
	}
}
