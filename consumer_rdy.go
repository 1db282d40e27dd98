package nsq

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/rdyhq/nsq/internal/flow"
)

const (
	// The msg-timeout and max-msg-timeout of an nsqd that does not tell its own.
	defaultMsgTimeout    = time.Minute
	defaultMaxMsgTimeout = 15 * time.Minute
	// defaultOutputBuffer is the output-buffer-timeout of an nsqd that was
	// asked for none.
	defaultOutputBuffer = 250 * time.Millisecond
)

// RDYStrategy is how a Consumer shares max_in_flight over its nsqds.
type RDYStrategy string

const (
	// RDYAdaptive follows the traffic: nsqds that have messages get what those
	// without do not use, which keep one, to show when that changes. Without
	// traffic the split is even. With fewer slots than nsqds, or hardly more
	// when one could use them all, idle nsqds take turns for an eighth of the
	// slots and those with messages have the others.
	RDYAdaptive RDYStrategy = "adaptive"
	// RDYUniform is an even split whatever the traffic, as that of go-nsq, but
	// with the remainder handed out; with fewer slots than nsqds they go round.
	RDYUniform RDYStrategy = "uniform"
)

// flowConfig is what the Config says of RDY and backoff.
func (c *Consumer) flowConfig() flow.Config {
	cfg := c.cfg
	// Up to this long messages lie in nsqd's output buffer while it sends
	// none, so twice that without any is idleness.
	buffered := cmp.Or(max(cfg.OutputBufferTimeout, 0), defaultOutputBuffer)
	return flow.Config{
		MaxInFlight: cfg.MaxInFlight,
		Uniform:     cfg.RDYStrategy == RDYUniform,
		Idle:        min(2*buffered, cfg.LowRdyIdleTimeout),
		Turn:        cfg.LowRdyTimeout,
		Look:        cfg.RDYRedistributeInterval,
		Backoff:     c.pause,
		MaxBackoff:  cfg.MaxBackoffDuration,
		Adaptive:    cfg.BackoffPolicy == BackoffAdaptive,
		Seed:        rand.Uint64(), // #nosec G404 -- jitter
	}
}

// pause is the configured strategy, which may be the user's own code: if it
// panics, the pause is the longest.
func (c *Consumer) pause(level int, chance *rand.Rand) (d time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("backoff strategy panicked, pausing for max_backoff_duration", "panic", p, "level", level)
			d = c.cfg.MaxBackoffDuration
		}
	}()
	if s, ok := c.cfg.BackoffStrategy.(*FullJitterStrategy); ok {
		return s.draw(level, chance)
	}
	return c.cfg.BackoffStrategy.Calculate(level)
}

// watch lets flow look at what the connections do, if the time has come, and
// writes the RDYs that it has decided on.
func (r *run) watch(now time.Time) {
	if due, ok := r.flow.Next(); ok && !due.After(now) {
		for _, conn := range r.conns {
			s := conn.link.Sample()
			conn.seen = s.Received
			r.flow.Sample(now, conn.id, flow.Sample{
				Received: s.Received, InFlight: s.InFlight, Peak: s.Peak, LastMessage: s.LastMessage,
			})
		}
		r.flow.Tick(now)
	}
	r.applyFlow(now)
}

// applyFlow writes the RDYs that flow has decided on, in its order.
func (r *run) applyFlow(now time.Time) {
	r.decisions = r.flow.Take(now, r.decisions[:0])
	s := &r.c.signals
	s.epoch.Store(r.flow.Epoch())
	s.reporting.Store(r.flow.Reporting())
	if asleep := r.flow.Asleep(); asleep != s.asleep.Load() {
		r.sleep(now, asleep)
	}
	for _, d := range r.decisions {
		if conn := r.conns[d.Conn]; conn != nil {
			conn.link.Rdy(d.RDY)
		}
	}
	r.logBackoff(now)
}

// sleep has readers report the next message, or not. One that came after flow
// looked and before the signal was set would go unreported, and with a slow
// handler there may be no other for long: so look again.
func (r *run) sleep(now time.Time, asleep bool) {
	r.c.signals.asleep.Store(asleep)
	if !asleep {
		return
	}
	for _, conn := range r.conns {
		if conn.link.Stats().Received != conn.seen {
			r.flow.Wake(now)
		}
	}
}

// wake is the first message after a time without any.
func (r *run) wake(now time.Time) {
	if r.phase == active {
		r.flow.Wake(now)
	}
}

// result is what became of a message.
func (r *run) result(now time.Time, id flow.ID, outcome flow.Result, epoch uint32) {
	if r.phase == active {
		r.flow.Result(now, id, outcome, epoch)
		r.applyFlow(now)
	}
}

// logBackoff says when backoff begins, changes and ends.
func (r *run) logBackoff(now time.Time) {
	level, until := r.flow.BackoffLevel()
	if level == r.level {
		return
	}
	r.level = level
	if level == 0 {
		r.log.Info("backoff is over")
		return
	}
	r.log.Warn("backing off", "level", level, "for", max(until.Sub(now), 0))
}
