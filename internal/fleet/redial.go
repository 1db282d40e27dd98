package fleet

import (
	"math/rand/v2"
	"time"
)

// MissedPolls is for how many poll intervals an nsqd may be unlisted before it is let
// go. Consumers and pools derive Config.Grace from it.
const MissedPolls = 3

// refusedDelay and maxDials go into the Config of every Consumer.
const (
	refusedDelay = 2 * time.Second
	maxDials     = 64
)

// ConsumerConfig returns the Config of a Consumer that polls nsqlookupds at the given
// interval. No redial is delayed for longer than that.
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

// Redial spaces out the dials of a Producer that fail. A Producer dials when it is
// used, not when a Machine says so. A random jitter makes each delay up to a quarter
// shorter or longer.
type Redial struct {
	rand  *rand.Rand
	delay time.Duration // before jitter; 0 after a success
	due   time.Time     // when the delay ends
}

// NewRedial returns a Redial that allows a dial at once.
func NewRedial(seed uint64) *Redial {
	return &Redial{rand: rand.New(rand.NewPCG(seed, seed))} // #nosec G404 -- jitter
}

// Failed reports that a dial failed: the next one is allowed after a delay, which is
// twice as long as the previous one.
func (r *Redial) Failed(now time.Time) {
	r.delay = min(max(minRedial, 2*r.delay), maxRedial)
	r.due = now.Add(r.jittered(r.delay))
}

// Succeeded reports that a dial succeeded: delays start again at the shortest.
func (r *Redial) Succeeded() { r.delay = 0 }

// Allowed reports whether a dial is allowed.
func (r *Redial) Allowed(now time.Time) bool { return !now.Before(r.due) }

// ProbeDelay returns how long to wait before an nsqd that failed is probed. It need
// not grow, since a probe dials only if Allowed permits it.
func (r *Redial) ProbeDelay() time.Duration { return r.jittered(minRedial) }

func (r *Redial) jittered(d time.Duration) time.Duration {
	return d*3/4 + time.Duration(r.rand.Int64N(int64(d/2)))
}
