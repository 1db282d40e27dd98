package link

import (
	"bytes"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// Stats are the counts of one link. At any time Received is the sum of Finished,
// Requeued, Expired, Lost and InFlight. All but InFlight, Peak and RDY only grow
// while the link lives. At its end, FINs and REQs that were not sent move to Lost.
type Stats struct {
	Received uint64 // messages that arrived
	Finished uint64 // FINs accepted for sending
	Requeued uint64 // REQs accepted for sending
	Expired  uint64 // messages that Expire gave up
	Lost     uint64 // messages that Lose gave up, and those without a sent FIN or REQ when the link ended
	Writes   uint64 // Write calls on the socket

	InFlight    int       // messages received and not counted as anything else yet
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

// Sample returns Stats and starts Peak anew.
func (l *Link) Sample() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	l.stats.Peak = s.InFlight
	return s
}

// sendOutcome appends the FIN or REQ of a message and counts it. If it cannot be
// sent any more, the message is lost.
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
	l.appendCommand(appendTo(l.pending.reserve(lineSize)), nil)
	return true
}

// Expire gives up a message that no handler has begun. Nothing is sent.
func (l *Link) Expire() { l.giveUp(&l.stats.Expired) }

// Lose gives up a message that a handler has begun and not finished in time. Nothing
// is sent.
func (l *Link) Lose() { l.giveUp(&l.stats.Lost) }

func (l *Link) giveUp(count *uint64) {
	l.mu.Lock()
	if !l.settled {
		l.countOutcome(count)
	}
	l.mu.Unlock()
	l.writerWake.Signal() // a drain may have waited for the message, and no command wakes the writer
}

// countOutcome moves one message from InFlight to count. Callers hold the mutex.
func (l *Link) countOutcome(count *uint64) {
	l.stats.InFlight--
	*count++
}

// closeAccounts counts as lost every FIN and REQ that was not sent, and every message
// in flight. Callers hold the mutex; both loops have ended.
//
// A message is counted once, whenever its FIN comes:
//
//  1. The link is sealed. A FIN that comes now is not sent, and counts as lost.
//  2. closeAccounts counts the messages left in flight as lost, and sets settled.
//  3. A FIN that comes now finds settled and counts nothing. Without settled, its
//     message would be lost twice.
func (l *Link) closeAccounts() {
	for _, chunk := range append(l.unsent, l.pending.takeAll(nil)...) {
		if l.cfg.Topic == "" {
			break // what is unsent may be bodies that look like FINs
		}
		for line := range bytes.Lines(chunk) {
			switch {
			case bytes.HasPrefix(line, []byte(wire.CmdFin+" ")):
				l.stats.Finished--
				l.stats.Lost++
			case bytes.HasPrefix(line, []byte(wire.CmdReq+" ")):
				l.stats.Requeued--
				l.stats.Lost++
			}
		}
	}
	l.stats.Lost += uint64(max(l.stats.InFlight, 0)) // #nosec G115 -- not negative
	l.stats.InFlight = 0
	l.unsent, l.settled = nil, true
}
