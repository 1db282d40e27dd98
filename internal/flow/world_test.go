package flow

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// world is a consumer and its nsqds in virtual time: a Machine and the connections
// that it decides about. Commands and messages spend time on the wire, nsqd delivers
// up to RDY messages through an output buffer, and handlers take time.
type world struct {
	testing.TB
	timeline
	m    *Machine
	rand *rand.Rand

	delay   time.Duration // on the wire, one way
	buffer  time.Duration // nsqd's output buffer timeout
	handle  func(n *node) (time.Duration, Result)
	size    func(n *node) int // of a body; nil: bodies weigh nothing
	workers int               // how many handlers; 0 is one for each message
	wakes   time.Duration     // CPU of a read, of which there is one at a time, and a tenth of that per message
	unread  []*node           // from which something has come, in the order in which they are read

	lease      time.Duration // nsqd's msg_timeout
	nodes      []*node
	conns      map[ID]*node
	lastID     ID
	running    int
	queue      []*arrival
	inHand     map[*arrival]bool // received and not completed, on whatever connection
	leases     []*arrival        // of received messages, in the order in which they end
	unreported int               // since the last pause: messages that ended without a Result
	max        int
	delivered  int // by nsqds, repetitions included

	slowReaders bool // see coming
	ticks       int

	decided   func(n *node, rdy int)       // on each decision
	arrived   func(n *node)                // on each message that reaches the consumer
	completed func(n *node, result Result) // on each ack and requeue that the consumer sends
	listened  func(listening bool)         // when Listening changes
	check     func()                       // after each event
	finished  int
	spent     bool // the last Stall was answered by Spent

	lastArrival time.Time // when a message last reached the consumer

	writes    int // decisions taken
	listening bool
	dst       []Decision
}

// node is an nsqd and the consumer's connection to it.
type node struct {
	id       ID // of the connection
	name     string
	up       bool
	draining bool // CLS was sent
	depth    int  // queued
	rdy      int  // the last that reached nsqd
	inFlight int  // as nsqd counts them
	buffered int  // of inFlight: still in the output buffer
	ticking  bool // the buffer's timer runs

	sent        int // the last RDY that the machine decided
	granted     time.Time
	coming      int // messages on the wire
	unread      int // of coming: not read yet, for want of CPU
	held        int // received, not completed, lease not over
	peak        int
	received    uint64
	passed      uint64 // of received: see world.coming
	bytes       uint64 // of received
	heldBytes   int64  // of held
	sizes       int    // of the bodies: see anySize
	lastMessage time.Time
	generation  int // of the connection
}

// arrival is a message that has reached the consumer.
type arrival struct {
	n          *node
	id         ID
	generation int
	epoch      uint32
	size       int
	ends       time.Time // its lease
}

// Results that the machine is not told of.
const (
	discard Result = 100 + iota // given up, and acked
	never                       // neither acked nor requeued
)

// timeline holds what will happen and when.
type timeline struct {
	now    time.Time
	agenda events
	seq    int
}

func (t *timeline) after(d time.Duration, do func()) {
	t.seq++
	heap.Push(&t.agenda, event{t.now.Add(d), t.seq, do})
}

// next plays the next event.
func (t *timeline) next() {
	e := heap.Pop(&t.agenda).(event)
	t.now = e.at
	e.do()
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return x
}

// epochStart is the time at which worlds begin.
var epochStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(tb testing.TB, cfg Config) *world {
	if cfg.Idle == 0 {
		cfg.Idle = 500 * time.Millisecond
	}
	return &world{
		TB: tb, m: New(cfg), rand: rand.New(rand.NewPCG(cfg.Seed, 7)), timeline: timeline{now: epochStart},
		conns: make(map[ID]*node), inHand: make(map[*arrival]bool),
		lease: time.Minute, delay: 200 * time.Microsecond, buffer: 250 * time.Millisecond, max: cfg.MaxInFlight,
		handle: func(*node) (time.Duration, Result) { return 10 * time.Millisecond, Success },
	}
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for w.step(end) {
	}
	w.now = end
}

// until lets time pass until cond holds, and returns how long that took. It fails
// the test if that is longer than limit.
func (w *world) until(limit time.Duration, what string, cond func() bool) time.Duration {
	w.Helper()
	from := w.now
	for !cond() {
		if !w.step(from.Add(limit)) {
			w.Fatalf("not within %v: %s", limit, what)
		}
	}
	return w.now.Sub(from)
}

