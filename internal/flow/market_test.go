package flow

import (
	"math/rand/v2"
	"testing"
	"time"
)

// market is many consumers of the same nsqds, each with a machine. An nsqd sends a
// message to any consumer that is ready for one. Only handlers take time.
type market struct {
	testing.TB
	timeline
	rand      *rand.Rand
	consumers []*consumer
	depth     []int         // by nsqd
	takes     time.Duration // of handlers, on average

	waiting, working int           // messages queued, and with a handler
	could, did       time.Duration // slot time that could have been in use, and that was
	writes           int           // decisions
}

// consumer is one consumer of a market. Its connection to nsqd i has ID i+1.
type consumer struct {
	m     *Machine
	conns []Sample // by nsqd
	rdy   []int    // by nsqd
}

func newMarket(t testing.TB, nsqds, consumers int, cfg Config) *market {
	k := &market{
		TB: t, timeline: timeline{now: epochStart}, rand: rand.New(rand.NewPCG(cfg.Seed, 5)),
		depth: make([]int, nsqds), takes: 50 * time.Millisecond,
	}
	for i := range consumers {
		cfg.Seed += uint64(i) // #nosec G115 -- positive
		cfg.Idle = 500 * time.Millisecond
		c := &consumer{m: New(cfg), conns: make([]Sample, nsqds), rdy: make([]int, nsqds)}
		for n := range nsqds {
			c.m.Up(k.now, ID(n+1), 2500) // #nosec G115 -- positive
		}
		k.consumers = append(k.consumers, c)
		k.take(c)
	}
	return k
}

// run lets time pass.
func (k *market) run(d time.Duration) {
	end := k.now.Add(d)
	for {
		var next *consumer
		due := end
		for _, c := range k.consumers {
			if at, ok := c.m.Next(); ok && at.Before(due) {
				next, due = c, at
			}
		}
		switch {
		case len(k.agenda) > 0 && !k.agenda[0].at.After(due):
			k.account(k.agenda[0].at)
			k.next()
		case next != nil:
			k.account(due)
			k.now = due
			k.tick(next)
		default:
			k.account(end)
			k.now = end
			return
		}
	}
}

// account adds the slot time from now to until.
func (k *market) account(until time.Time) {
	slots := 0
	for _, c := range k.consumers {
		slots += c.m.max
	}
	d := until.Sub(k.now)
	k.could += d * time.Duration(min(slots, k.waiting+k.working))
	k.did += d * time.Duration(k.working)
}

func (k *market) tick(c *consumer) {
	for n := range c.conns {
		s := &c.conns[n]
		c.m.Sample(k.now, ID(n+1), *s) // #nosec G115 -- positive
		s.Peak = s.InFlight
	}
	c.m.Tick(k.now)
	k.take(c)
}

func (k *market) take(c *consumer) {
	for _, d := range c.m.Take(k.now, nil) {
		k.writes++
		c.rdy[d.Conn-1] = d.RDY
		k.deliver(int(d.Conn - 1)) // #nosec G115 -- small
	}
}

// load publishes to an nsqd at a rate in messages per second.
func (k *market) load(nsqd int, rate float64) {
	k.after(time.Duration(k.rand.ExpFloat64()/rate*float64(time.Second)), func() {
		k.depth[nsqd]++
		k.waiting++
		k.deliver(nsqd)
		k.load(nsqd, rate)
	})
}

// deliver sends an nsqd's messages to consumers that are ready, beginning with a
// random one.
func (k *market) deliver(nsqd int) {
	first := k.rand.IntN(len(k.consumers))
	for i := range k.consumers {
		c := k.consumers[(first+i)%len(k.consumers)]
		s := &c.conns[nsqd]
		for k.depth[nsqd] > 0 && s.InFlight < c.rdy[nsqd] {
			k.depth[nsqd]--
			k.waiting--
			k.working++
			s.InFlight++
			s.Peak = max(s.Peak, s.InFlight)
			s.Received++
			s.LastMessage = k.now
			if c.m.Listening() {
				c.m.Wake(k.now)
			}
			k.after(time.Duration(k.rand.Int64N(int64(2*k.takes))), func() {
				s.InFlight--
				k.working--
				k.deliver(nsqd)
			})
		}
	}
}
