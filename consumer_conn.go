package nsq

import (
	"cmp"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/control"
	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// Bodies are copied out of the read buffer into slabs of at most
	// bodySlab bytes, and messages cut from slabs of at most messageSlab, so
	// that a message that is kept pins no more than that. A larger body has
	// memory of its own.
	bodySlab    = 16 << 10
	messageSlab = 63 // 64 would take the next larger of the allocator's sizes

	// The msg-timeout and max-msg-timeout of an nsqd that does not tell its own.
	defaultMsgTimeout    = time.Minute
	defaultMaxMsgTimeout = 15 * time.Minute
)

// consumerConn is a Consumer's connection to one nsqd: it receives what the
// link reads, and is the delegate of the messages that came over it.
type consumerConn struct {
	c    *Consumer
	id   control.ID
	addr string
	link *link.Link
	log  *slog.Logger

	// What nsqd grants of a lease: see Message.
	msgTimeout, maxMsgTimeout time.Duration

	// ctx ends with the connection; contexts of its messages are its children.
	ctx    context.Context
	cancel context.CancelCauseFunc

	draining atomic.Bool   // set by the run loop: it was told to end
	refused  atomic.Uint64 // answers that nsqd would not have
}

func newConsumerConn(c *Consumer, id control.ID, l *link.Link) *consumerConn {
	cc := &consumerConn{c: c, id: id, addr: l.Addr(), link: l, log: c.log.With("nsqd", l.Addr())}
	granted, _ := l.Granted()
	cc.msgTimeout = c.lease(granted)
	cc.maxMsgTimeout = cmp.Or(time.Duration(granted.MaxMsgTimeout)*time.Millisecond, defaultMaxMsgTimeout)
	cc.ctx, cc.cancel = context.WithCancelCause(c.handling)
	return cc
}

// linkConfig is what the Config says of a connection to one nsqd.
func (c *Consumer) linkConfig(addr string) link.Config {
	cfg := c.cfg.linkConfig(addr)
	cfg.Topic, cfg.Channel, cfg.OwnAbove = c.topic, c.channel, largestSlab(c.cfg)
	return cfg
}

// lease returns how long an nsqd waits for an ack.
func (c *Consumer) lease(granted wire.IdentifyResponse) time.Duration {
	return cmp.Or(time.Duration(granted.MsgTimeout)*time.Millisecond, c.cfg.MsgTimeout, defaultMsgTimeout)
}

// drain has nsqd send no more messages. Those that still arrive are requeued.
func (cc *consumerConn) drain() {
	cc.draining.Store(true)
	cc.link.Drain()
}

// Messages queues what was read for the handlers. Bodies are copied, but for large
// ones, which are ours.
func (cc *consumerConn) Messages(batch []wire.Message) {
	for len(batch) > 0 {
		n, bytes := slabSize(batch, largestSlab(cc.c.cfg))
		cc.deliver(batch[:n], bytes)
		batch = batch[n:]
	}
}

// largestSlab is how many bytes of bodies share memory, at most.
func largestSlab(cfg *Config) int {
	if cfg.RecycleBodies {
		return recycledSlab
	}
	return bodySlab
}

// slabSize says how many messages at the front of a batch share a slab of most
// bytes, and the length of their bodies.
func slabSize(batch []wire.Message, most int) (n, bytes int) {
	for n < min(len(batch), messageSlab) && (n == 0 || bytes+len(batch[n].Body) <= most) {
		bytes += len(batch[n].Body)
		n++
	}
	return n, bytes
}

func (cc *consumerConn) deliver(batch []wire.Message, bytes int) {
	messages := make([]Message, len(batch))
	var mem []byte
	var shared *bodies
	own := bytes > largestSlab(cc.c.cfg) // it is a single one: see link.Config.OwnAbove
	switch {
	case own:
	case cc.c.cfg.RecycleBodies && bytes >= leastRecycled:
		shared = recycled.Get().(*bodies)
		shared.open.Store(int32(len(batch))) // #nosec G115 -- a slab's
		mem = shared.mem[:0]
	default:
		mem = make([]byte, 0, bytes)
	}
	epoch, received := cc.c.flags.epoch.Load(), cc.c.elapsed()
	lease := milliseconds32(cc.msgTimeout)
	for i := range batch {
		w, m := &batch[i], &messages[i]
		body := w.Body
		if !own {
			from := len(mem)
			mem = append(mem, body...)
			body = mem[from:len(mem):len(mem)]
		}
		m.ID, m.Body = MessageID(w.ID), body
		m.Timestamp, m.Attempts = w.Timestamp, w.Attempts
		m.NSQDAddress, m.Delegate = cc.addr, cc
		m.original, m.conn, m.bodies = m, cc, shared
		m.epoch, m.received, m.lease = epoch, received, lease
	}
	if cc.draining.Load() || !cc.c.queue.put(messages) { // it is ending, or the Consumer is
		for i := range messages {
			requeueUnbegun(&messages[i])
		}
	}
	if cc.c.flags.heard() {
		cc.c.post(cc.c.loop.machine.Wake)
	}
}

// TooBig requeues a message that max_msg_size forbids to read. It is not
// finished, whatever its attempts: another consumer may have room for it.
func (cc *consumerConn) TooBig(w wire.Message, size int) {
	cc.log.Error("message not read: body exceeds max_msg_size", "id", string(w.ID[:]),
		"bytes", size, "max_msg_size", cc.c.cfg.MaxMsgSize, "attempts", w.Attempts)
	m := &Message{ID: MessageID(w.ID), Attempts: w.Attempts, conn: cc}
	cc.c.conclude(nil, m, outcome{fate: unbegun, delay: autoDelay})
}

// Failed reports an answer that came too late.
func (cc *consumerConn) Failed(err *wire.Error) {
	cc.refused.Add(1)
	cc.log.Warn("nsqd refused an answer that came too late", "err", err)
}

// Down tells the run loop that the link has ended.
func (cc *consumerConn) Down(err error) {
	cc.c.post(func(now time.Time) { cc.c.loop.down(now, cc, err) })
}