// step plays the next event or tick, if there is one up to end.
func (w *world) step(end time.Time) bool {
	due, ok := w.m.Next()
	if ok && due.Before(w.now) {
		due = w.now
	}
	if len(w.agenda) > 0 && (!ok || !w.agenda[0].at.After(due)) {
		if w.agenda[0].at.After(end) {
			return false
		}
		w.next()
		w.take()
		return true
	}
	if !ok || due.After(end) {
		return false
	}
	w.now = due
	w.tick()
	return true
}

// tick samples all connections and calls Tick.
func (w *world) tick() {
	w.ticks++
	for _, n := range w.nodes {
		if n.up {
			w.m.Sample(w.now, n.id, w.sample(n))
			n.peak = n.held
		}
	}
	w.m.Tick(w.now)
	w.take()
	if due, ok := w.m.Next(); ok && !due.After(w.now) {
		w.Fatalf("%v: still due after a tick, since %v", w.clock(), w.now.Sub(due))
	}
}

func (w *world) sample(n *node) Sample {
	return Sample{
		Received: n.received, InFlight: n.held, Peak: n.peak, LastMessage: n.lastMessage,
		Bytes: n.bytes, BytesInFlight: n.heldBytes, Coming: w.coming(n),
	}
}

// coming returns how many of the messages in flight the reader has not passed on yet, if the
// world has slow readers.
func (w *world) coming(n *node) int {
	if !w.slowReaders || !w.m.Allowing() {
		return 0
	}
	coming := w.rand.IntN(min(3, int(n.received-n.passed)+1)) // #nosec G115 -- few
	n.passed = n.received - uint64(coming)                    // #nosec G115 -- few
	return coming
}

func (w *world) clock() time.Duration { return w.now.Sub(epochStart) }

// take checks and carries out the machine's decisions.
func (w *world) take() {
	before := w.committed()
	w.dst = w.m.Take(w.now, w.dst[:0])
	w.boundBytes(before)
	w.spent = w.m.Spent(w.now) || w.spent
	rising := false
	for _, d := range w.dst {
		n := w.node(d.Conn)
		if !n.up || n.draining || d.RDY == n.sent || d.RDY < 0 || d.RDY > w.m.byID[d.Conn].maxRDY {
			w.Fatalf("%v: wrong decision %v for %+v", w.clock(), d, *n)
		}
		if rising && d.RDY < n.sent {
			w.Fatalf("%v: a decrease after an increase in %v", w.clock(), w.dst)
		}
		rises := d.RDY > n.sent
		rising = rising || rises
		if n.sent == 0 {
			n.granted = w.now
		}
		n.sent = d.RDY
		if rises {
			w.bound()
		}
		w.writes++
		if w.decided != nil {
			w.decided(n, d.RDY)
		}
		w.sendRDY(n, d.RDY)
	}
	if listening := w.m.Listening(); listening != w.listening {
		if listening && w.m.stale {
			w.Fatalf("%v: listening from now on while a plan is pending", w.clock())
		}
		w.listening = listening
		if w.listened != nil {
			w.listened(listening)
		}
	}
	if w.check != nil {
		w.check()
	}
}

// assumedDelay is how long the machine assumes that an RDY takes to reach nsqd. On a
// slower wire it cannot keep its bounds.
const assumedDelay = 10 * time.Millisecond

// bound checks that a rise of RDY keeps to max_in_flight.
func (w *world) bound() {
	if slots := w.slots(); w.delay < assumedDelay && slots > w.max && !w.m.allowance.on {
		w.Fatalf("%v: %d slots in use of %d", w.clock(), slots, w.max)
	}
}

// boundBytes checks that the RDYs of a Take, before which the machine had committed so many
// bytes, keep to the byte budget, as far as the machine can know: it has weighed the
// messages up to its last samples. Only if these are heavier than expected may it have
// committed too much before.
func (w *world) boundBytes(before float64) {
	if !w.boundsBytes() {
		return
	}
	most := float64(w.m.cfg.MaxBytes)
	slots, sum := 0, w.committed()
	for _, c := range w.m.conns {
		slots += max(c.rdy, c.held, c.inFlight)
		if w.m.budget.weight.seen == 0 && c.held <= 1 {
			sum -= unknownWeight // until the first message each may have an RDY of 1
		}
	}
	if sum > max(most, before) && slots > 1 {
		for _, c := range w.m.conns {
			w.Logf("RDY %d, wants %d, holds %d, %d in flight, %+v", c.rdy, c.want, c.held, c.inFlight, c.cargo)
		}
		w.Fatalf("%v: RDYs allow for %.0f bytes of %.0f, before %.0f: %v", w.clock(), sum, most, before, w.dst)
	}
}

