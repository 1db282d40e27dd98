package nsqtest

import (
	"cmp"
	"container/heap"
	"time"
)

// An agenda is all that an Nsqd does by the clock, on one timer. Events of the
// same moment happen in a fixed order, so that in virtual time a test sees the
// same each time. The Nsqd's mutex guards it.
type agenda struct {
	update func(change func()) // locks the Nsqd
	events eventHeap
	seq    int
	timer  *time.Timer // nil until there was an event
}

// An event is planned, at most once at a time, to be done with the mutex held.
type event struct {
	do   func()
	rank rank

	at    time.Time // zero unless planned
	seq   int       // the order of planning
	index int       // in the heap
}

// A rank orders the events of one moment.
type rank int

const (
	rankHeartbeat rank = iota
	rankMessage        // the end of a flight or of a delay
	rankIdle           // a client is given up
)

func (e *event) planned() bool { return !e.at.IsZero() }

// compare orders planned events by when they happen.
func (e *event) compare(o *event) int {
	return cmp.Or(e.at.Compare(o.at), cmp.Compare(e.rank, o.rank), cmp.Compare(e.seq, o.seq))
}

// plan sets when an event happens, instead of when it would have.
func (a *agenda) plan(e *event, at time.Time) {
	a.cancel(e)
	a.seq++
	e.at, e.seq = at, a.seq
	heap.Push(&a.events, e)
	a.arm()
}

// cancel takes an event off; it need not be planned.
func (a *agenda) cancel(e *event) {
	if e.planned() {
		heap.Remove(&a.events, e.index)
		e.at = time.Time{}
	}
}

// arm sets the timer to the first event. After a cancel it may fire in vain.
func (a *agenda) arm() {
	if len(a.events) == 0 {
		return
	}
	wait := time.Until(a.events[0].at)
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, func() { a.update(a.run) })
	} else {
		a.timer.Reset(wait)
	}
}

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
