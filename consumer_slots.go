package nsq

import (
	"time"

	"github.com/rdyhq/nsq/internal/sharing"
)

// slotUse passes what the Consumer does with its max_in_flight to report, on the goroutine of
// its run loop. By then the Consumer has adopted every ChangeMaxInFlight from before the call,
// since the loop runs events in order. slotUse returns false if the Consumer has stopped.
func (c *Consumer) slotUse(report func(sharing.Sample)) bool {
	return c.post(func(now time.Time) { report(c.loop.slotUse(now)) })
}

// slotUse returns what the Consumer does with its max_in_flight. It samples the connections
// first: without that, the machine would not know which slots have become free.
func (l *runLoop) slotUse(now time.Time) sharing.Sample {
	l.sampleAll(now)
	use := sharing.Sample{Held: l.machine.Held(), Received: l.past.sum.Received}
	for _, conn := range l.conns {
		s := conn.link.Stats()
		use.Received += s.Received
		if !conn.draining.Load() {
			use.Conns = append(use.Conns, sharing.Conn{RDY: s.RDY, InFlight: s.InFlight, Peak: conn.peak})
		}
		conn.peak = s.InFlight
	}
	return use
}
