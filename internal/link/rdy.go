package link

import (
	"fmt"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// An nsqd sends a message only while it counts fewer in flight than the RDY of the
// connection. It may count fewer than the link does, though never for long:
//
//   - It frees a slot when a lease ends by its clock, which started before the link's.
//   - It may not yet have seen the RDY that was sent last.
//   - After an RDY 0 it may still send one message.
//   - What it sent under a higher RDY stays in flight, for longer than one lease if it
//     is touched.
//   - While nothing is read, since the network or this process stands still or the receiver
//     has no room, it may give up all that it has sent, and send as much again, once in each
//     lease. All of that then arrives together.
//
// So it may have twice the highest RDY of the last two leases in flight, or beyondRDY
// messages more than that RDY if that allows more, and once more as much for each lease in
// which nothing was read. An nsqd that exceeds even this ignores RDY: the link ends.
// Otherwise one nsqd could fill the memory, and take the handlers away from the others.

// beyondRDY is how many messages beyond its RDY an nsqd may have in flight however low
// its RDY is.
const beyondRDY = 16

const (
	// mostLate is the most leases without a read that count.
	mostLate = 100
	// shortPause is a time between two reads that is not worth the mutex.
	shortPause = 50 * time.Millisecond
)

// rdyLimit is how many messages an nsqd may have in flight. The link's mutex guards it.
type rdyLimit struct {
	lease   time.Duration // nsqd's msg-timeout; 0: the limit is not enforced
	former  int           // the highest RDY before the last decreases; 0: it counts no more
	lowered time.Time     // with former: when it last began to count
	late    time.Duration // for how long nothing was read; 0: it counts no more
	lateAt  time.Time     // with late: when it last grew
	most    int           // the limit
}

// EnforceRDY makes the link end with [ErrBeyondRDY] when nsqd has far more messages in
// flight than its RDY allows. lease is nsqd's msg-timeout. It is called before Start.
func (l *Link) EnforceRDY(lease time.Duration) {
	l.limit.lease = lease
	l.limit.update(0)
}

// Rdy allows nsqd to have up to n messages in flight on this link.
func (l *Link) Rdy(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed {
		return false
	}
	if n < l.stats.RDY {
		l.limit.former, l.limit.lowered = max(l.limit.former, l.stats.RDY), time.Now()
	}
	l.stats.RDY = n
	l.limit.update(n)
	l.appendCommand(wire.AppendRdy(l.pending.reserve(lineSize), n), nil)
	return true
}

// update sets the limit for the present RDY and the former one.
func (r *rdyLimit) update(rdy int) {
	highest := r.highest(rdy)
	r.most = highest + max(highest, beyondRDY)
}

// highest returns how many messages an nsqd may have sent that are still in flight.
func (r *rdyLimit) highest(rdy int) int {
	highest := max(rdy, r.former)
	if r.late > 0 && r.lease > 0 {
		highest *= 1 + int(min(r.late/r.lease, mostLate))
	}
	return highest
}

// forget forgets the former RDY and the time without a read after two leases. They count
// for longer, though never for more messages than are in flight, while these are touched.
func (r *rdyLimit) forget(now time.Time, rdy, inFlight int) {
	switch {
	case r.late > 0 && now.Sub(r.lateAt) > 2*r.lease:
		if left := min(r.highest(rdy), inFlight); left > r.former {
			r.former, r.lowered = left, now
		}
		r.late = 0
	case r.former > 0 && now.Sub(r.lowered) > 2*r.lease:
		r.former, r.lowered = min(r.former, inFlight), now
	default:
		return
	}
	if r.former <= rdy {
		r.former = 0
	}
	r.update(rdy)
}

// noteRead notes that the reader has just read, for the first time in so long.
func (l *Link) noteRead(now time.Time, pause time.Duration) {
	if pause > shortPause {
		l.noteLate(now, pause, false)
	}
}

// noteLate notes that nothing was read for so long or, if more is set, for so much longer.
func (l *Link) noteLate(now time.Time, d time.Duration, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.limit
	if r.lease == 0 || !more && d < r.lease {
		return
	}
	r.forget(now, l.stats.RDY, l.stats.InFlight)
	if more {
		d += r.late
	}
	r.late, r.lateAt = max(r.late, d), now
	r.update(l.stats.RDY)
}

// checkRDY returns an error if nsqd has more in flight than it may, now that messages
// have arrived. Callers hold the mutex.
func (l *Link) checkRDY(now time.Time, arrived int) error {
	r := &l.limit
	r.forget(now, l.stats.RDY, l.stats.InFlight-arrived)
	if r.lease == 0 || l.stats.InFlight <= r.most {
		return nil
	}
	return &Error{Addr: l.cfg.Addr, Op: OpRead, Err: fmt.Errorf("%w: %d in flight, RDY %d at most",
		ErrBeyondRDY, l.stats.InFlight, max(l.stats.RDY, r.former))}
}
