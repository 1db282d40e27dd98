package nsq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rdyhq/nsq/internal/discover"
	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/flow"
	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// redialDelay is the delay before a lost nsqd is dialled again, the first
	// time.
	redialDelay = 100 * time.Millisecond
	// refusedDelay is the same for one that refused the subscription.
	refusedDelay = 2 * time.Second
	// maxDials is how many nsqds are dialled at a time.
	maxDials = 64
	// missedPolls is for how many poll intervals an nsqd must not be listed for
	// it to be let go.
	missedPolls = 3
)

// run is what a Consumer's run loop owns: the policies, the connections, and
// how far the Consumer is on its way to its end. Nothing else touches it; other
// goroutines post events.
type run struct {
	c     *Consumer
	log   *slog.Logger
	flow  *flow.Machine
	fleet *fleet.Machine

	maxInFlight int
	paused      bool

	conns  map[flow.ID]*consumerConn // links that have not ended
	nsqds  map[string]*nsqd          // by address, those that were asked for
	lastID flow.ID
	dials  int // under way
	past   Counts

	phase    phase
	deadline time.Time // of the phase; zero is none
	left     *StopError

	poller   *discover.Poller // nil without nsqlookupds
	polls    bool             // it runs
	lookupds lookupdLog
	settling []chan struct{} // closed when no dial is under way

	sweepAt time.Time // when to look at the leases; zero while there is nothing to see

	warnedOfFew     bool // that max_in_flight is too small
	warnedOfOverrun bool // that it is too large

	level     int // of backoff, as it was logged last
	decisions []flow.Decision
	due       []string
}

// nsqd is an address that the Consumer is to be connected to: it was told so, or
// nsqlookupds list it.
type nsqd struct {
	addr    string
	conn    *consumerConn      // nil while not connected
	cancel  context.CancelFunc // of the dial under way, nil without one
	failed  bool               // the last dial failed, and that was logged as an error
	told    bool               // a ConnectToNSQD has returned nil since it was asked for
	waiting []chan error       // ConnectToNSQD calls, at most one unless it is stopped

	err error     // of the last dial or connection that failed
	due time.Time // of the next dial, while neither connected nor dialled
}

func newRun(c *Consumer) *run {
	return &run{
		c:        c,
		log:      c.log,
		lookupds: lookupdLog{log: c.log},
		flow:     flow.New(c.flowConfig()),
		fleet: fleet.New(fleet.Config{
			MinDelay:     redialDelay,
			MaxDelay:     c.cfg.LookupdPollInterval,
			RefusedDelay: refusedDelay,
			MaxDials:     maxDials,
			Grace:        missedPolls * c.cfg.LookupdPollInterval,
			Seed:         rand.Uint64(), // #nosec G404 -- jitter
		}),
		maxInFlight: c.cfg.MaxInFlight,
		conns:       make(map[flow.ID]*consumerConn),
		nsqds:       make(map[string]*nsqd),
	}
}

// loop runs events, lets the policies act and waits, until the Consumer has
// stopped.
func (r *run) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		for _, event := range r.c.mail.take() {
			event(now)
		}
		r.act(now)
		if r.finished() {
			break
		}
		if next, ok := r.next(); ok {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
		select {
		case <-r.c.mail.wake:
		case <-timer.C:
		}
	}
	for _, event := range r.c.mail.close() {
		event(time.Now())
	}
	r.c.delivery.late.Stop() // no worker has more than one message any more, so none sets it
	r.log.Info("stopped")
	close(r.c.StopChan)
}

// act does what the time has come for and what events have led to.
func (r *run) act(now time.Time) {
	r.sweep(now)
	if r.phase != active {
		r.endPhase(now)
		return
	}
	r.watch(now)
	r.due = r.fleet.Take(now, r.due[:0])
	for _, addr := range r.due {
		r.dial(r.nsqds[addr])
	}
	r.settle()
}

// next is when act will have something to do without an event.
func (r *run) next() (due time.Time, ok bool) {
	if r.phase == active {
		due, ok = earlier(r.fleet.Next())(r.flow.Next())
	} else {
		due, ok = r.deadline, !r.deadline.IsZero()
	}
	return earlier(due, ok)(r.sweepAt, !r.sweepAt.IsZero())
}

