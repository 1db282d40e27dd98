package nsq

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

	GivenUp   uint64 // messages that were delivered more than max_attempts times; among Finished
	Discarded uint64 // messages whose handlers returned Discard; among Finished
	Panicked  uint64 // messages whose handlers panicked; among Requeued
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
	s.Discarded += other.Discarded
	s.Panicked += other.Panicked
}

// counts returns the counts of one connection.
func (cc *consumerConn) counts() *Counts {
	l := cc.link.Stats()
	return &Counts{
		Received: l.Received, Finished: l.Finished, Requeued: l.Requeued,
		Expired: l.Expired, Lost: l.Lost, Unsent: l.Unsent, Refused: cc.refused.Load(),
		GivenUp: cc.givenUp.Load(), Discarded: cc.discarded.Load(), Panicked: cc.panics.Load(),
	}
}

// pastCounts are the counts of connections that have ended. The run loop owns them.
type pastCounts struct {
	sum    Counts
	byNSQD map[string]Counts // by address, of the nsqds that the Consumer knew when a connection last ended
}

// add adds the counts of a connection that has ended. known reports whether the Consumer
// still knows an address. Other addresses are removed, or those of nsqds that come and go
// would pile up.
func (p *pastCounts) add(addr string, c *Counts, known func(addr string) bool) {
	p.sum.add(c)
	of := p.byNSQD[addr]
	of.add(c)
	p.byNSQD[addr] = of
	for a := range p.byNSQD {
		if !known(a) {
			delete(p.byNSQD, a)
		}
	}
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
