package nsq

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/rdyhq/nsq/internal/control"
	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/flow"
)

// defaultOutputBuffer is nsqd's output-buffer-timeout if the Config does not set one.
const defaultOutputBuffer = 250 * time.Millisecond

// controlConfig returns the configuration of the Consumer's control.Machine.
func (c *Consumer) controlConfig() control.Config {
	return control.Config{
		Flow:  c.flowConfig(),
		Fleet: fleet.ConsumerConfig(c.cfg.LookupdPollInterval, rand.Uint64()), // #nosec G404 -- jitter

		Shared: c.shared,
	}
}

// flowConfig returns the configuration of RDY and backoff.
func (c *Consumer) flowConfig() flow.Config {
	cfg := c.cfg
	// Messages lie in nsqd's output buffer for up to this long, so an nsqd that
	// sends none for twice as long is idle.
	buffered := cmp.Or(max(cfg.OutputBufferTimeout, 0), defaultOutputBuffer)
	return flow.Config{
		MaxInFlight: cfg.MaxInFlight,
		MaxBytes:    cfg.MaxBytesInFlight,
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
