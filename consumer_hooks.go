package nsq

import (
	"strings"
	"time"

	"github.com/rdyhq/nsq/internal/control"
	"github.com/rdyhq/nsq/internal/wire"
)

// tell queues an event of the machine for hooks.
func (l *runLoop) tell(event control.Event) {
	h, topic, channel := l.c.hooks, l.c.topic, l.c.channel
	switch e := event.(type) {
	case control.DialFailed:
		tell(h, h.connected, ConnectEvent{
			Topic: topic, Channel: channel, Addr: e.Addr, Took: e.Took, Err: e.Err, RetryIn: e.Retry,
		})
	case control.ConnUp:
		how := l.dials[e.ID].link.Transport()
		tell(h, h.connected, ConnectEvent{
			Topic: topic, Channel: channel, Addr: e.Addr, Took: e.Took,
			Version: how.Version, TLS: how.TLS, Compression: how.Compression,
		})
	case control.ConnLost:
		tell(h, h.disconnected, DisconnectEvent{
			Topic: topic, Channel: channel, Addr: e.Addr, Err: e.Err, Up: e.Up, Lost: l.justLost, RetryIn: e.Retry,
		})
	case control.ConnClosed:
		tell(h, h.disconnected, DisconnectEvent{
			Topic: topic, Channel: channel, Addr: e.Addr, Err: e.Err, Up: e.Up, Lost: l.justLost,
		})
	case control.Listed:
		tell(h, h.discovered, DiscoverEvent{Topic: topic, Channel: channel, Added: e.Added, Removed: e.Removed})
	case control.Backoff:
		tell(h, h.backedOff, BackoffEvent{Topic: topic, Channel: channel, Level: e.Level, Before: e.Before, Pause: e.Pause})
	case control.StopBegun:
		l.stopBegan = time.Now()
	}
}

// setRDY sends RDY, and tells hooks.
func (l *runLoop) setRDY(do control.SetRDY) {
	conn := l.conns[do.ID]
	before := conn.link.Stats().RDY
	if len(l.c.hooks.ready) > 0 {
		tell(l.c.hooks, l.c.hooks.ready, ReadyEvent{
			Topic: l.c.topic, Channel: l.c.channel, Addr: conn.addr, RDY: do.RDY, Before: before,
		})
	}
	if do.RDY > before {
		conn.ask(before, do.RDY)
	}
	conn.link.Rdy(do.RDY)
	l.rdySent = true
}

// tellAbandoned tells hooks that nsqd delivers a message again.
func (cc *consumerConn) tellAbandoned(m *Message, begun bool, why error) {
	h := cc.c.hooks
	if len(h.abandoned) == 0 {
		return
	}
	tell(h, h.abandoned, AbandonedEvent{
		Topic: cc.c.topic, Channel: cc.c.channel, ID: m.ID, NSQDAddress: cc.addr,
		Attempts: m.Attempts, Held: cc.c.elapsed() - m.received, Begun: begun, Why: why,
	})
}

// tellBuried tells hooks that a message was stored as a dead letter, or could not be.
func (c *Consumer) tellBuried(m *Message, why, publishErr error) {
	tell(c.hooks, c.hooks.buried, BuriedEvent{
		Topic: c.topic, Channel: c.channel, DeadTopic: c.cfg.DeadLetter.Topic,
		ID: m.ID, NSQDAddress: m.conn.addr, Attempts: m.Attempts, Err: why, PublishErr: publishErr,
	})
}

// tellRefused tells hooks that nsqd refused a FIN, REQ or TOUCH. The ID of the message is in
// nsqd's text, such as "FIN 0123456789abcdef failed ID not in flight".
func (cc *consumerConn) tellRefused(err *wire.Error) {
	if len(cc.c.hooks.abandoned) == 0 {
		return
	}
	e := AbandonedEvent{
		Topic: cc.c.topic, Channel: cc.c.channel, NSQDAddress: cc.addr, Begun: true, Why: protocolError(err),
	}
	if words := strings.Fields(err.Desc); len(words) > 1 && len(words[1]) == MsgIDLength {
		copy(e.ID[:], words[1])
	}
	tell(cc.c.hooks, cc.c.hooks.abandoned, e)
}

// tellHandled calls the Handled hooks, on the goroutine that has handled the message.
func (c *Consumer) tellHandled(m *Message, end *ending) {
	now := time.Now()
	elapsed := now.Sub(c.start)
	e := HandledEvent{
		Topic: c.topic, Channel: c.channel, Message: m, Outcome: end.shownAs(m), Err: end.err,
		Age:      time.Duration(now.UnixNano()-m.Timestamp) - (elapsed - end.begun),
		Waited:   max(end.begun-m.received, 0), // m may have come after its worker read the clock
		Took:     elapsed - end.begun,
		Messages: max(end.batch, 1),
	}
	e.Delay = end.requeueDelay(e.Outcome, m)
	if m.extra != nil && m.extra.bodies != nil && m.is(responded|manualResponse) {
		e.Message = m.WithContext(m.Context()) // a copy, because the handler may still use m
		e.Message.Body = nil                   // it may be recycled at any time
	}
	c.hooks.handled.call(c.log, e)
}

// hookGrace is how long a Shutdown waits for hooks once its context has ended.
const hookGrace = 100 * time.Millisecond

// hurry makes a stop wait no longer for handlers, and hardly any longer for hooks.
func (l *runLoop) hurry(now time.Time) {
	l.hurried = true
	l.machine.Hurry(now)
}

// awaitHooks tells hooks that the Consumer has stopped, and waits until all hooks have
// returned: for stop_timeout at most, or for hookGrace once a Shutdown is in a hurry.
// Meanwhile it runs events, because a hook may be waiting for a Snapshot.
func (l *runLoop) awaitHooks() {
	h := l.c.hooks
	ended := h.finish(StoppedEvent{
		Topic: l.c.topic, Channel: l.c.channel, Took: time.Since(l.stopBegan), Left: l.left,
	})
	timer := time.NewTimer(l.c.cfg.StopTimeout)
	defer timer.Stop()
	hurried := false
	for {
		for _, event := range l.c.mail.take() {
			event(time.Now())
			l.carryOut()
		}
		if l.hurried && !hurried {
			hurried = true
			timer.Reset(hookGrace)
		}
		select {
		case <-ended:
			return
		case <-l.c.mail.wake:
		case <-timer.C:
			l.c.log.Warn("a hook has not returned in time, not waiting for it any longer")
			return
		}
	}
}