// boundsBytes reports whether the byte budget is a bound that the machine can keep.
func (w *world) boundsBytes() bool {
	return w.m.cfg.MaxBytes > 0 && w.max > 1 && w.delay < assumedDelay
}

// committed returns what the machine expects all to weigh that is in flight or may come. A loop
// over all connections at each Take is half the time of some tests: only boundBytes needs it.
func (w *world) committed() (sum float64) {
	if !w.boundsBytes() {
		return 0
	}
	for _, c := range w.m.conns {
		sum += float64(c.cargo.inFlight) + w.m.expects(c)*float64(max(c.rdy, c.held, c.inFlight)-c.inFlight)
	}
	return sum
}

// slots returns the sum over all connections of what is in flight or may be.
func (w *world) slots() (sum int) {
	for _, n := range w.nodes {
		if n.up {
			sum += max(n.sent, n.held+n.coming+n.buffered)
		}
	}
	return sum
}

func (w *world) node(id ID) *node { return w.conns[id] }

// add makes an nsqd, and connects to it if up.
func (w *world) add(up bool) *node {
	n := &node{name: fmt.Sprint(len(w.nodes) + 1)}
	w.nodes = append(w.nodes, n)
	if up {
		w.connect(n, 2500)
	}
	return n
}

func (w *world) connect(n *node, maxRDY int) {
	w.lastID++
	*n = node{id: w.lastID, name: n.name, up: true, depth: n.depth, ticking: n.ticking, sizes: n.sizes, generation: n.generation + 1}
	w.conns[n.id] = n
	w.m.Up(w.now, n.id, maxRDY)
	w.take()
}

// disconnect loses a connection. nsqd queues what was in flight again at once.
func (w *world) disconnect(n *node) {
	n.up = false
	n.generation++
	n.depth += n.inFlight
	n.inFlight, n.buffered, n.unread, n.sent = 0, 0, 0, 0
	delete(w.conns, n.id)
	w.m.Down(n.id)
	w.take()
}

// drain sends CLS.
func (w *world) drain(n *node) {
	n.draining, n.sent = true, 0
	w.m.Drain(w.now, n.id)
	w.take()
	w.sendRDY(n, 0)
}

// sendRDY sends an RDY, which reaches nsqd after the delay.
func (w *world) sendRDY(n *node, rdy int) {
	generation := n.generation
	w.after(w.delay, func() {
		if n.generation == generation {
			n.rdy = rdy
			w.push(n)
		}
	})
}

func (w *world) setMax(n int) {
	w.max = max(n, 0)
	w.m.SetMaxInFlight(w.now, n)
	w.take()
}

func (w *world) publish(n *node, count int) {
	n.depth += count
	w.push(n)
}

// push is nsqd's delivery: it fills the output buffer up to RDY.
func (w *world) push(n *node) {
	for n.up && n.inFlight < n.rdy && n.depth > 0 {
		n.depth--
		n.inFlight++
		w.delivered++
		n.buffered++
	}
	if n.buffered == 0 {
		return
	}
	if n.inFlight >= n.rdy || w.buffer == 0 {
		w.flush(n)
	} else if !n.ticking {
		n.ticking = true
		w.after(w.buffer, func() {
			n.ticking = false
			w.flush(n)
		})
	}
}

// flush sends nsqd's output buffer, which reaches the consumer after the delay.
func (w *world) flush(n *node) {
	count, generation := n.buffered, n.generation
	n.buffered = 0
	n.coming += count
	w.after(w.delay, func() {
		if n.generation != generation {
			return
		}
		if w.wakes == 0 {
			w.receive(n, count)
			return
		}
		if n.unread += count; n.unread == count {
			if w.unread = append(w.unread, n); len(w.unread) == 1 {
				w.read()
			}
		}
	})
}

