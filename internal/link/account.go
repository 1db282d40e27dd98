package link

import "time"

// Stats are the counts of one link. At any time Received + Unsent is the sum of Finished,
// Requeued, Expired, Lost and InFlight, because a message whose FIN or REQ was accepted but
// not sent counts twice: as finished or requeued, and as lost. The counts only grow, except
// InFlight, Peak and RDY.
type Stats struct {
	Received uint64 // messages that arrived
	Finished uint64 // FINs accepted for sending
	Requeued uint64 // REQs accepted for sending
	Expired  uint64 // messages that Expire gave up
	Lost     uint64 // messages that Lose gave up, or whose FIN or REQ was never sent
	Unsent   uint64 // FINs and REQs accepted but not sent when the link ended
	Orphaned uint64 // messages in flight when the link ended; among Lost
	Writes   uint64 // Write calls of the link
	Bytes    uint64 // of the bodies of messages given to the receiver

	InFlight    int       // messages received and not yet counted otherwise
	Peak        int       // the highest InFlight since the last Sample
	RDY         int       // the last count given to Rdy
	LastMessage time.Time // zero before the first one
}

// Stats returns the link's counts as they are now.
func (l *Link) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Sample returns the Stats and resets Peak to InFlight.
func (l *Link) Sample() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	l.stats.Peak = s.InFlight
	return s
}

// sendOutcome appends the FIN or REQ of a message and counts the message. If the link
// accepts no more commands, the message counts as lost.
func (l *Link) sendOutcome(count *uint64, appendTo func([]byte) []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.settled: // closeAccounts has counted the message as lost
		return false
	case l.sealed:
		l.countOutcome(&l.stats.Lost)
		return false
	}
	l.countOutcome(count)
	start := l.queued
	l.appendCommand(appendTo(l.pending.reserve(lineSize)), nil)
	l.acks.add(start, int(l.queued-start), 1) // #nosec G115 -- at most lineSize
	return true
}

// Expire gives up a message that no handler has begun. Nothing is sent.
func (l *Link) Expire() { l.giveUp(&l.stats.Expired) }

// Lose gives up a message that a handler has begun but not finished in time. Nothing
// is sent.
func (l *Link) Lose() { l.giveUp(&l.stats.Lost) }

func (l *Link) giveUp(count *uint64) {
	l.mu.Lock()
	if !l.settled {
		l.countOutcome(count)
	}
	l.mu.Unlock()
	l.writerWake.Signal() // a drain may wait for this message, and no command follows
}

// countOutcome moves one message from InFlight to count. Callers hold the mutex.
func (l *Link) countOutcome(count *uint64) {
	l.stats.InFlight--
	*count++
}

// closeAccounts counts as lost every FIN and REQ that was not sent, and every message
// in flight. Callers hold the mutex; both loops have ended.
//
// Each message is counted once, whenever its FIN comes:
//
//  1. The link is sealed. If a FIN comes now, it is not sent, and its message counts as
//     lost.
//  2. closeAccounts counts the messages left in flight as lost, and sets settled.
//  3. If a FIN comes now, it finds settled and counts nothing. Without settled, its
//     message would be counted as lost twice.
func (l *Link) closeAccounts() {
	l.pending.takeAll(nil)
	l.stats.Unsent = l.acks.takeUnsent(l.sent)
	l.stats.Orphaned = uint64(max(l.stats.InFlight, 0)) // #nosec G115 -- not negative
	l.stats.Lost += l.stats.Unsent + l.stats.Orphaned
	l.stats.InFlight = 0
	l.settled = true
}