// earlier is the first of two times, of those that there are.
func earlier(a time.Time, aOK bool) func(b time.Time, bOK bool) (time.Time, bool) {
	return func(b time.Time, bOK bool) (time.Time, bool) {
		if !aOK || bOK && b.Before(a) {
			return b, bOK
		}
		return a, aOK
	}
}

// connect is ConnectToNSQD.
func (r *run) connect(now time.Time, addr string, result chan error) {
	if r.phase != active {
		result <- errConsumerStopped
		return
	}
	n := r.nsqds[addr]
	switch {
	case n == nil:
		n = &nsqd{addr: addr}
		r.nsqds[addr] = n
	case n.conn != nil && !n.told:
		n.told = true
		r.fleet.Add(now, addr) // it may have been discovered only
		result <- nil
		return
	case n.conn != nil || len(n.waiting) > 0:
		result <- ErrAlreadyConnected
		return
	}
	n.waiting = append(n.waiting, result)
	r.fleet.Add(now, addr)
}

// changeMaxInFlight is ChangeMaxInFlight.
func (r *run) changeMaxInFlight(now time.Time, n int) {
	r.maxInFlight = max(n, 0)
	r.c.delivery.setLimit(r.maxInFlight)
	r.pause(now, r.paused)
}

// pause is Pause and Resume.
func (r *run) pause(now time.Time, paused bool) {
	r.paused = paused
	slots := r.maxInFlight
	if paused {
		slots = 0
	}
	r.flow.SetMaxInFlight(now, slots)
}

// disconnect is DisconnectFromNSQD.
func (r *run) disconnect(now time.Time, addr string) error {
	if r.phase != active || !r.fleet.Remove(now, addr) {
		return ErrNotConnected
	}
	r.letGo(now, addr)
	return nil
}

// letGo ends what there is of a connection that is not wanted any more.
func (r *run) letGo(now time.Time, addr string) {
	n := r.nsqds[addr]
	if n == nil {
		return // never dialled
	}
	delete(r.nsqds, addr)
	if n.cancel != nil {
		n.cancel()
	}
	n.answer(ErrClosing)
	if n.conn != nil {
		r.drain(now, n.conn)
		giveBack(r.c.delivery.remove(n.conn))
	}
}

// answer ends the ConnectToNSQD call that waits for the address, if any.
func (n *nsqd) answer(err error) {
	for _, result := range n.waiting {
		result <- err
	}
	n.waiting = nil
}

// dial starts one attempt, whose result comes as an event.
func (r *run) dial(n *nsqd) {
	ctx, cancel := context.WithCancel(r.c.dialling)
	n.cancel = cancel
	r.dials++
	r.log.Debug("connecting to nsqd", "nsqd", n.addr)
	cfg := r.c.cfg.linkConfig(n.addr)
	cfg.Topic, cfg.Channel, cfg.OwnAbove = r.c.topic, r.c.channel, largestSlab(r.c.cfg)
	go func() {
		defer cancel()
		l, err := link.Dial(ctx, cfg)
		posted := r.c.mail.post(func(now time.Time) {
			r.dials--
			r.dialled(now, n, l, err)
		})
		if !posted && l != nil { // a DialContext that ignored its context for longer than the stop
			l.Close(nil)
		}
	}()
}

func (r *run) dialled(now time.Time, n *nsqd, l *link.Link, err error) {
	n.cancel = nil
	if r.phase != active || r.nsqds[n.addr] != n { // nobody wants it any more
		if l != nil {
			l.Close(nil)
		}
		n.answer(errConsumerStopped)
		return
	}
	if err != nil {
		r.notConnected(now, n, err)
		return
	}
	n.failed = false
	r.up(now, n, l)
	n.told = n.told || len(n.waiting) > 0
	n.answer(nil)
}

// notConnected has a failed dial repeated. The first failure is worth an error,
// the others until it succeeds are not.
func (r *run) notConnected(now time.Time, n *nsqd, err error) {
	var due time.Time
	if refusal(err) {
		due = r.fleet.Refused(now, n.addr)
	} else {
		due = r.fleet.Failed(now, n.addr)
	}
	err = connectError(n.addr, r.c.topic, r.c.channel, err)
	level := slog.LevelError
	if n.failed {
		level = slog.LevelInfo
	}
	n.failed, n.err, n.due = true, err, due
	r.log.Log(context.Background(), level, "not connected to nsqd",
		"nsqd", n.addr, "err", err, "retry_in", due.Sub(now).Round(time.Millisecond))
	n.answer(err)
}