// read lets the one CPU read what has come from the next nsqd, and then from the others.
func (w *world) read() {
	n := w.unread[0]
	w.after(w.wakes+time.Duration(n.unread)*w.wakes/10, func() {
		w.unread = w.unread[1:]
		if count := n.unread; count > 0 { // otherwise the connection is lost
			n.unread = 0
			w.receive(n, count)
		}
		if len(w.unread) > 0 {
			w.read()
		}
	})
}

// receive passes messages to handlers.
func (w *world) receive(n *node, count int) {
	n.coming -= count
	n.held += count
	n.peak = max(n.peak, n.held)
	n.received += uint64(count)
	if count > 0 { // what was buffered for a connection may be lost by then
		n.lastMessage, w.lastArrival = w.now, w.now
	}
	if w.m.Listening() {
		w.m.Wake(w.now)
	}
	for range count {
		if w.arrived != nil {
			w.arrived(n)
		}
		a := &arrival{n, n.id, n.generation, w.m.Epoch(), 0, w.now.Add(w.lease)}
		if w.size != nil {
			a.size = w.size(n)
		}
		n.bytes += uint64(a.size) // #nosec G115 -- not negative
		n.heldBytes += int64(a.size)
		w.inHand[a] = true
		w.queue = append(w.queue, a)
		w.leases = append(w.leases, a)
		if len(w.leases) == 1 {
			w.after(w.lease, w.expire)
		}
	}
	if at := w.m.WeighAt(); at > 0 && w.heldBytes() >= at {
		w.m.Weigh(w.now)
	}
	w.work()
}

// stall reports that takers wait for messages that do not come, and returns whether none will.
func (w *world) stall() bool {
	w.spent = false
	w.m.Stall(w.now)
	if w.m.budget.stalled {
		w.tick()
	}
	return w.spent
}

// heldBytes returns what the bodies in flight weigh, over all connections.
func (w *world) heldBytes() (sum int64) {
	for _, n := range w.nodes {
		if n.up {
			sum += n.heldBytes
		}
	}
	return sum
}

// work lets free handlers begin messages.
func (w *world) work() {
	for len(w.queue) > 0 && (w.workers == 0 || w.running < w.workers) {
		a := w.queue[0]
		w.queue = w.queue[1:]
		if !w.inHand[a] {
			continue // its lease is over
		}
		takes, result := w.handle(a.n)
		if result == never {
			continue
		}
		w.running++
		w.after(takes, func() {
			w.running--
			w.complete(a, result)
			w.work()
		})
	}
}

// expire makes nsqd requeue the messages whose lease is over.
func (w *world) expire() {
	for len(w.leases) > 0 {
		a := w.leases[0]
		if w.inHand[a] && a.ends.After(w.now) {
			w.after(a.ends.Sub(w.now), w.expire)
			return
		}
		w.leases = w.leases[1:]
		if w.release(a) {
			w.unreported++
			a.n.inFlight--
			a.n.depth++
			w.push(a.n)
		}
	}
}

// release takes a message out of hand. It reports whether nsqd still waits for an
// ack or requeue of it.
func (w *world) release(a *arrival) bool {
	in := w.inHand[a]
	delete(w.inHand, a)
	if !in || a.n.generation != a.generation {
		return false
	}
	a.n.held--
	a.n.heldBytes -= int64(a.size)
	return true
}

// complete acks or requeues a message, after its result was reported.
func (w *world) complete(a *arrival, result Result) {
	if !w.inHand[a] {
		return // too late
	}
	if w.m.Allowing() && a.n.up && a.n.generation == a.generation {
		w.m.Sample(w.now, a.id, w.sample(a.n))
		w.m.Spend(w.now, a.id, a.epoch)
		w.take()
	}
	switch {
	case result > Continue:
		w.unreported++
	case result != Success || w.m.Reporting():
		w.m.Result(w.now, a.id, result, a.epoch)
		w.take() // RDYs go out before the ack or requeue
	}
	n := a.n
	if !w.release(a) {
		return
	}
	if w.completed != nil {
		w.completed(n, result)
	}
	if result == Success {
		w.finished++
	}
	w.after(w.delay, func() {
		if n.generation != a.generation {
			return
		}
		n.inFlight--
		if result == Failure || result == Continue {
			n.depth++
		}
		w.push(n)
	})
}
