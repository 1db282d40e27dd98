package nsq

import (
	"context"
	"time"

	"github.com/rdyhq/nsq/internal/control"
	"github.com/rdyhq/nsq/internal/discover"
	"github.com/rdyhq/nsq/internal/link"
)

// runLoop connects a Consumer's control.Machine to the world: it reports events to the
// machine, supplies the facts that it needs, and carries out its commands. It decides
// nothing itself.
//
// One goroutine runs the loop and owns the fields. Others post events: functions that
// the loop runs.
type runLoop struct {
	c       *Consumer
	machine *control.Machine

	dials    map[control.ID]*dial          // until they fail or their links are opened or closed
	conns    map[control.ID]*consumerConn  // from Open to Down
	calls    map[control.Call]chan<- error // where waiting callers receive their results
	lastCall control.Call
	past     pastCounts
	lookupds []LookupdSnapshot
	left     *StopError // what a stop left unfinished; nil if nothing
	justLost int        // messages that the connection that ended last has lost by its end
	poller   *discover.Poller
	over     bool // the machine has commanded Done
	rdySent  bool // since the commands were last carried out

	stopBegan time.Time
	hurried   bool // the context of a Shutdown has ended

	commands []control.Command // scratch
}

// dial is a dial under way, or one that succeeded and whose link is not yet opened.
type dial struct {
	cancel context.CancelFunc
	link   *link.Link // nil while the dial is under way
}

func newRunLoop(c *Consumer) *runLoop {
	return &runLoop{
		c:       c,
		machine: control.New(c.controlConfig()),
		dials:   make(map[control.ID]*dial),
		conns:   make(map[control.ID]*consumerConn),
		calls:   make(map[control.Call]chan<- error),
		past:    pastCounts{byNSQD: make(map[string]Counts)},
	}
}

// run runs events and lets the machine act, until the Consumer has stopped.
func (l *runLoop) run() {
	timer := time.NewTimer(time.Hour) // set below
	defer timer.Stop()
	for {
		now := time.Now()
		for _, event := range l.c.mail.take() {
			event(now)
			l.carryOut()
		}
		l.tick(now)
		if l.over {
			break
		}
		next, ok := l.machine.Next()
		wait := time.Until(next)
		switch {
		case !ok:
			timer.Stop()
		case wait <= 0:
			continue // no timer: this goroutine would run it, and -race may crash then (golang/go#78156)
		default:
			timer.Reset(wait)
		}
		select {
		case <-l.c.mail.wake:
		case <-timer.C:
		}
	}
	l.c.queue.stopTimers()
	l.awaitHooks()
	// The last events may be calls, which need a reply, and dials, whose links must be
	// closed.
	for _, event := range l.c.mail.close() {
		event(time.Now())
		l.carryOut()
	}
	l.closeStopChan()
}

// closeStopChan closes StopChan, unless the user, who must only receive from it, has.
func (l *runLoop) closeStopChan() {
	close(l.c.stopped)
	defer func() {
		if p := recover(); p != nil {
			l.c.log.Error("StopChan was closed by the program: Stop and Shutdown cannot be waited for", "panic", p)
		}
	}()
	close(l.c.StopChan)
}

// tick supplies the facts that the machine needs, and lets it act.
func (l *runLoop) tick(now time.Time) {
	if l.c.queue.tookMessages() {
		l.sampleAll(now)
		l.carryOut()
	}
	if shortest := l.machine.Needs(now).Sweep; shortest > 0 {
		next, expired := l.c.sweepLeases(now, shortest)
		l.machine.Swept(now, next, expired)
		l.carryOut()
	}
	want := l.machine.Needs(now)
	if want.Samples {
		l.sampleAll(now)
	}
	if want.Drains {
		for id, conn := range l.conns {
			if conn.draining.Load() {
				received, waiting := conn.link.AwaitsCloseWait()
				l.machine.SetDrain(now, id, control.DrainState{Received: received, Waiting: waiting})
			}
		}
	}
	if want.Workers {
		l.machine.SetWorkers(control.Workers{
			Total: l.c.queue.workerCount(), Idle: l.c.queue.idleWorkers(), Contexts: l.c.contexts.any() || l.c.queue.hasBatches(),
		})
	}
	l.machine.Tick(now)
	l.carryOut()
}

// carryOut carries out the machine's commands, in order.
func (l *runLoop) carryOut() {
	l.commands = l.machine.Take(l.commands[:0])
	for _, command := range l.commands {
		l.do(command)
	}
	clear(l.commands)
	if l.rdySent && (l.c.gathers() || l.c.flags.bounded.Load()) {
		l.c.hurryTakers(false) // a lower RDY may keep further messages from coming
	}
	l.rdySent = false
}

func (l *runLoop) do(command control.Command) {
	switch do := command.(type) {
	case control.Dial:
		l.dial(do)
	case control.CancelDial:
		l.dials[do.ID].cancel()
	case control.Open:
		l.open(do.ID)
	case control.Close:
		l.close(do)
	case control.SetRDY:
		l.setRDY(do)
	case control.SetFlags:
		l.setFlags(do)
	case control.Drain:
		l.conns[do.ID].drain()
	case control.Requeue:
		requeueUnbegun(l.c.queue.remove(l.conns[do.ID])...)
	case control.ReturnWaiting:
		requeueUnbegun(l.c.queue.removeWaiting()...)
	case control.Abandon:
		l.conns[do.ID].link.Abandon()
	case control.HurryTakers:
		l.c.hurryTakers(true)
	case control.Reply:
		l.calls[do.Call] <- callError(do)
		delete(l.calls, do.Call)
	case control.Poll:
		l.poller.Poke()
	case control.StopDialling:
		l.c.stopDialling(errConsumerStopped)
	case control.StopHandlers:
		requeueUnbegun(l.c.queue.close()...)
	case control.EndContexts:
		l.c.stopHandling(ErrStopped)
	case control.AbandonHandlers:
		l.c.queue.flushAll()
		running, unanswered := l.c.queue.unfinished()
		l.noteUnfinished(StopError{Running: running, Unanswered: unanswered})
	case control.Tell:
		if _, ends := do.Event.(control.StopEnded); ends {
			l.c.logs.writeRest()
		}
		logEvent(l.c.log, do.Event, func(id control.ID) link.Transport { return l.dials[id].link.Transport() })
		l.tell(do.Event)
	case control.Done:
		l.over = true
	}
}

