package link

import (
	"context"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// nopInterval is how often a NOP is sent while a handshake waits. nsqd closes a
// connection that is silent for two heartbeat intervals, of which the shortest is 1 s.
const nopInterval = time.Second

// awaitSubAfter waits until SubAfter. Meanwhile it reads nothing, since a reader of TLS
// or compressed data that is interrupted cannot go on. So it cannot see heartbeats, and
// sends a NOP every second instead. That also settles a NOP that is owed.
func (h *handshake) awaitSubAfter(ctx context.Context) error {
	for {
		left := time.Until(h.cfg.SubAfter)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(min(left, nopInterval))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		if left > nopInterval {
			h.owesNop = false
			if _, err := h.out.Write(wire.AppendNop(nil)); err != nil {
				return err
			}
		}
	}
}
