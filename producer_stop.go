package nsq

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// stopSilence is how long a stop waits for an nsqd that shows no sign of life: it takes
// nothing and says nothing. Between heartbeats, which are 30 s apart by default, a stop
// cannot tell an nsqd that is slow from one that is frozen or cut off, and a process often
// has no more than that time to end.
const stopSilence = 5 * time.Second

var errLifeless = fmt.Errorf("nsqd has shown no sign of life for %v during a stop", stopSilence)

// stopWatch calls a function once, if no progress was made for stopSilence after the stop
// became urgent. It has a goroutine of its own, for which end waits.
type stopWatch struct {
	ended chan struct{}
	wg    sync.WaitGroup
}

// newStopWatch returns a running stopWatch. The stop is urgent once a context has ended.
// progress returns a comparable value, which changes with each progress.
func newStopWatch(urgent context.Context, progress func() any, expired func()) *stopWatch {
	w := &stopWatch{ended: make(chan struct{})}
	w.wg.Go(func() {
		select {
		case <-urgent.Done():
			w.watch(progress, expired)
		case <-w.ended:
		}
	})
	return w
}

func (w *stopWatch) watch(progress func() any, expired func()) {
	last, since := progress(), time.Now()
	tick := time.NewTicker(stopSilence / 10)
	defer tick.Stop()
	for {
		select {
		case <-w.ended:
			return
		case now := <-tick.C:
			if next := progress(); next != last {
				last, since = next, now
			} else if now.Sub(since) >= stopSilence {
				expired()
				return
			}
		}
	}
}

// end stops the watch.
func (w *stopWatch) end() {
	close(w.ended)
	w.wg.Wait()
}

// drain waits until nsqd has replied to all commands and the connection has ended, at
// most until limit ends. Once urgent has ended it no longer waits for an nsqd that shows
// no sign of life. Call it once, after refuse.
func (n *connector) drain(limit, urgent context.Context) {
	n.mu.Lock()
	c, d := n.conn, n.dial
	n.mu.Unlock()
	if c != nil {
		c.link.Drain()
		defer context.AfterFunc(limit, func() { c.link.Close(errStopTimeout) })()
		silence := newStopWatch(urgent, func() any { return c.link.Progress() }, func() { c.link.Close(errLifeless) })
		defer silence.end()
	}
	if d != nil {
		select {
		case <-d.done:
		case <-limit.Done(): // a DialContext that ignores its context; dialNSQD closes what it returns
			return
		}
	}
	n.awaitEnd(limit)
}

// endGrace is how long a stop waits for the end of a connection that it has cut.
const endGrace = time.Second

// awaitEnd waits until the connection has ended, for endGrace at most once limit has ended
// and the connection was cut. Its end takes no time, unless a Published hook, which runs
// on the link's goroutine, does not return. Then the goroutine stays as long as the hook.
func (n *connector) awaitEnd(limit context.Context) {
	ended := make(chan struct{})
	go func() {
		n.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-limit.Done():
	}
	grace := time.NewTimer(endGrace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		n.log.Warn("the connection has not ended in time, stopping without it: does a Published hook block?")
	}
}