// setFlags sets the flags for readers and handlers. A reader that brought bytes into
// memory before weighAt was set did not see it, so the loop checks what is held.
func (l *runLoop) setFlags(flags control.SetFlags) {
	l.c.flags.set(flags)
	if l.c.flags.claimWeighing(l.c.memory.held.Load()) {
		l.c.post(l.machine.Weigh)
	}
}

// stall tells the machine that takers wait in vain for messages.
func (l *runLoop) stall(now time.Time) {
	l.c.flags.stalled.Store(false)
	l.machine.Stall(now)
}

// call registers a waiting caller. The channel must have room for the result.
func (l *runLoop) call(result chan<- error) control.Call {
	l.lastCall++
	l.calls[l.lastCall] = result
	return l.lastCall
}

// callError returns the error that a call returns.
func callError(r control.Reply) error {
	switch r.Result {
	case control.AlreadyConnected:
		return ErrAlreadyConnected
	case control.NotConnected:
		return ErrNotConnected
	case control.Closing:
		return ErrClosing
	case control.Stopped:
		return errConsumerStopped
	}
	return bareConnectError(r.Err) // nil for OK
}

// dial starts a dial, which posts its result as an event.
func (l *runLoop) dial(do control.Dial) {
	ctx, cancel := context.WithCancel(l.c.dialling)
	id, addr := do.ID, do.Addr
	l.dials[id] = &dial{cancel: cancel}
	cfg := l.c.linkConfig(addr)
	cfg.SubAfter = do.SubAfter
	go func() {
		defer cancel()
		nsqd, err := link.Dial(ctx, cfg)
		posted := l.c.post(func(now time.Time) { l.dialled(now, id, addr, nsqd, err) })
		if !posted && nsqd != nil { // DialContext ignored its context, and the stop did not wait
			nsqd.Close(nil)
		}
	}()
}

// dialled reports the result of a dial to the machine.
func (l *runLoop) dialled(now time.Time, id control.ID, addr string, nsqd *link.Link, err error) {
	l.c.cfg.warnOfClearAuth(l.c.log, addr, nsqd, err)
	if err == nil {
		l.dials[id].link = nsqd
		granted, _ := nsqd.Granted()
		l.machine.Dialled(now, id, control.Limits{
			MaxRDY: int(granted.MaxRdyCount), Lease: l.c.lease(granted),
		})
		return
	}
	delete(l.dials, id)
	l.machine.DialFailed(now, id, dialFailure(err), connectError(addr, l.c.topic, l.c.channel, err))
}

// open turns a dial's link into a connection, and starts it.
func (l *runLoop) open(id control.ID) {
	conn := newConsumerConn(l.c, id, l.dials[id].link)
	delete(l.dials, id)
	l.conns[id] = conn
	l.show()
	conn.link.EnforceRDY(conn.msgTimeout)
	conn.link.Start(conn)
}

// close closes the link of an unwanted dial, or a connection that a stop or a drain does
// not wait for any longer.
func (l *runLoop) close(do control.Close) {
	switch conn := l.conns[do.ID]; {
	case do.Silent:
		conn.link.Close(errNoCloseWait)
	case do.Cut:
		if !conn.link.Flushed() {
			l.noteUnfinished(StopError{Cut: []string{conn.addr}})
		}
		conn.link.Close(errStopTimeout)
	default:
		l.dials[do.ID].link.Close(nil)
		delete(l.dials, do.ID)
	}
}

// down removes a connection that has ended, and reports that to the machine.
func (l *runLoop) down(now time.Time, conn *consumerConn, err error) {
	delete(l.conns, conn.id)
	conn.lost()
	l.past.add(conn.addr, conn.counts())
	l.forgetUnknown()
	ended := conn.link.Stats()
	l.justLost = int(ended.Unsent + ended.Orphaned) // #nosec G115 -- few
	l.show()
	l.machine.Down(now, conn.id, connLoss(err), reason(err))
}

// poll starts the poller of nsqlookupds. It ends when dialling ends.
func (l *runLoop) poll(poller *discover.Poller) {
	l.poller = poller
	l.machine.Polling(true)
	go func() {
		poller.Run(l.c.dialling)
		l.c.post(func(time.Time) { l.machine.Polling(false) })
	}()
}

// noteUnfinished logs and records what a stop leaves unfinished.
func (l *runLoop) noteUnfinished(left StopError) {
	if len(left.Running)+len(left.Unanswered)+len(left.Cut) == 0 {
		return
	}
	if l.left == nil {
		l.left = &StopError{Topic: l.c.topic, Channel: l.c.channel}
	}
	l.left.Running = append(l.left.Running, left.Running...)
	l.left.Unanswered = append(l.left.Unanswered, left.Unanswered...)
	l.left.Cut = append(l.left.Cut, left.Cut...)
	l.c.log.Warn("stop timed out with work unfinished",
		"handlers", len(left.Running), "unanswered", len(left.Unanswered), "nsqds", left.Cut)
}
