package fleet

import (
	"math/rand/v2"
	"time"
)

// MissedPolls is the number of poll intervals for which no nsqlookupd may list an
// nsqd before it is let go. Consumers and pools derive Config.Grace from it.
const MissedPolls = 3

// refusedDelay and maxDials are those of a Consumer.
const (
	refusedDelay = 2 * time.Second
	maxDials     = 64
)

// ConsumerConfig returns the Config of a Consumer that polls nsqlookupds at an
// interval. No delay is longer than that.
func ConsumerConfig(poll time.Duration, seed uint64) Config {
	return Config{
		MinDelay:     minRedial,
		MaxDelay:     poll,
		RefusedDelay: refusedDelay,
		MaxDials:     maxDials,
		Grace:        MissedPolls * poll,
		Seed:         seed,
	}
}

const (
	// minRedial is the delay after the first failed dial. Each further failure
	// doubles it, up to maxRedial.
	minRedial = 100 * time.Millisecond
	maxRedial = time.Second
)

// Redial holds the delays between the failed dials of a Producer, which dials
// when it is used rather than when a Machine says so. Every delay is up to a
// quarter shorter or longer, drawn at random.
type Redial struct {
	rand  *rand.Rand
	delay time.Duration // before jitter; 0 after a success
	due   time.Time     // when the delay ends
}

// NewRedial returns a Redial that allows a dial at once.
func NewRedial(seed uint64) *Redial {
	return &Redial{rand: rand.New(rand.NewPCG(seed, seed))} // #nosec G404 -- jitter
}

// Failed reports that a dial failed: the next one is not allowed before a delay,
// which is twice as long as the last one.
func (r *Redial) Failed(now time.Time) {
	r.delay = min(max(minRedial, 2*r.delay), maxRedial)
	r.due = now.Add(r.jittered(r.delay))
}

// Succeeded reports that a dial succeeded: the next failure has the least delay.
func (r *Redial) Succeeded() { r.delay = 0 }

// Allowed reports whether a dial is allowed.
func (r *Redial) Allowed(now time.Time) bool { return !now.Before(r.due) }

// ProbeDelay returns how long to wait before an nsqd that failed is probed. It
// does not grow: a probe does not dial while Allowed forbids it.
func (r *Redial) ProbeDelay() time.Duration { return r.jittered(minRedial) }

func (r *Redial) jittered(d time.Duration) time.Duration {
	return d*3/4 + time.Duration(r.rand.Int64N(int64(d/2)))
}
