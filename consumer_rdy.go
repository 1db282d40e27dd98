package nsq

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/flow"
)

const (
	// defaultOutputBuffer is the output-buffer-timeout of an nsqd that was
	// asked for none.
	defaultOutputBuffer = 250 * time.Millisecond
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
		Backoff:     c.backoffPause,
		MaxBackoff:  cfg.MaxBackoffDuration,
		Adaptive:    cfg.BackoffPolicy == BackoffAdaptive,
		Seed:        rand.Uint64(), // #nosec G404 -- jitter
	}
}

// backoffPause is the configured strategy, which may be the user's own code: if it
// panics, the backoffPause is the longest.
func (c *Consumer) backoffPause(level int, chance *rand.Rand) (d time.Duration) {
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

// fleetConfig is what the Config says of who is to be connected.
func (c *Consumer) fleetConfig() fleet.Config {
	return fleet.Config{
		MinDelay:     redialDelay,
		MaxDelay:     c.cfg.LookupdPollInterval,
		RefusedDelay: refusedDelay,
		MaxDials:     maxDials,
		Grace:        missedPolls * c.cfg.LookupdPollInterval,
		Seed:         rand.Uint64(), // #nosec G404 -- jitter
	}
}
