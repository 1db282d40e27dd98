package sharing

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// step is the time between two moments of a world.
const step = time.Millisecond

// world is a Group's machine, Consumers that do what it decides, and nsqds that send them
// messages, in virtual time.
type world struct {
	*testing.T
	m         *Machine
	slots     int
	now       time.Time
	start     time.Time
	consumers []*consumer // in the order in which they were added
	lastID    ID
	adopts    time.Duration // how long a Consumer takes to adopt a max_in_flight
	changes   int           // decisions so far
}

// consumer is one Consumer and its nsqds.
type consumer struct {
	name  string
	id    ID
	is    Member
	nsqds []*nsqd

	maxInFlight int           // adopted
	decided     []adoption    // not adopted yet
	received    uint64        //
	finished    int           // messages
	takes       time.Duration // of a handler
	backlog     int           // messages that wait at its nsqds
	every       time.Duration // a message comes each time, 0: none
	nextMessage time.Time
	held        bool // it may have no RDY, as in a backoff
}

type adoption struct {
	at time.Time
	n  int
}

// nsqd is one connection.
type nsqd struct {
	rdy      int
	peak     int
	keeps    int         // slots that it holds until settled
	settled  time.Time   // when a lower RDY has arrived for sure
	inFlight []time.Time // when each message is handled
}

func newWorld(t *testing.T, slots int) *world {
	start := time.Unix(1e9, 0)
	return &world{T: t, m: New(slots), slots: slots, now: start, start: start, adopts: step}
}

func (w *world) add(name string, nsqds int, is Member) *consumer {
	w.lastID++
	c := &consumer{name: name, id: w.lastID, is: is, takes: 10 * time.Millisecond}
	for range nsqds {
		c.nsqds = append(c.nsqds, &nsqd{})
	}
	w.consumers = append(w.consumers, c)
	w.m.Add(w.now, c.id, is)
	return c
}

func (w *world) remove(c *consumer) {
	w.consumers = slices.DeleteFunc(w.consumers, func(o *consumer) bool { return o == c })
	w.m.Remove(c.id)
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(step) {
		for _, c := range w.consumers {
			c.move(w.now)
		}
		if !w.now.Before(w.m.Next()) {
			w.act()
		}
		w.check()
	}
}

// act samples all Consumers and carries out what the machine decides.
func (w *world) act() {
	for _, c := range w.consumers {
		if len(c.decided) == 0 { // a Consumer that is slow to adopt a decision is slow to be sampled
			w.m.Sample(c.id, c.sample(w.now))
		}
	}
	w.m.Tick(w.now)
	for _, d := range w.m.Take(w.now, nil) {
		w.changes++
		i := slices.IndexFunc(w.consumers, func(c *consumer) bool { return c.id == d.ID })
		if i < 0 {
			w.Fatalf("decision for a member that was removed: %+v", d)
		}
		c := w.consumers[i]
		c.decided = append(c.decided, adoption{w.now.Add(w.adopts), d.MaxInFlight})
	}
	if next := w.m.Next(); !next.After(w.now) {
		w.Fatalf("%v: more is due at once, %v ago", w.now.Sub(w.start), w.now.Sub(next))
	}
}

// check checks that what is and may come in flight never exceeds the slots.
func (w *world) check() {
	granted, may, inFlight := 0, 0, 0
	for _, c := range w.consumers {
		most := c.maxInFlight
		for _, d := range c.decided {
			most = max(most, d.n)
		}
		held := 0
		for _, n := range c.nsqds {
			held += max(n.rdy, len(n.inFlight))
			inFlight += len(n.inFlight)
		}
		may += max(most, held)
		granted += w.m.find(c.id).granted
	}
	if granted > w.slots || inFlight > w.slots || may > w.slots {
		w.Fatalf("%v: %d of %d slots are granted, %d may be in flight, %d are: %s",
			w.now.Sub(w.start), granted, w.slots, may, inFlight, w)
	}
}

// String returns what each Consumer has.
func (w *world) String() (s string) {
	for _, c := range w.consumers {
		if s != "" {
			s += ", "
		}
		s += fmt.Sprintf("%s %d", c.name, w.m.find(c.id).granted)
	}
	return s
}

// move lets a Consumer and its nsqds do what is due.
func (c *consumer) move(now time.Time) {
	for len(c.decided) > 0 && !now.Before(c.decided[0].at) {
		c.maxInFlight = c.decided[0].n
		c.decided = c.decided[1:]
	}
	for c.every > 0 && !now.Before(c.nextMessage) {
		c.backlog++
		c.nextMessage = c.nextMessage.Add(c.every)
	}
	free := c.maxInFlight
	if c.held {
		free = 0
	}
	for _, n := range c.nsqds {
		before := len(n.inFlight)
		n.inFlight = slices.DeleteFunc(n.inFlight, func(at time.Time) bool { return !now.Before(at) })
		c.finished += before - len(n.inFlight)
	}
	// The busiest nsqds get their RDYs first: nearly all, when the others have no messages.
	for i, n := range c.nsqds {
		rdy := max(free-(len(c.nsqds)-1-i), min(free, 1), 0)
		if rdy < n.rdy {
			n.keeps, n.settled = max(n.rdy, n.keeps), now.Add(settleTime-2*step)
		}
		if rdy <= n.rdy || c.heldSlots(now)-n.held(now)+rdy <= c.maxInFlight {
			n.rdy = rdy
		}
		free -= n.rdy
		for c.backlog > 0 && len(n.inFlight) < n.rdy && i == 0 {
			c.backlog--
			c.received++
			n.inFlight = append(n.inFlight, now.Add(c.takes))
		}
		n.peak = max(n.peak, len(n.inFlight))
	}
}

func (n *nsqd) held(now time.Time) int {
	held := max(n.rdy, len(n.inFlight))
	if now.Before(n.settled) {
		held = max(held, n.keeps)
	} else {
		n.keeps = 0
	}
	return held
}

func (c *consumer) heldSlots(now time.Time) (slots int) {
	for _, n := range c.nsqds {
		slots += n.held(now)
	}
	return slots
}

func (c *consumer) sample(now time.Time) Sample {
	s := Sample{Held: c.heldSlots(now), Received: c.received}
	for _, n := range c.nsqds {
		s.Conns = append(s.Conns, Conn{RDY: n.rdy, InFlight: len(n.inFlight), Peak: n.peak})
		n.peak = len(n.inFlight)
	}
	return s
}
