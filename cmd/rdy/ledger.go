package main

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
)

// numberLen is how many digits a body begins with.
const numberLen = 8

// bodies are the bodies of a demo's messages: each begins with its number, from
// 0 to count-1, and all have the same length.
type bodies struct {
	count  int
	filler []byte // follows the number
}

// newBodies makes bodies in which the name of the run follows the number, as far
// as there is room for it, so that other runs' are told apart.
func newBodies(count, size int, run string) bodies {
	filler := make([]byte, size-numberLen)
	for i := range filler {
		filler[i] = " abcdefghijklmnopqrstuvwxyz"[i%27]
	}
	copy(filler, run)
	return bodies{count: count, filler: filler}
}

func (b bodies) size() int { return numberLen + len(b.filler) }

// body makes the body with a number.
func (b bodies) body(number int) []byte {
	body := fmt.Appendf(make([]byte, 0, b.size()), "%0*d", numberLen, number)
	return append(body, b.filler...)
}

// number returns the number of a body, or false for one that is not of these.
func (b bodies) number(body []byte) (int, bool) {
	if len(body) != b.size() || !bytes.Equal(body[numberLen:], b.filler) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(body[:numberLen]), 10, 32)
	return int(n), err == nil && int(n) < b.count
}

// ledger knows what became of each message of a demo. Messages that were found on
// the nsqds are counted from the beginning, others that somebody else published
// to its topic from their first delivery on.
type ledger struct {
	bodies bodies

	mu         sync.Mutex          // guards what follows
	nsqds      map[string]*account // by address
	own        []bool              // by number: it was handled
	missing    int                 // of those, and of the others that are known of, not handled
	others     map[foreignKey]bool // seen; true if it was handled
	before     int                 // found
	duplicates int
	last       time.Time // see totals
}

// account is what is counted per nsqd.
type account struct {
	Address   string `json:"address"`
	Published int    `json:"published"`
	Handled   int    `json:"handled"`
	Requeued  int    `json:"requeued"`

	unseen int // found, and not delivered yet
}

// foreignKey tells messages apart that have no number: nsqd's IDs are unique
// per nsqd.
type foreignKey struct {
	nsqd string
	id   nsq.MessageID
}

// totals are the counts over all nsqds.
type totals struct {
	found, published, handled, requeued, duplicates int

	missing int       // messages not handled, numbers not published included
	last    time.Time // when a message was last handled that had not been before; zero if none was
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
		others:  make(map[foreignKey]bool),
	}
	for _, addr := range nsqds {
		l.nsqds[addr] = &account{Address: addr}
	}
	return l
}

// published notes that an nsqd has confirmed n messages.
func (l *ledger) published(nsqd string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nsqds[nsqd].Published += n
}

// found notes that an nsqd has n messages from before.
func (l *ledger) found(nsqd string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.nsqds[nsqd]
	a.Published += n
	a.unseen += n
	l.missing += n
	l.before += n
}

// failed notes that a handler failed and requeued the message.
func (l *ledger) failed(m *nsq.Message) {
	number, own := l.bodies.number(m.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(m, number, own, false)
	l.nsqds[m.NSQDAddress].Requeued++
}

// succeeded notes that a handler has handled the message.
func (l *ledger) succeeded(m *nsq.Message) {
	number, own := l.bodies.number(m.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.note(m, number, own, true) {
		l.duplicates++
		return
	}
	l.nsqds[m.NSQDAddress].Handled++
}

// note notes a delivery. It reports whether the message was handled before.
func (l *ledger) note(m *nsq.Message, number int, own, handled bool) (before bool) {
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
	before, seen := l.others[key]
	switch a := l.nsqds[m.NSQDAddress]; {
	case seen:
	case a.unseen > 0:
		a.unseen--
	default:
		a.Published++
		l.missing++
	}
	if handled && !before {
		l.missing--
		l.last = time.Now()
	}
	l.others[key] = before || handled
	return before
}

// totals returns the counts as they are now.
func (l *ledger) totals() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := totals{found: l.before, duplicates: l.duplicates, missing: l.missing, last: l.last}
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
