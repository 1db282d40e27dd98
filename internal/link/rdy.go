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
//
// So it may have twice the highest RDY of the last two leases in flight, or beyondRDY
// messages more than that RDY if that allows more. An nsqd that exceeds even this ignores
// RDY: the link ends. Otherwise one nsqd could fill the memory, and take the handlers
// away from the others.

// beyondRDY is how many messages beyond its RDY an nsqd may have in flight however low
// its RDY is.
const beyondRDY = 16

// rdyLimit is how many messages an nsqd may have in flight. The link's mutex guards it.
type rdyLimit struct {
	lease   time.Duration // nsqd's msg-timeout; 0: the limit is not enforced
	former  int           // the highest RDY before the last decreases; 0: it counts no more
	lowered time.Time     // with former: when it last began to count
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
	highest := max(rdy, r.former)
	r.most = highest + max(highest, beyondRDY)
}

// checkRDY returns an error if nsqd has more in flight than it may, now that messages
// have arrived. Callers hold the mutex.
//
// A former RDY counts for two leases. It counts for longer, though never for more
// messages than are in flight, while they are touched.
func (l *Link) checkRDY(now time.Time, arrived int) error {
	r := &l.limit
	if r.former > 0 && now.Sub(r.lowered) > 2*r.lease {
		r.former, r.lowered = min(r.former, l.stats.InFlight-arrived), now
		if r.former <= l.stats.RDY {
			r.former = 0
		}
		r.update(l.stats.RDY)
	}
	if r.lease == 0 || l.stats.InFlight <= r.most {
		return nil
	}
	return &Error{Addr: l.cfg.Addr, Op: OpRead, Err: fmt.Errorf("%w: %d in flight, RDY %d at most",
		ErrBeyondRDY, l.stats.InFlight, max(l.stats.RDY, r.former))}
}
