package nsqtest

import (
	"cmp"
	"container/heap"
	"time"
)

// An agenda runs an Nsqd's timed events on one timer. Events due at the same
// instant run in a fixed order, so that a test in virtual time always sees the
// same order. The Nsqd's mutex guards the agenda.
type agenda struct {
	update func(change func()) // Nsqd.update
	events eventHeap           // planned
	seq    int                 // counts calls of plan
	timer  *time.Timer         // nil until the first event is planned
}

// An event is something to do at a time. The agenda calls do with the mutex held.
type event struct {
	do   func()
	rank rank

	at    time.Time // zero unless planned
	seq   int       // agenda.seq when it was planned
	index int       // in the heap
}

// A rank orders events due at the same instant.
type rank int

const (
	rankHeartbeat rank = iota
	rankMessage        // a message's timeout or delay ends
	rankIdle           // a client sent no command in time
)

func (e *event) planned() bool { return !e.at.IsZero() }

// compare orders planned events by when they run.
func (e *event) compare(o *event) int {
	return cmp.Or(e.at.Compare(o.at), cmp.Compare(e.rank, o.rank), cmp.Compare(e.seq, o.seq))
}

// plan schedules e, replacing its earlier plan if it has one.
func (a *agenda) plan(e *event, at time.Time) {
	a.cancel(e)
	a.seq++
	e.at, e.seq = at, a.seq
	heap.Push(&a.events, e)
	a.arm()
}

// cancel removes e from the agenda, if it is planned.
func (a *agenda) cancel(e *event) {
	if e.planned() {
		heap.Remove(&a.events, e.index)
		e.at = time.Time{}
	}
}

// arm sets the timer to the first event. cancel does not call it: the timer may
// then fire with nothing due, and run just arms it again.
func (a *agenda) arm() {
	if len(a.events) == 0 {
		return
	}
	wait := time.Until(a.events[0].at)
	switch {
	case wait <= 0: // no timer, because -race may crash then: golang/go#78156
		go a.update(a.run)
	case a.timer == nil:
		a.timer = time.AfterFunc(wait, func() { a.update(a.run) })
	default:
		a.timer.Reset(wait)
	}
}

// run runs the events that are due, and sets the timer to the next one.
func (a *agenda) run() {
	now := time.Now()
	for len(a.events) > 0 && !now.Before(a.events[0].at) {
		e := a.events[0]
		a.cancel(e)
		e.do()
	}
	a.arm()
}

type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }

func (h eventHeap) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }

func (h eventHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *eventHeap) Push(x any) {
	e := x.(*event)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
