// Package letters looks at the dead letters that wait in a channel.
//
// NSQ has no way to read a message without taking it. A [Look] takes the letters of one nsqd,
// holds those that it has read, and puts them back when it is closed. So each of them has
// had one delivery more and may have changed its place, but none is lost: a letter leaves its
// channel by [Letter.Finish] only. If the program dies, nsqd delivers the letters again when
// their leases have ended.
package letters

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
)

var errLost = errors.New("its lease has ended, and nsqd has taken it back")

// Letter is a dead letter. It is held by its Look until it is finished, put back to make room
// for others, or the Look is closed.
type Letter struct {
	ID       string
	NSQD     string          // TCP address of the nsqd that has it
	Stored   time.Time       // when it was published
	Attempts uint16          // deliveries of the letter itself, looks included
	Header   envelope.Header // of the letter; nil if it is raw
	Body     []byte          // of the message that has failed; the whole letter if it is raw

	look *Look
	item *item
}

// newLetter returns the letter that a message is.
func newLetter(l *Look, it *item) *Letter {
	m := it.message
	letter := &Letter{
		ID: string(m.ID[:]), NSQD: m.NSQDAddress, Stored: time.Unix(0, m.Timestamp).UTC(), Attempts: m.Attempts,
		Body: m.Body, look: l, item: it,
	}
	if h, body, ok := envelope.Open(m.Body); ok && h.Get(nsq.HeaderOriginTopic) != "" {
		letter.Header, letter.Body = h, body
	}
	m.Body = nil // a letter that is only held needs no memory for its body
	return letter
}

// Raw reports whether the letter lacks the headers of a dead letter: it was stored without
// them, or is another kind of message.
func (l *Letter) Raw() bool { return l.Header == nil }

// OriginAttempts returns how often the message was delivered before it became a dead letter,
// 0 if that is not known.
func (l *Letter) OriginAttempts() int {
	n, _ := strconv.Atoi(l.Header.Get(nsq.HeaderOriginAttempts))
	return n
}

// Published returns when the message was published, zero if that is not known.
func (l *Letter) Published() time.Time { return l.time(nsq.HeaderOriginPublished) }

// Failed returns when the message became a dead letter, zero if that is not known.
func (l *Letter) Failed() time.Time { return l.time(nsq.HeaderFailedAt) }

func (l *Letter) time(header string) time.Time {
	t, _ := time.Parse(time.RFC3339, l.Header.Get(header)) // zero if it does not parse
	return t.UTC()
}

// Keep makes the Look hold the letter until it is finished or the Look is closed. Call it
// before the next call of Next.
func (l *Letter) Keep() {
	l.look.mu.Lock()
	defer l.look.mu.Unlock()
	l.item.kept = true
}

// Lost reports whether the lease of the letter is over: nsqd delivers it again, and Finish
// does nothing.
func (l *Letter) Lost() bool { return l.item.lost() }

// Finish removes the letter from its channel.
func (l *Letter) Finish() {
	l.look.finish(l.item)
	l.item.message.Finish()
}

// Drop removes the letter from its channel for good, or returns why it cannot.
func (l *Letter) Drop() error {
	if l.Lost() {
		return fmt.Errorf("letter %s: %w", l.ID, errLost)
	}
	l.Finish()
	return nil
}