// refusal tells whether a dial reached an nsqd that would not have us, or that we
// would not have.
func refusal(err error) bool {
	_, said := errors.AsType[*wire.Error](err)
	failed, ok := errors.AsType[*link.Error](err)
	return said || ok && (failed.Op == link.OpTLS || failed.Op == link.OpAuth)
}

func (r *run) up(now time.Time, n *nsqd, l *link.Link) {
	r.lastID++
	conn := newConsumerConn(r.c, r.lastID, n.addr, l)
	n.conn = conn
	r.conns[conn.id] = conn
	r.publish()
	r.fleet.Up(now, n.addr)
	r.flow.Up(now, conn.id, r.maxRDY(conn))
	r.sweepBy(now.Add(conn.msgTimeout / 2))
	r.warnIfTooFew()
	how := l.Transport()
	conn.log.Info("connected to nsqd", "version", how.Version, "tls", how.TLS, "compression", how.Compression)
	l.Start(conn)
}

// maxRDY is the largest RDY that nsqd takes. One that did not say so is given
// nsqd's default.
func (r *run) maxRDY(conn *consumerConn) int {
	granted, ok := conn.link.Granted()
	if !ok || granted.MaxRdyCount <= 0 {
		return 2500
	}
	if granted.MaxRdyCount < int64(r.maxInFlight) {
		conn.log.Warn("nsqd's max-rdy-count is below max_in_flight",
			"max_rdy_count", granted.MaxRdyCount, "max_in_flight", r.maxInFlight)
	}
	return int(granted.MaxRdyCount)
}

// drain ends a connection in good order: no more messages come, those that came
// may still be answered.
func (r *run) drain(now time.Time, conn *consumerConn) {
	conn.draining.Store(true)
	r.flow.Drain(now, conn.id)
	conn.link.Drain()
}

// giveBack requeues what no handler has begun.
func giveBack(messages []*Message) {
	for _, m := range messages {
		m.conn.giveBack(m, 0)
	}
}

// down is the end of a link, the last that is heard of it.
func (r *run) down(now time.Time, conn *consumerConn, err error) {
	delete(r.conns, conn.id)
	conn.cancel(fmt.Errorf("nsqd %s: %w", conn.addr, ErrConnectionLost))
	// nsqd has what was not answered in flight still and will deliver it again; a
	// handler that began it now would do the work twice. The link has counted it
	// as lost. A draining connection may have brought some, too.
	for _, m := range r.c.delivery.orphan(conn) {
		r.c.contexts.end(m, ErrConnectionLost)
	}
	r.past.add(conn)
	r.publish()
	r.flow.Down(conn.id)
	if conn.draining.Load() {
		conn.log.Info("disconnected from nsqd")
		if err != nil {
			conn.log.Warn("disconnected before everything was answered", "err", reason(err))
		}
		return
	}
	n := r.nsqds[conn.addr]
	n.conn, n.err, n.due = nil, reason(err), r.fleet.Lost(now, conn.addr)
	if r.poller != nil {
		r.poller.Poke() // it may come back at another address
	}
	conn.log.Warn("connection to nsqd lost", "err", n.err, "retry_in", n.due.Sub(now).Round(time.Millisecond))
}

// publish shows the connections to Stats and IsStarved.
func (r *run) publish() {
	shown := &connections{open: make([]*consumerConn, 0, len(r.conns)), past: r.past}
	for _, conn := range r.conns {
		shown.open = append(shown.open, conn)
	}
	slices.SortFunc(shown.open, func(a, b *consumerConn) int { return cmp.Compare(a.id, b.id) })
	r.c.connected.Store(shown)
}

// warnIfTooFew says, once, that max_in_flight leaves handlers or nsqds idle.
func (r *run) warnIfTooFew() {
	handlers := r.c.delivery.hired()
	need := max(handlers, len(r.nsqds))
	if r.warnedOfFew || r.maxInFlight >= need || r.maxInFlight == 0 {
		return
	}
	r.warnedOfFew = true
	r.log.Warn("max_in_flight is below the number of handlers or of nsqds, some will wait",
		"max_in_flight", r.maxInFlight, "handlers", handlers, "nsqds", len(r.nsqds), "set_at_least", need)
}
