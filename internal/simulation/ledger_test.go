package simulation

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
)

// verdict is what a publisher was told of a message.
type verdict int

const (
	unknown verdict = iota
	stored
	absent
)

// verdictOf returns what an error of a publish says. many says that it is of several messages.
func verdictOf(t *testing.T, err error, many, withContext bool) verdict {
	var refused nsq.ErrProtocol
	switch {
	case err == nil:
		return stored
	case errors.Is(err, nsq.ErrNotSent), errors.Is(err, nsq.ErrStopped):
		return absent
	case errors.Is(err, nsq.ErrUnknownOutcome), errors.Is(err, nsq.ErrNotConnected):
		return unknown
	case errors.As(err, &refused):
		if many {
			return unknown
		}
		return absent
	case withContext:
		t.Errorf("an error that says nothing of the outcome: %v", err)
	}
	return unknown
}

// ledger is what became of each message, which is known by the first word of its body.
type ledger struct {
	mu      sync.Mutex
	told    map[string]verdict
	topics  map[string]string // where each was published to
	often   map[string]bool   // those that may be stored more than once
	due     map[string]time.Time
	handled map[string]map[string]bool // by topic/channel: those whose handler has succeeded
	lost    map[string]map[string]bool // by topic/channel: those that a crash has lost
}

func newLedger() *ledger {
	return &ledger{
		told: make(map[string]verdict), topics: make(map[string]string), often: make(map[string]bool), due: make(map[string]time.Time),
		handled: make(map[string]map[string]bool), lost: make(map[string]map[string]bool),
	}
}

// idOf returns which message a body is.
func idOf(body []byte) string {
	if _, inner, ok := envelope.Open(body); ok {
		body = inner
	}
	id, _, _ := strings.Cut(string(body), " ")
	return id
}

// begin notes a message that is about to be published.
func (l *ledger) begin(topic, id string, often bool, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[id], l.often[id], l.due[id], l.told[id] = topic, often, due, unknown
}

func (l *ledger) tell(id string, v verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told[id] = v
}

// success notes that a handler is about to succeed.
func (l *ledger) success(channel, id string) { l.note(l.handled, channel, id) }

// loseAll notes that a channel may have lost every message that was published so far.
func (l *ledger) loseAll(topic, channel string) {
	l.mu.Lock()
	begun := maps.Clone(l.topics)
	l.mu.Unlock()
	for id, of := range begun {
		if of == topic {
			l.note(l.lost, topic+"/"+channel, id)
		}
	}
}

func (l *ledger) note(in map[string]map[string]bool, channel, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in[channel] == nil {
		in[channel] = make(map[string]bool)
	}
	in[channel][id] = true
}

func (l *ledger) dueAt(id string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.due[id]
}

// check checks what nsqds have at the end, when all channels are drained.
func (l *ledger) check(w *world) {
	l.mu.Lock()
	defer l.mu.Unlock()
	copies := make(map[string]int)
	for _, d := range w.nsqds {
		for _, topic := range w.topics() {
			for _, body := range d.Queued(topic, audit) {
				copies[idOf([]byte(body))]++
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.told)) {
		topic := l.topics[id]
		lost := l.lost[topic+".delayed/relay"][id]
		switch n := copies[id]; {
		case l.told[id] == stored && n == 0 && !lost:
			w.Errorf("message %s was told to be stored, and is nowhere", id)
		case l.told[id] == absent && n > 0:
			w.Errorf("message %s was told not to be stored, and there are %d", id, n)
		case n > 1 && !l.often[id]:
			w.Errorf("message %s is stored %d times", id, n)
		}
	}
	for _, tc := range w.channels() {
		topic, channel, _ := strings.Cut(tc, "/")
		buried := w.buried(topic, channel)
		for _, d := range w.nsqds {
			queued := d.Queued(topic, channel) // what came too late to be handled
			for _, body := range d.Queued(topic, audit) {
				if id := idOf([]byte(body)); !l.handled[tc][id] && !l.lost[tc][id] && !buried[id] && !slices.Contains(queued, body) {
					w.Errorf("message %s is finished in %s, and no handler has succeeded with it", id, tc)
				}
			}
		}
	}
}
