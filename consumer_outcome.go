package nsq

import (
	"time"

	"github.com/rdyhq/nsq/internal/flow"
	"github.com/rdyhq/nsq/internal/wire"
)

// outcome is what becomes of a message.
type outcome struct {
	fate    fate
	delay   time.Duration // of a requeue; autoDelay: as configured
	backoff bool          // backoff counts the requeue as a failure
}

// fate is how a delivery ends.
type fate uint8

const (
	finished        fate = iota // acked: handled, discarded by its handler or given up
	buried                      // acked: stored as a dead letter
	requeued                    // by its handler, or because its handler failed
	unbegun                     // requeued because no handler will begin it
	expired                     // its lease ended before a handler began it
	timedOutUnacked             // its lease ended after a handler began it
	connectionLost              // its connection ended after a handler began it
	lostUnbegun                 // its connection ended before a handler began it
)

// acked reports whether the message is acked.
func (f fate) acked() bool { return f == finished || f == buried }

// conclude carries out an outcome of a message. All outcomes pass through here, each
// once: the caller has claimed the message with Message.respond or Message.expire, or is
// TooBig, whose message no handler has seen. A message that is acked too late has two
// outcomes, the end of its lease or connection and the ack. w is the worker whose handler
// has returned, nil for any other caller.
//
// cc is where the ack goes. That need not be m.conn: a handler may give a message of its
// own, made by NewMessage, the Delegate of the one that it received.
//
// A worker's FIN joins those of its batch, unless flow must hear of the outcome or the
// FIN came too late.
func (cc *consumerConn) conclude(w *worker, m *Message, o outcome) {
	late := m.is(timedOut)
	if o.fate != finished || late || cc.c.flags.reporting.Load() {
		cc.concludeRest(m, o, late)
		return
	}
	switch {
	case w != nil:
		cc.c.queue.addFin(w, m)
	case cc.c.flags.unlessSpending(func() { cc.link.Fin((*wire.ID)(&m.ID)) }):
		cc.releaseBodies(m.weight.bytes())
	default:
		cc.concludeRest(m, o, late)
	}
}

// concludeRest is the rest of conclude: all but a success outside backoff, for which a
// large function costs time.
func (cc *consumerConn) concludeRest(m *Message, o outcome, late bool) {
	if !late || o.fate >= timedOutUnacked && m.is(detached) { // see consumer_bytes.go
		cc.releaseBodies(m.weight.bytes())
	}
	switch o.fate {
	case expired:
		cc.link.Expire()
		cc.tellAbandoned(m, false, ErrMessageTimedOut)
		return
	case timedOutUnacked:
		cc.link.Lose()
		cc.c.contexts.end(m, ErrMessageTimedOut)
		cc.tellAbandoned(m, true, ErrMessageTimedOut)
		return
	case connectionLost, lostUnbegun: // the link has counted it
		cc.c.contexts.end(m, ErrConnectionLost)
		cc.tellAbandoned(m, o.fate == connectionLost, ErrConnectionLost)
		return
	}
	ack := func() { cc.requeue(m, o.delay) }
	switch {
	case late:
		ack = func() { cc.tooLate(m, o.fate) }
	case o.fate.acked():
		ack = func() { cc.link.Fin((*wire.ID)(&m.ID)) }
	}
	result, heard := cc.c.backoffResult(m, o, late)
	if heard || !cc.c.flags.unlessSpending(ack) {
		cc.report(m, result, heard, ack)
	}
}

// backoffResult returns what to report to backoff about an outcome, and whether to
// report anything. Failures are reported unless max_backoff_duration is 0, other results
// only while backoff asks for them. Some outcomes say nothing about whether things go
// well: a message that is given up, discarded, retried as planned or made a dead letter at
// its handler's request, one that no handler began, and a success that came too late. Any
// other dead letter counts as the failure that made it one.
func (c *Consumer) backoffResult(m *Message, o outcome, late bool) (result flow.Result, heard bool) {
	switch on := c.flags.reporting.Load(); {
	case o.fate == unbegun || m.is(noResult):
		return 0, false
	case o.fate == finished:
		return flow.Success, on && !late
	case o.backoff && c.cfg.MaxBackoffDuration > 0:
		return flow.Failure, true
	default:
		return flow.Continue, on
	}
}

// report reports to flow that a message is about to be acked and, if heard, its result. Then
// it acks the message. The RDYs that follow go first: if the ack did, nsqd would send the
// next message by the old RDY.
func (cc *consumerConn) report(m *Message, result flow.Result, heard bool, ack func()) {
	posted := cc.c.post(func(now time.Time) {
		cc.c.loop.spend(now, cc, m.epoch)
		if heard {
			cc.c.loop.machine.Result(now, cc.id, result, m.epoch)
		}
		cc.c.loop.carryOut()
		ack()
	})
	if !posted {
		ack() // the Consumer has stopped: the link has counted the message as lost
	}
}

// requeue sends a REQ.
func (cc *consumerConn) requeue(m *Message, delay time.Duration) {
	if delay == autoDelay {
		delay = cc.c.cfg.requeueDelay(m.Attempts)
	}
	cc.link.Req((*wire.ID)(&m.ID), delay)
}

// tooLate logs an ack that came after the message's lease or connection ended. The ack
// is not sent: nsqd may have delivered the message over this very connection again, and
// would take the ack for one of that delivery. The message already counts as lost.
func (cc *consumerConn) tooLate(m *Message, f fate) {
	ack := "REQ"
	if f.acked() {
		ack = "FIN"
	}
	cc.log.WarnContext(repeating, "message acked too late, nsqd delivers it again", "ack", ack,
		"id", string(m.ID[:]), "attempts", m.Attempts, "after", cc.c.elapsed()-m.received)
}

// OnFinish concludes a message that was acked by its own methods.
func (cc *consumerConn) OnFinish(m *Message) { cc.conclude(nil, m, outcome{fate: finished}) }

// OnRequeue concludes a message that was requeued by its own methods.
func (cc *consumerConn) OnRequeue(m *Message, delay time.Duration, backoff bool) {
	cc.conclude(nil, m, outcome{fate: requeued, delay: delay, backoff: backoff})
}

// requeueUnbegun requeues messages that no handler has begun.
func requeueUnbegun(messages ...*Message) {
	for _, m := range messages {
		if m.respond() {
			m.conn.conclude(nil, m, outcome{fate: unbegun})
		}
	}
}
