// Package lease says how long a middleware may wait with a message in hand.
package lease

import (
	"context"
	"math"
	"time"
)

// Endless is how long the lease of a message lasts that no Consumer delivered.
const Endless time.Duration = math.MaxInt64

// Left returns how long the lease of the message with this context lasts, at least 0. An
// earlier deadline of the context counts as the end of the lease.
func Left(ctx context.Context) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return Endless
	}
	return max(time.Until(end), 0)
}

// Half returns half of what is left of a lease. A middleware waits for no longer than that,
// so that the handler has the other half.
func Half(ctx context.Context) time.Duration { return Left(ctx) / 2 }

// Sleep waits for d. If ctx ends before that, Sleep returns the cause at once.
func Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil || d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
