package main

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
)

// numberLen is the number of digits that a body begins with.
const numberLen = 8

// bodies makes and recognizes the bodies of a demo's messages. Each begins with
// its number, from 0 to count-1, and all have the same length.
type bodies struct {
	count  int
	filler []byte // follows the number
}

// newBodies returns bodies in which the name of the run follows the number, if
// there is room, so that messages of other runs are recognized as foreign.
func newBodies(count, size int, run string) bodies {
	filler := make([]byte, size-numberLen)
	for i := range filler {
		filler[i] = " abcdefghijklmnopqrstuvwxyz"[i%27]
	}
	copy(filler, run)
	return bodies{count: count, filler: filler}
}

func (b bodies) size() int { return numberLen + len(b.filler) }

// body returns the body with a number.
func (b bodies) body(number int) []byte {
	body := fmt.Appendf(make([]byte, 0, b.size()), "%0*d", numberLen, number)
	return append(body, b.filler...)
}

// number returns the number of a body. It reports false if the body is not one of
// this demo's.
func (b bodies) number(body []byte) (int, bool) {
	if len(body) != b.size() || !bytes.Equal(body[numberLen:], b.filler) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(body[:numberLen]), 10, 32)
	return int(n), err == nil && int(n) < b.count
}

// ledger records what became of each message of a demo. Foreign messages count
// as well: those that the nsqds had when the demo started, and those that others
// publish to the demo's topic, once they are first delivered.
type ledger struct {
	bodies bodies

	mu         sync.Mutex          // guards the fields below
	nsqds      map[string]*account // by address
	own        []bool              // by number: whether the message was handled
	missing    int                 // messages not handled, own and known foreign ones
	foreign    map[foreignKey]bool // by delivered message: whether it was handled
	found      int                 // foreign messages on the nsqds at the start
	duplicates int
	last       time.Time // when a message was last handled for the first time
}

// account holds the counts of one nsqd.
type account struct {
	Address   string `json:"address"`
	Published int    `json:"published"`
	Handled   int    `json:"handled"`
	Requeued  int    `json:"requeued"`

	undelivered int // messages found at the start and not delivered yet
}

// foreignKey identifies a message without a number. Message IDs are unique only
// within an nsqd.
type foreignKey struct {
	nsqd string
	id   nsq.MessageID
}

// totals are the counts over all nsqds.
type totals struct {
	found, published, handled, requeued, duplicates int

	missing int       // messages not handled, including those not yet published
	last    time.Time // when a message was last handled for the first time; zero if none
}

func (t totals) String() string {
	return fmt.Sprintf("published %d  handled %d  requeued %d", t.published, t.handled, t.requeued)
}

func newLedger(b bodies, nsqds []string) *ledger {
	l := &ledger{
		bodies:  b,
		nsqds:   make(map[string]*account),
		own:     make([]bool, b.count),
		missing: b.count,
		foreign: make(map[foreignKey]bool),
	}
	for _, addr := range nsqds {
		l.nsqds[addr] = &account{Address: addr}
	}
	return l
}

// recordPublished records that an nsqd has confirmed n messages.
func (l *ledger) recordPublished(nsqd string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nsqds[nsqd].Published += n
}

// recordFound records that an nsqd has n messages from earlier demos.
func (l *ledger) recordFound(nsqd string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.nsqds[nsqd]
	a.Published += n
	a.undelivered += n
	l.missing += n
	l.found += n
}

// recordFailure records that a handler failed and requeued the message.
func (l *ledger) recordFailure(m *nsq.Message) {
	number, own := l.bodies.number(m.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recordDelivery(m, number, own, false)
	l.nsqds[m.NSQDAddress].Requeued++
}

// recordSuccess records that a handler has handled the message.
func (l *ledger) recordSuccess(m *nsq.Message) {
	number, own := l.bodies.number(m.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.recordDelivery(m, number, own, true) {
		l.duplicates++
		return
	}
	l.nsqds[m.NSQDAddress].Handled++
}

// recordDelivery records a delivery. It reports whether the message had been
// handled before. The caller holds mu.
func (l *ledger) recordDelivery(m *nsq.Message, number int, own, handled bool) (before bool) {
	if own {
		before = l.own[number]
		if handled && !before {
			l.own[number] = true
			l.missing--
			l.last = time.Now()
		}
		return before
	}
	key := foreignKey{nsqd: m.NSQDAddress, id: m.ID}
	before, seen := l.foreign[key]
	switch a := l.nsqds[m.NSQDAddress]; {
	case seen:
	case a.undelivered > 0:
		a.undelivered--
	default:
		a.Published++
		l.missing++
	}
	if handled && !before {
		l.missing--
		l.last = time.Now()
	}
	l.foreign[key] = before || handled
	return before
}

// totals returns the counts over all nsqds.
func (l *ledger) totals() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := totals{found: l.found, duplicates: l.duplicates, missing: l.missing, last: l.last}
	for _, a := range l.nsqds {
		t.published += a.Published
		t.handled += a.Handled
		t.requeued += a.Requeued
	}
	return t
}

// account returns the counts of one nsqd.
func (l *ledger) account(nsqd string) account {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *l.nsqds[nsqd]
}
