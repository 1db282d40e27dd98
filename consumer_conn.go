package nsq

import (
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
	messageSlab = 64
)

// consumerConn is a Consumer's connection to one nsqd: it receives what the
// link reads, and is the delegate of the messages that came over it.
type consumerConn struct {
	c    *Consumer
	id   flow.ID
	addr string
	link *link.Link
	log  *slog.Logger

	draining atomic.Bool // set by the run loop: it was told to end
}

// Messages copies what was read and queues it for the handlers.
func (cc *consumerConn) Messages(batch []wire.Message) {
	for len(batch) > 0 {
		n, bytes := slabSize(batch)
		cc.deliver(batch[:n], bytes)
		batch = batch[n:]
	}
}

// slabSize says how many messages at the front of a batch share a slab, and
// the length of their bodies.
func slabSize(batch []wire.Message) (n, bytes int) {
	for n < min(len(batch), messageSlab) && (n == 0 || bytes+len(batch[n].Body) <= bodySlab) {
		bytes += len(batch[n].Body)
		n++
	}
	return n, bytes
}

func (cc *consumerConn) deliver(batch []wire.Message, bytes int) {
	messages := make([]Message, len(batch))
	bodies := make([]byte, 0, bytes)
	for i := range batch {
		w, from := &batch[i], len(bodies)
		bodies = append(bodies, w.Body...)
		messages[i] = Message{
			ID: MessageID(w.ID), Body: bodies[from:len(bodies):len(bodies)],
			Timestamp: w.Timestamp, Attempts: w.Attempts,
			NSQDAddress: cc.addr, Delegate: cc,
		}
	}
	if cc.draining.Load() || !cc.c.delivery.put(messages) {
		cc.giveBack(messages) // it is ending, or the Consumer is
	}
}

func (cc *consumerConn) giveBack(messages []Message) {
	for i := range messages {
		messages[i].RequeueWithoutBackoff(0)
	}
}

// TooBig requeues a message that max_msg_size forbids to read. It is not
// finished, whatever its attempts: another consumer may have room for it.
func (cc *consumerConn) TooBig(w wire.Message, size int) {
	cc.log.Error("message not read: body exceeds max_msg_size", "id", string(w.ID[:]),
		"bytes", size, "max_msg_size", cc.c.cfg.MaxMsgSize, "attempts", w.Attempts)
	m := Message{ID: MessageID(w.ID), Attempts: w.Attempts, Delegate: cc}
	m.RequeueWithoutBackoff(autoDelay)
}

// Failed reports an answer that came too late.
func (cc *consumerConn) Failed(err *wire.Error) {
	cc.log.Warn("nsqd refused an answer, it will deliver the message again", "err", err)
}

// Down tells the run loop that the link has ended.
func (cc *consumerConn) Down(err error) {
	cc.c.mail.post(func(now time.Time) { cc.c.run.down(now, cc, err) })
}

// OnFinish sends FIN. That is all: no loop, no shared state.
func (cc *consumerConn) OnFinish(m *Message) { cc.link.Fin((*wire.ID)(&m.ID)) }

// OnRequeue sends REQ.
func (cc *consumerConn) OnRequeue(m *Message, delay time.Duration, _ bool) {
	if delay == autoDelay {
		delay = min(cc.c.cfg.DefaultRequeueDelay*time.Duration(m.Attempts), cc.c.cfg.MaxRequeueDelay)
	}
	cc.link.Req((*wire.ID)(&m.ID), delay)
}

// OnTouch sends TOUCH.
func (cc *consumerConn) OnTouch(m *Message) { cc.link.Touch((*wire.ID)(&m.ID)) }
