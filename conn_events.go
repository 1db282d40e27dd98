package nsq

import (
	"bytes"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// connEvents receives from a Conn's link and is the delegate of the Conn's
// messages. The link's goroutines, and those that finish and requeue messages,
// only post events to its mailboxes. Two goroutines of its own take the events
// and call the ConnDelegate.
type connEvents struct {
	c    *Conn
	link *link.Link

	arrivals *mailbox      // what arrived: messages, responses, errors, heartbeats
	outcomes *mailbox      // acks and requeues, each reported and then sent
	down     chan struct{} // closed by Down, when the link has ended
	err      error         // why the link ended; written before down is closed
}

func newConnEvents(c *Conn, l *link.Link) *connEvents {
	return &connEvents{c: c, link: l, arrivals: newMailbox(), outcomes: newMailbox(), down: make(chan struct{})}
}

func (e *connEvents) start() {
	e.link.Start(e)
	go e.run()
}

// run calls the delegate until the link has ended, and then reports the end:
//
//  1. It reports what arrived before the end.
//  2. It calls OnIOError if the link failed.
//  3. It waits for the goroutine that serves outcomes, so that OnClose is the last call.
//  4. It calls OnClose.
func (e *connEvents) run() {
	arrivalsReported := make(chan struct{})
	var outcomes sync.WaitGroup
	outcomes.Go(func() { e.outcomes.serve(arrivalsReported) })
	e.arrivals.serve(e.down)
	for _, event := range e.arrivals.close() {
		event(time.Now())
	}
	e.c.linkEnded()
	if e.err != nil {
		e.c.log.Error("connection lost", "err", e.err)
		e.call(func(d ConnDelegate) { d.OnIOError(e.c, e.err) })
	}
	close(arrivalsReported)
	outcomes.Wait()
	e.outcomes.close() // events that are left cannot be sent
	e.c.logs.writeRest()
	e.c.log.Info("connection closed")
	e.call(func(d ConnDelegate) { d.OnClose(e.c) })
}

// call calls the delegate, if there is one.
func (e *connEvents) call(what func(ConnDelegate)) {
	if e.c.delegate != nil {
		what(e.c.delegate)
	}
}

// reportOverhead is about what a waiting report costs beside its data, in bytes.
const reportOverhead = 256

// postArrival posts a call that reports a frame with that much data. Until it has
// returned, the link counts the data as held.
func (e *connEvents) postArrival(data int, report func()) {
	size := data + reportOverhead
	e.link.Hold(size)
	e.arrivals.post(func(time.Time) {
		report()
		e.link.Hold(-size)
	})
}

// Messages copies the messages that the link has read, and posts them.
func (e *connEvents) Messages(batch []wire.Message) {
	e.c.lastMessage.Store(time.Now().UnixNano())
	for i := range batch {
		w := &batch[i]
		m := &Message{
			ID: MessageID(w.ID), Body: bytes.Clone(w.Body), Timestamp: w.Timestamp, Attempts: w.Attempts,
			NSQDAddress: e.c.addr, Delegate: e,
		}
		e.postArrival(len(m.Body), func() { e.passOn(m) })
	}
}

// passOn calls OnMessage, unless the link has ended. If the Conn is closing or has no
// delegate, the message will never be finished or requeued, and the link must not wait
// for that. Requeueing the message here would not help: nsqd delivers until it gets CLS,
// so the message would come again.
func (e *connEvents) passOn(m *Message) {
	select {
	case <-e.down:
		return
	default:
	}
	if e.c.IsClosing() || e.c.delegate == nil {
		e.link.Lose()
		return
	}
	e.call(func(d ConnDelegate) { d.OnMessage(e.c, m) })
}

// TooBig requeues a message whose body exceeds max_msg_size and was not read.
func (e *connEvents) TooBig(w wire.Message, size int) {
	e.c.log.ErrorContext(repeating, "message not read: body exceeds max_msg_size", "id", string(w.ID[:]),
		"bytes", size, "max_msg_size", e.c.cfg.MaxMsgSize, "attempts", w.Attempts)
	e.link.Req(&w.ID, e.c.cfg.requeueDelay(w.Attempts))
}

// Frame posts a frame that is not a message.
func (e *connEvents) Frame(f wire.Frame) {
	data := bytes.Clone(f.Data)
	switch {
	case f.IsHeartbeat():
		e.c.log.Debug("heartbeat received")
		e.postArrival(0, func() { e.call(func(d ConnDelegate) { d.OnHeartbeat(e.c) }) })
	case f.Type == wire.FrameError:
		e.c.log.ErrorContext(repeating, "nsqd reported an error", "err", wire.ParseError(data))
		e.postArrival(len(data), func() { e.call(func(d ConnDelegate) { d.OnError(e.c, data) }) })
	default:
		e.postArrival(len(data), func() { e.call(func(d ConnDelegate) { d.OnResponse(e.c, data) }) })
	}
}

// Failed is never called: see link.FrameReceiver.
func (e *connEvents) Failed(*wire.Error) {}

// Down tells run that the link has ended.
func (e *connEvents) Down(err error) {
	if err != nil {
		e.err = reason(err)
	}
	close(e.down)
}

// OnFinish reports the ack to the delegate and then sends FIN.
func (e *connEvents) OnFinish(m *Message) {
	e.postOutcome(m, "FIN", func() bool {
		e.call(func(d ConnDelegate) {
			d.OnMessageFinished(e.c, m)
			d.OnResume(e.c)
		})
		return e.link.Fin((*wire.ID)(&m.ID))
	})
}

// OnRequeue reports the requeue to the delegate and then sends REQ.
func (e *connEvents) OnRequeue(m *Message, delay time.Duration, backoff bool) {
	if delay == autoDelay {
		delay = e.c.cfg.requeueDelay(m.Attempts)
	}
	e.postOutcome(m, "REQ", func() bool {
		e.call(func(d ConnDelegate) {
			d.OnMessageRequeued(e.c, m)
			if backoff {
				d.OnBackoff(e.c)
			} else {
				d.OnContinue(e.c)
			}
		})
		return e.link.Req((*wire.ID)(&m.ID), delay)
	})
}

// postOutcome posts a call of send, which reports whether the link took the command. A
// command that is not sent is logged.
func (e *connEvents) postOutcome(m *Message, command string, send func() bool) {
	posted := e.outcomes.post(func(time.Time) {
		if !send() {
			e.logUnsent(m, command)
		}
	})
	if !posted {
		e.logUnsent(m, command)
	}
}

func (e *connEvents) logUnsent(m *Message, command string) {
	e.c.log.WarnContext(repeating, "connection ended before the command was sent, nsqd delivers the message again",
		"command", command, "id", string(m.ID[:]))
}

// OnTouch sends TOUCH.
func (e *connEvents) OnTouch(m *Message) { e.link.Touch((*wire.ID)(&m.ID)) }
