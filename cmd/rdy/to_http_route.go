package main

import (
	"cmp"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
)

const (
	modeRoundRobin   = "round-robin"
	modeLeastFailing = "least-failing"

	// failingWeight is how much the latest result counts in the share of failures.
	failingWeight = 0.1
	// suspectAt is the share of failures from which a URL is spared. A single failure
	// reaches it.
	suspectAt = 0.05
	// failingPause is how long a URL that always fails is spared between two requests; one
	// that fails less is spared for a shorter time.
	failingPause = 10 * time.Second

	// maxURLs is the number of bits of a set of URLs.
	maxURLs = 64
	// maxPartial is how many messages are remembered that some URLs have and others lack.
	maxPartial = 10_000
)

// destination is a URL that messages go to.
type destination struct {
	*urlTemplate

	// For least-failing; guarded by the router's mutex:

	failing float64   // share of failures among the latest results
	busy    int       // requests under way
	retryAt time.Time // a suspect gets no request before
}

// suspect reports whether the destination has failed lately.
func (t *destination) suspect() bool { return t.failing >= suspectAt }

// compare orders destinations by how well they serve: those that are no suspects by the number
// of their requests under way, and before the suspects.
func (t *destination) compare(o *destination) int {
	if t.suspect() || o.suspect() {
		return cmp.Or(cmp.Compare(t.failing, o.failing), cmp.Compare(t.busy, o.busy))
	}
	return cmp.Compare(t.busy, o.busy)
}

// router chooses the destination of a message, unless all get it.
type router struct {
	mode         string
	destinations []*destination

	mu   sync.Mutex // guards next and the destinations' fields
	next int
}

// pick chooses the i-th destination. The caller has to call done with the result.
//
// With least-failing a suspect whose pause is over gets one message, to see if it works
// again. The others share the rest. If all are suspects, the one that fails least gets all:
// the consumer's backoff then limits how many there are.
//
// A message that is retried is no such probe. On a quiet topic it would be the one that is
// due at each of its attempts, and never get to a server that works.
func (r *router) pick(now time.Time, retry bool) (i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.next
	r.next = (r.next + 1) % len(r.destinations)
	best := first
	for n := range r.destinations {
		i := (first + n) % len(r.destinations)
		t := r.destinations[i]
		if r.mode == modeRoundRobin || t.suspect() && t.busy == 0 && !retry && !now.Before(t.retryAt) {
			best = i
			break
		}
		if t.compare(r.destinations[best]) < 0 {
			best = i
		}
	}
	r.destinations[best].busy++
	return best
}

// done notes the result of a request to the i-th destination, which pick has chosen.
func (r *router) done(i int, f *httpFailure, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.destinations[i]
	t.busy--
	switch {
	case f == nil:
		t.failing /= 2
	case !f.refused && !f.cut: // another server would refuse the message as well
		t.failing += (1 - t.failing) * failingWeight
		t.retryAt = now.Add(time.Duration(t.failing * float64(failingPause)))
	}
}

// partial remembers which destinations have taken a message that others lack, so that a retry
// does not send it to them again. It forgets the oldest beyond maxPartial messages.
type partial struct {
	mu   sync.Mutex // guards the fields below
	has  map[deliveryKey]partialDelivery
	ring []deliveryKey // the keys of has, and some that are no longer there
	next int           // where ring is overwritten next, once it is full
}

type partialDelivery struct {
	destinations uint64 // bit i is set if the i-th destination has the message
	slot         int    // where ring has the key; a key that was forgotten and added again is there twice
}

// deliveryKey names a message. IDs are unique within a topic of one nsqd.
type deliveryKey struct {
	nsqd string
	id   nsq.MessageID
}

func keyOf(m *nsq.Message) deliveryKey { return deliveryKey{m.NSQDAddress, m.ID} }

func newPartial() *partial { return &partial{has: make(map[deliveryKey]partialDelivery)} }

// of returns the set of destinations that have a message.
func (p *partial) of(key deliveryKey) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.has[key].destinations
}

func (p *partial) forget(key deliveryKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.has, key)
}

// add adds destinations that have a message.
func (p *partial) add(key deliveryKey, destinations uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d, known := p.has[key]; known || destinations == 0 {
		if known {
			d.destinations |= destinations
			p.has[key] = d
		}
		return
	}
	slot := len(p.ring)
	if slot < maxPartial {
		p.ring = append(p.ring, key)
	} else {
		slot = p.next
		if oldest := p.ring[slot]; p.has[oldest].slot == slot {
			delete(p.has, oldest)
		}
		p.ring[slot] = key
		p.next = (p.next + 1) % maxPartial
	}
	p.has[key] = partialDelivery{destinations, slot}
}
