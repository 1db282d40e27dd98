package nsq

import (
	"maps"

	"github.com/rdyhq/nsq/internal/link"
)

// Counts say what became of messages. No count ever falls, so all of them can be exported
// as counters. At any time
//
//	Received + Unsent = Finished + Requeued + Expired + Lost + messages in flight
//
// because a message whose FIN or REQ was not sent before its connection ended counts twice:
// as finished or requeued, and as lost. nsqd delivers requeued, expired and lost messages
// again.
type Counts struct {
	Received uint64 // deliveries, redeliveries included
	Finished uint64 // FINs given to a connection
	Requeued uint64 // REQs given to a connection
	Expired  uint64 // messages whose lease ended before a handler began them
	Lost     uint64 // messages whose lease or connection ended before the FIN or REQ was sent
	Unsent   uint64 // FINs and REQs given to a connection that ended before it had sent them
	Refused  uint64 // FINs, REQs and TOUCHes that nsqd refused, mostly because they were late

	// These say why messages were finished or requeued. They also count messages that the
	// handler has acked by itself, those whose lease or connection had ended by then, which
	// are among Lost, and those whose FIN is about to be sent. So they may exceed Finished
	// and Requeued. A message that is given up and becomes a dead letter counts as both.
	GivenUp   uint64 // messages that were delivered more than max_attempts times
	Buried    uint64 // messages that were stored as dead letters
	Discarded uint64 // messages whose handlers returned Discard
	Panicked  uint64 // messages whose handlers panicked
}

func (s *Counts) add(other *Counts) {
	s.Received += other.Received
	s.Finished += other.Finished
	s.Requeued += other.Requeued
	s.Expired += other.Expired
	s.Lost += other.Lost
	s.Unsent += other.Unsent
	s.Refused += other.Refused
	s.GivenUp += other.GivenUp
	s.Buried += other.Buried
	s.Discarded += other.Discarded
	s.Panicked += other.Panicked
}

// counts returns the counts of one connection.
func (cc *consumerConn) counts() *Counts { return cc.countsWith(cc.link.Stats()) }

// countsWith returns the counts of one connection with those of its link. Figures that must
// add up, messages in flight among them, come from one reading of the link's.
func (cc *consumerConn) countsWith(l link.Stats) *Counts {
	return &Counts{
		Received: l.Received, Finished: l.Finished, Requeued: l.Requeued,
		Expired: l.Expired, Lost: l.Lost, Unsent: l.Unsent, Refused: cc.refused.Load(),
		GivenUp: cc.givenUp.Load(), Buried: cc.buried.Load(), Discarded: cc.discarded.Load(), Panicked: cc.panics.Load(),
	}
}

// pastCounts are the counts of connections that have ended. The run loop owns them.
type pastCounts struct {
	sum    Counts
	byNSQD map[string]Counts // of the nsqds that the Consumer knows
}

// add adds the counts of a connection that has ended.
func (p *pastCounts) add(addr string, c *Counts) {
	p.sum.add(c)
	of := p.byNSQD[addr]
	of.add(c)
	p.byNSQD[addr] = of
}

// forgetUnknown forgets what the Consumer has counted of nsqds that it no longer knows.
// Call it whenever it may have let one go. Otherwise the addresses of nsqds that come and
// go would stay for ever, and one that comes back would bring its old counts along: a
// reader that has kept them, and sees the nsqd as a new one, would add them twice.
func (l *runLoop) forgetUnknown() {
	maps.DeleteFunc(l.past.byNSQD, func(addr string, _ Counts) bool { return !l.knows(addr) })
}

// share adds the counts of earlier connections to an nsqd to the first of its entries. The
// entries are sorted by address.
func (p *pastCounts) share(conns []ConnectionSnapshot) {
	for i := range conns {
		if i > 0 && conns[i].Addr == conns[i-1].Addr {
			continue
		}
		past := p.byNSQD[conns[i].Addr]
		conns[i].add(&past)
	}
}

// knows reports whether the Consumer wants a connection to an address, or still has one.
func (l *runLoop) knows(addr string) bool {
	if l.machine.Wants(addr) {
		return true
	}
	for _, conn := range l.conns {
		if conn.addr == addr {
			return true
		}
	}
	return false
}
