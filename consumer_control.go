package nsq

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/rdyhq/nsq/internal/control"
	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/flow"
)

// defaultOutputBuffer is the output-buffer-timeout of an nsqd that was asked for
// none.
const defaultOutputBuffer = 250 * time.Millisecond

// controlConfig returns what the Config says about the Consumer's decisions.
func (c *Consumer) controlConfig() control.Config {
	return control.Config{
		Flow:  c.flowConfig(),
		Fleet: fleet.ConsumerConfig(c.cfg.LookupdPollInterval, rand.Uint64()), // #nosec G404 -- jitter
	}
}

// flowConfig returns what the Config says about RDY and backoff.
func (c *Consumer) flowConfig() flow.Config {
	cfg := c.cfg
	// Messages lie in nsqd's output buffer for up to this long, so an nsqd that
	// sends none for twice as long is idle.
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

// backoffPause asks the configured strategy for the pause of a backoff level. The
// strategy may be the user's code: if it panics, the pause is the longest.
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
