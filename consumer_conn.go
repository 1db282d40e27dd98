package nsq

import (
	"cmp"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/flow"
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
)

// consumerConn is a Consumer's connection to one nsqd: it receives what the
// link reads, and is the delegate of the messages that came over it.
type consumerConn struct {
	c    *Consumer
	id   flow.ID
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
	seen     uint64        // the run loop's: messages received when flow looked last
}

func newConsumerConn(c *Consumer, id flow.ID, addr string, l *link.Link) *consumerConn {
	cc := &consumerConn{c: c, id: id, addr: addr, link: l, log: c.log.With("nsqd", addr)}
	granted, _ := l.Granted()
	cc.msgTimeout = cmp.Or(time.Duration(granted.MsgTimeout)*time.Millisecond, c.cfg.MsgTimeout, defaultMsgTimeout)
	cc.maxMsgTimeout = cmp.Or(time.Duration(granted.MaxMsgTimeout)*time.Millisecond, defaultMaxMsgTimeout)
	cc.ctx, cc.cancel = context.WithCancelCause(c.handling)
	return cc
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
	epoch, received := cc.c.signals.epoch.Load(), cc.c.elapsed()
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
	if cc.draining.Load() || !cc.c.delivery.put(messages) {
		for i := range messages { // it is ending, or the Consumer is
			cc.giveBack(&messages[i], 0)
		}
	}
	if cc.c.signals.asleep.Load() && cc.c.signals.asleep.CompareAndSwap(true, false) {
		cc.c.mail.post(cc.c.run.wake)
	}
}

// giveBack requeues a message that no handler has begun. That is no result:
// backoff has nothing to do with it.
func (cc *consumerConn) giveBack(m *Message, delay time.Duration) {
	if m.respond() {
		cc.link.Req((*wire.ID)(&m.ID), delay)
	}
}

// TooBig requeues a message that max_msg_size forbids to read. It is not
// finished, whatever its attempts: another consumer may have room for it.
func (cc *consumerConn) TooBig(w wire.Message, size int) {
	cc.log.Error("message not read: body exceeds max_msg_size", "id", string(w.ID[:]),
		"bytes", size, "max_msg_size", cc.c.cfg.MaxMsgSize, "attempts", w.Attempts)
	cc.giveBack(&Message{ID: MessageID(w.ID)}, cc.c.cfg.requeueDelay(w.Attempts))
}

// Failed reports an answer that came too late.
func (cc *consumerConn) Failed(err *wire.Error) {
	cc.refused.Add(1)
	cc.log.Warn("nsqd refused an answer that came too late", "err", err)
}

// Down tells the run loop that the link has ended.
func (cc *consumerConn) Down(err error) {
	cc.c.mail.post(func(now time.Time) { cc.c.run.down(now, cc, err) })
}

// OnFinish sends FIN. But in backoff that is all: no loop, no shared state.
func (cc *consumerConn) OnFinish(m *Message) {
	if m.is(timedOut) {
		cc.tooLate(m, "FIN")
		return
	}
	if cc.c.signals.reporting.Load() && !m.is(givenUp) {
		cc.report(m, flow.Success, func() { cc.link.Fin((*wire.ID)(&m.ID)) })
		return
	}
	cc.link.Fin((*wire.ID)(&m.ID))
}

// OnRequeue sends REQ, and what follows from it for backoff before that.
func (cc *consumerConn) OnRequeue(m *Message, delay time.Duration, backoff bool) {
	if delay == autoDelay {
		delay = cc.c.cfg.requeueDelay(m.Attempts)
	}
	answer := func() { cc.link.Req((*wire.ID)(&m.ID), delay) }
	if m.is(timedOut) {
		answer = func() { cc.tooLate(m, "REQ") }
	}
	switch {
	case m.is(givenUp):
		answer()
	case backoff && cc.c.cfg.MaxBackoffDuration > 0:
		cc.report(m, flow.Failure, answer)
	case cc.c.signals.reporting.Load():
		cc.report(m, flow.Continue, answer)
	default:
		answer()
	}
}

// report tells flow what became of a message. RDYs that follow from it are
// written before the answer: after it, nsqd would send the next message by the
// old ones.
func (cc *consumerConn) report(m *Message, outcome flow.Result, answer func()) {
	posted := cc.c.mail.post(func(now time.Time) {
		cc.c.run.result(now, cc.id, outcome, m.epoch)
		answer()
	})
	if !posted {
		answer() // which is lost, but counted
	}
}

// tooLate reports an answer to a message whose lease or connection is over: it
// was counted as lost then. nsqd may have sent the message to this very
// connection again, and would take the answer for one to that.
func (cc *consumerConn) tooLate(m *Message, answer string) {
	cc.log.Warn("message answered too late, nsqd delivers it again", "answer", answer,
		"id", string(m.ID[:]), "attempts", m.Attempts, "after", cc.c.elapsed()-m.received)
}

// OnTouch sends TOUCH.
func (cc *consumerConn) OnTouch(m *Message) {
	if cc.link.Touch((*wire.ID)(&m.ID)) {
		m.extend(cc.c.elapsed(), cc.msgTimeout, cc.maxMsgTimeout)
	}
}
