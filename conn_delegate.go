package nsq

import (
	"bytes"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// ConnDelegate is told what happens on a [Conn], after Connect and up to
// OnClose.
//
// A Conn calls it on two goroutines: on one about what arrives, in the order of
// the wire, and on the other about answers to messages, in the order in which
// they were given. Neither holds up the connection nor the other, so a method may
// block, and may call the Conn's methods; what is yet to be told waits in memory.
type ConnDelegate interface {
	// OnResponse is called with the data of a response: OK, CLOSE_WAIT, or JSON.
	// Responses come in the order of the commands that have one, and an error
	// takes the place of one. Heartbeats are no responses.
	OnResponse(c *Conn, data []byte)

	// OnError is called with the data of an error: its code, and after a blank
	// what nsqd says. It closes the connection after most of them.
	OnError(c *Conn, data []byte)

	// OnMessage is called with a message, which is to be answered with its
	// methods. They do not wait.
	OnMessage(c *Conn, m *Message)

	// OnMessageFinished is called when Finish answered a message, before its FIN
	// is sent: what is written in the call precedes it. OnResume follows.
	OnMessageFinished(c *Conn, m *Message)

	// OnMessageRequeued is called when a message was requeued, before its REQ is
	// sent. OnBackoff follows or, after RequeueWithoutBackoff, OnContinue.
	OnMessageRequeued(c *Conn, m *Message)

	// OnBackoff is called after OnMessageRequeued.
	OnBackoff(c *Conn)

	// OnContinue is called after OnMessageRequeued instead of OnBackoff.
	OnContinue(c *Conn)

	// OnResume is called after OnMessageFinished.
	OnResume(c *Conn)

	// OnIOError is called once, before OnClose, if the connection did not end in
	// good order, by Close and within stop_timeout: err is io.EOF if nsqd closed it.
	OnIOError(c *Conn, err error)

	// OnHeartbeat is called when nsqd asked for a sign of life, which it has got
	// then.
	OnHeartbeat(c *Conn)

	// OnClose is the last call, when the connection has ended. Answers to
	// messages given after that, or shortly before, are lost: nsqd delivers those
	// messages again.
	OnClose(c *Conn)
}

// connEvents carries what happens on a Conn's link to its delegate, and is the
// delegate of its messages. The link's goroutines and those who answer messages
// only post; two goroutines of its own call.
type connEvents struct {
	c    *Conn
	link *link.Link

	arrived  *mailbox
	answered *mailbox
	down     chan struct{} // closed when the link has ended
	err      error         // why, then
}

func newConnEvents(c *Conn, l *link.Link) *connEvents {
	return &connEvents{c: c, link: l, arrived: newMailbox(), answered: newMailbox(), down: make(chan struct{})}
}

func (e *connEvents) start() {
	e.link.Start(e)
	go e.run()
}

// run calls the delegate until the link has ended, and then says so.
func (e *connEvents) run() {
	told := make(chan struct{})
	var answering sync.WaitGroup
	answering.Go(func() { e.answered.serve(told) })
	e.arrived.serve(e.down)
	for _, event := range e.arrived.close() {
		event(time.Now())
	}
	e.c.ended()
	if e.err != nil {
		e.c.log.Error("connection lost", "err", e.err)
		e.call(func(d ConnDelegate) { d.OnIOError(e.c, e.err) })
	}
	close(told)
	answering.Wait()
	e.answered.close() // nothing can be sent any more
	e.c.log.Info("connection closed")
	e.call(func(d ConnDelegate) { d.OnClose(e.c) })
}

// call calls the delegate, if there is one.
func (e *connEvents) call(what func(ConnDelegate)) {
	if e.c.delegate != nil {
		what(e.c.delegate)
	}
}

// arrive has the delegate called about what arrived.
func (e *connEvents) arrive(what func(ConnDelegate)) {
	e.arrived.post(func(time.Time) { e.call(what) })
}

// Messages copies what was read, and hands it on.
func (e *connEvents) Messages(batch []wire.Message) {
	e.c.lastMessage.Store(time.Now().UnixNano())
	for i := range batch {
		w := &batch[i]
		m := &Message{
			ID: MessageID(w.ID), Body: bytes.Clone(w.Body), Timestamp: w.Timestamp, Attempts: w.Attempts,
			NSQDAddress: e.c.addr, Delegate: e,
		}
		e.arrived.post(func(time.Time) { e.deliver(m) })
	}
}

// deliver hands on a message, unless it cannot be answered any more, nobody would,
// or the Conn closes. It is no use to requeue it then: as long as nsqd has not heard CLS it
// would come again.
func (e *connEvents) deliver(m *Message) {
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

// TooBig requeues a message that max_msg_size forbids to read.
func (e *connEvents) TooBig(w wire.Message, size int) {
	e.c.log.Error("message not read: body exceeds max_msg_size", "id", string(w.ID[:]),
		"bytes", size, "max_msg_size", e.c.cfg.MaxMsgSize, "attempts", w.Attempts)
	e.link.Req(&w.ID, e.c.cfg.requeueDelay(w.Attempts))
}

// Frame hands on what is not a message.
func (e *connEvents) Frame(f wire.Frame) {
	data := bytes.Clone(f.Data)
	switch {
	case f.IsHeartbeat():
		e.c.log.Debug("heartbeat received")
		e.arrive(func(d ConnDelegate) { d.OnHeartbeat(e.c) })
	case f.Type == wire.FrameError:
		e.c.log.Error("nsqd reported an error", "err", wire.ParseError(data))
		e.arrive(func(d ConnDelegate) { d.OnError(e.c, data) })
	default:
		e.arrive(func(d ConnDelegate) { d.OnResponse(e.c, data) })
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

// OnFinish sends FIN when the delegate has heard of it.
func (e *connEvents) OnFinish(m *Message) {
	e.answer(m, "FIN", func() bool {
		e.call(func(d ConnDelegate) {
			d.OnMessageFinished(e.c, m)
			d.OnResume(e.c)
		})
		return e.link.Fin((*wire.ID)(&m.ID))
	})
}

// OnRequeue sends REQ when the delegate has heard of it.
func (e *connEvents) OnRequeue(m *Message, delay time.Duration, backoff bool) {
	if delay == autoDelay {
		delay = e.c.cfg.requeueDelay(m.Attempts)
	}
	e.answer(m, "REQ", func() bool {
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

func (e *connEvents) answer(m *Message, name string, send func() bool) {
	posted := e.answered.post(func(time.Time) {
		if !send() {
			e.tooLate(m, name)
		}
	})
	if !posted {
		e.tooLate(m, name)
	}
}

func (e *connEvents) tooLate(m *Message, answer string) {
	e.c.log.Warn("message answered after the connection ended, nsqd delivers it again",
		"answer", answer, "id", string(m.ID[:]))
}

// OnTouch sends TOUCH.
func (e *connEvents) OnTouch(m *Message) { e.link.Touch((*wire.ID)(&m.ID)) }

// ended lets go of what only a connection needs that lives.
func (c *Conn) ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.deadline != nil {
		c.deadline.Stop()
	}
	c.unflushed = nil
}
