package nsq

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// phase is how far a Consumer is on its way to its end.
type phase int

const (
	active    phase = iota
	draining        // no messages come; handlers finish theirs
	cancelled       // the time is over; contexts have ended, and handlers that have one may still answer
	abandoned       // nobody is waited for; what was answered is being sent
	cut             // the connections are being closed
)

const (
	// lastWords is how long handlers whose contexts have ended may take to say
	// so.
	lastWords = 500 * time.Millisecond
	// flushTime is how long nsqds may take to take the last answers after that.
	flushTime = 100 * time.Millisecond
)

// Stop begins to stop the Consumer and returns at once; StopChan is closed when
// it has stopped. A second call does nothing.
//
// No more messages are taken. Those that no handler has begun are requeued at
// once, without backoff; handlers may finish theirs, for at most stop_timeout.
// Then the contexts of messages end, with [ErrStopped] as their cause; handlers
// that asked for one have another half a second. When StopChan closes all
// connections are closed, and no handler is running but those that exceeded
// that: nsqd will deliver their messages again.
func (c *Consumer) Stop() {
	c.mail.post(func(now time.Time) { c.run.stop(now, now.Add(c.cfg.StopTimeout)) })
}

// Shutdown is [Consumer.Stop] bounded by a context instead of stop_timeout, and
// waits until the Consumer has stopped. If the Consumer was stopped before, what
// ends first ends the wait for handlers.
//
// It returns nil if all handlers have returned, all messages they began are
// answered and all answers were sent, and a [*StopError] that also matches the
// context's cause if not. A handler must not call it: it would wait for itself.
func (c *Consumer) Shutdown(ctx context.Context) error {
	c.mail.post(func(now time.Time) { c.run.stop(now, time.Time{}) })
	select {
	case <-c.StopChan:
	case <-ctx.Done():
		c.mail.post(func(now time.Time) { c.run.hurry(now) })
		<-c.StopChan // bounded by lastWords and flushTime
	}
	return c.stopError(context.Cause(ctx))
}

// Run waits until the context ends, stops the Consumer as [Consumer.Stop] does
// and waits until it has stopped; or until it was stopped in another way. It
// returns what [Consumer.Shutdown] does. Connect before, or meanwhile.
func (c *Consumer) Run(ctx context.Context) error {
	select {
	case <-c.StopChan:
	case <-ctx.Done():
		c.Stop()
		<-c.StopChan // bounded by stop_timeout
	}
	return c.stopError(errStopTimeout)
}

// stopError is what a stopped Consumer has left.
func (c *Consumer) stopError(cause error) error {
	left := c.run.left // StopChan is closed: it does not change any more
	if left == nil {
		return nil
	}
	told := *left
	told.cause = cause
	return &told
}

// StopError says what a Consumer that had to stop in time left behind. nsqd
// delivers the messages again.
type StopError struct {
	Topic, Channel string
	Running        []Unfinished // handlers that had not returned
	Unanswered     []Unfinished // messages that handlers had left to be answered later
	Cut            []string     // addresses of nsqds that did not take the last answers in time

	cause error
}

// Unfinished is a message that a handler had begun.
type Unfinished struct {
	ID          MessageID
	NSQDAddress string
}

// Error names the messages and the nsqds.
func (e *StopError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "consumer of %s/%s stopped", e.Topic, e.Channel)
	for _, left := range []struct {
		what     string
		messages []Unfinished
	}{{"handlers running", e.Running}, {"messages unanswered", e.Unanswered}} {
		if n := len(left.messages); n > 0 {
			fmt.Fprintf(&b, ", %d %s:", n, left.what)
			for _, u := range left.messages[:min(n, 5)] {
				fmt.Fprintf(&b, " %s of %s", u.ID[:], u.NSQDAddress)
			}
			if n > 5 {
				b.WriteString(" ...")
			}
		}
	}
	if len(e.Cut) > 0 {
		fmt.Fprintf(&b, ", answers not taken by %s", strings.Join(e.Cut, " "))
	}
	if e.cause != nil {
		fmt.Fprintf(&b, ": %v", e.cause)
	}
	return b.String()
}

// Unwrap returns why it had to.
func (e *StopError) Unwrap() error { return e.cause }

// stop begins the end, which is to come by a deadline, or zero for none. The
// order matters.
func (r *run) stop(now, deadline time.Time) {
	if r.phase != active {
		if r.phase == draining && !deadline.IsZero() && (r.deadline.IsZero() || deadline.Before(r.deadline)) {
			r.deadline = deadline
		}
		return
	}
	r.log.Info("stopping")
	r.phase, r.deadline = draining, deadline
	// 1. No connection is made any more, and nsqlookupds are not asked.
	r.c.stopDialling(errConsumerStopped)
	for _, n := range r.nsqds {
		n.answer(errConsumerStopped)
	}
	r.settle()
	// 2. CLS goes out before any REQ, or nsqd would send the message right back.
	for _, conn := range r.conns {
		if !conn.draining.Load() {
			r.drain(now, conn)
		}
	}
	// 3. No handler starts. What a reader brings from here on it requeues itself.
	giveBack(r.c.delivery.close())
}

// hurry ends the wait for handlers.
func (r *run) hurry(now time.Time) {
	if r.phase == draining {
		r.deadline = now
	}
}

// endPhase goes on to the next phase of a stop when the time of this one is
// over.
func (r *run) endPhase(now time.Time) {
	for !r.deadline.IsZero() && !now.Before(r.deadline) {
		r.phase++
		switch r.phase {
		case cancelled:
			r.deadline = now
			if r.c.contexts.any() {
				r.deadline = now.Add(lastWords)
			}
			r.c.stopHandling(ErrStopped)
		case abandoned:
			r.deadline = now.Add(flushTime)
			r.c.delivery.rescueAll() // no FIN can follow what comes next
			running, unanswered := r.c.delivery.unfinished()
			r.leave(StopError{Running: running, Unanswered: unanswered})
			for _, conn := range r.conns {
				conn.link.Abandon()
			}
		case cut:
			r.deadline = time.Time{}
			for _, conn := range r.conns {
				if !conn.link.Flushed() {
					r.leave(StopError{Cut: []string{conn.addr}})
				}
				conn.link.Close(errStopTimeout)
			}
		}
	}
}

// leave notes what is left behind.
func (r *run) leave(left StopError) {
	if len(left.Running)+len(left.Unanswered)+len(left.Cut) == 0 {
		return
	}
	if r.left == nil {
		r.left = &StopError{Topic: r.c.topic, Channel: r.c.channel}
	}
	r.left.Running = append(r.left.Running, left.Running...)
	r.left.Unanswered = append(r.left.Unanswered, left.Unanswered...)
	r.left.Cut = append(r.left.Cut, left.Cut...)
	r.log.Warn("stopping in time leaves something behind",
		"handlers", len(left.Running), "unanswered", len(left.Unanswered), "nsqds", left.Cut)
}

// finished tells whether everything that the loop must wait for has ended. Once
// it has abandoned them it waits for no code of the user's any more, but still
// for goroutines that run none.
func (r *run) finished() bool {
	switch {
	case r.phase == active || len(r.conns) > 0:
		return false
	case r.phase >= abandoned:
		return r.c.delivery.waiting() == 0
	}
	return r.dials == 0 && !r.polls && r.c.delivery.hired() == 0
}
