package nsq

import (
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// maxWaitingEvents is how many events may wait for the hooks' goroutine.
const maxWaitingEvents = 4096

// hooks calls the Hooks of a Config for one Consumer, Producer or ProducerPool.
type hooks struct {
	log *slog.Logger

	connected    hookList[ConnectEvent]
	disconnected hookList[DisconnectEvent]
	lookedUp     hookList[LookupEvent]
	discovered   hookList[DiscoverEvent]
	ready        hookList[ReadyEvent]
	backedOff    hookList[BackoffEvent]
	handled      hookList[HandledEvent]
	abandoned    hookList[AbandonedEvent]
	buried       hookList[BuriedEvent]
	published    hookList[PublishedEvent]
	poolChanged  hookList[PoolEvent]
	stopped      hookList[StoppedEvent]

	// queue holds the events for the goroutine. It is nil if no hook needs the goroutine,
	// which does not run then.
	queue    *mailbox
	taken    []func(time.Time) // out of the queue and not yet told; only the goroutine uses it
	waiting  atomic.Int64
	dropped  atomic.Int64
	stopping bool          // the last event has been taken; only the goroutine uses it
	end      chan struct{} // closed by finish
	ended    chan struct{} // closed when the goroutine has ended, or if there is none
}

// newHooks returns the hooks of a Config, and starts their goroutine if a hook runs on it.
func newHooks(all []Hooks, log *slog.Logger) *hooks {
	h := &hooks{log: log, end: make(chan struct{}), ended: make(chan struct{})}
	for _, set := range all {
		h.handled.add("Handled", set.Handled)
		h.published.add("Published", set.Published)
	}
	queued := false
	for _, set := range all {
		queued = h.connected.add("Connected", set.Connected) || queued
		queued = h.disconnected.add("Disconnected", set.Disconnected) || queued
		queued = h.lookedUp.add("LookedUp", set.LookedUp) || queued
		queued = h.discovered.add("Discovered", set.Discovered) || queued
		queued = h.ready.add("Ready", set.Ready) || queued
		queued = h.backedOff.add("BackedOff", set.BackedOff) || queued
		queued = h.abandoned.add("Abandoned", set.Abandoned) || queued
		queued = h.buried.add("Buried", set.Buried) || queued
		queued = h.poolChanged.add("PoolChanged", set.PoolChanged) || queued
		queued = h.stopped.add("Stopped", set.Stopped) || queued
	}
	if !queued {
		close(h.ended)
		return h
	}
	h.queue = newMailbox()
	go h.run()
	return h
}

// run calls hooks until finish is called and no event is left. If a hook calls
// runtime.Goexit, another goroutine goes on.
func (h *hooks) run() {
	over := false
	defer func() {
		if over {
			close(h.ended)
		} else {
			go h.run()
		}
	}()
	for {
		for len(h.taken) > 0 {
			event := h.taken[0]
			h.taken = h.taken[1:]
			event(time.Now())
		}
		select {
		case <-h.queue.wake:
			h.taken = h.queue.take()
		case <-h.end:
			h.queue.close()
			h.taken = h.queue.take()
			if over = len(h.taken) == 0; over {
				return
			}
		}
	}
}

// finish queues the last event, which is never dropped, and returns a channel that is
// closed when all hooks have returned. Later events are ignored: there may be some, such as
// that of a dial that the stop did not wait for.
func (h *hooks) finish(last StoppedEvent) <-chan struct{} {
	if h.queue != nil {
		last.set(EventMeta{At: time.Now(), Dropped: int(h.dropped.Swap(0))})
		h.queue.post(func(time.Time) {
			h.stopping = true
			h.stopped.call(h.log, last)
		})
	}
	close(h.end)
	return h.ended
}

// tell queues an event for the hooks of its kind. It never blocks.
func tell[E any, P interface {
	*E
	set(EventMeta)
}](h *hooks, list hookList[E], event E) {
	if len(list) == 0 {
		return
	}
	if h.waiting.Add(1) > maxWaitingEvents {
		h.waiting.Add(-1)
		h.dropped.Add(1)
		return
	}
	P(&event).set(EventMeta{At: time.Now(), Dropped: int(h.dropped.Swap(0))})
	h.queue.post(func(time.Time) {
		h.waiting.Add(-1)
		if !h.stopping {
			list.call(h.log, event)
		}
	})
}

// hookList holds the hooks of one kind, in the order of the Config.
type hookList[E any] []*hook[E]

type hook[E any] struct {
	name     string
	call     func(E)
	panicked atomic.Bool // its first panic was logged
}

// add adds a hook and reports true, unless it is nil.
func (l *hookList[E]) add(name string, call func(E)) bool {
	if call != nil {
		*l = append(*l, &hook[E]{name: name, call: call})
	}
	return call != nil
}

// call calls the hooks.
func (l hookList[E]) call(log *slog.Logger, event E) {
	for _, h := range l {
		h.run(log, event)
	}
}

func (h *hook[E]) run(log *slog.Logger, event E) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if p := recover(); !h.panicked.Swap(true) { // p is nil if the hook called runtime.Goexit
			log.Error("a hook panicked, further panics of the same hook are not logged",
				"hook", h.name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	h.call(event)
	returned = true
}
