package nsq

import (
	"math"
	"math/rand/v2"
	"time"
)

// defaultBackoffMultiplier is the unit of a strategy that is in no Config;
// that of a new Config is the same.
const defaultBackoffMultiplier = time.Second

// BackoffStrategy tells how long a consumer pauses after failures.
type BackoffStrategy interface {
	// Calculate returns the pause for a backoff level. Levels start at 1; each
	// failure adds one, each success takes one off. A pause below 0 is 0, and
	// the Config's MaxBackoffDuration caps it. Consumers that share a strategy
	// call it from several goroutines. A Consumer waits for it, so it must not
	// block, nor call back into the Consumer; if it panics the pause is
	// MaxBackoffDuration.
	Calculate(attempt int) time.Duration
}

// BackoffPolicy is what failures of handlers do to a Consumer.
type BackoffPolicy string

const (
	// BackoffStep pauses the whole Consumer after each failure, for as long as
	// BackoffStrategy says, and then takes one message at a time: its success
	// goes one level down, a failure one up. It is go-nsq's policy.
	BackoffStep BackoffPolicy = "step"
	// BackoffAdaptive takes an eighth of MaxInFlight away at each failure and
	// gives it back with the next successes, so that failures now and then cost
	// next to nothing: 1 % of them leave 98 % of the throughput, 5 % four
	// fifths, 50 % a twentieth. When all that is left is one message at a time,
	// a failure pauses as with BackoffStep.
	BackoffAdaptive BackoffPolicy = "adaptive"
)

// ExponentialStrategy doubles the pause with every level: BackoffMultiplier ×
// 2^attempt. It is the default.
//
// The zero value is ready to use. In a Config it follows that Config's
// BackoffMultiplier, elsewhere the unit is 1 s.
type ExponentialStrategy struct {
	unit *time.Duration // the BackoffMultiplier of the Config that holds the strategy; nil outside a Config
}

// Calculate returns BackoffMultiplier × 2^attempt, the largest time.Duration
// if that does not fit, and never less than 0. An attempt below 0 counts as 0.
// It is safe for concurrent use.
func (s *ExponentialStrategy) Calculate(attempt int) time.Duration {
	return exponential(s.unit, attempt)
}

// FullJitterStrategy draws the pause at random below that of
// ExponentialStrategy, so that consumers which failed together do not come
// back together.
//
// The zero value is ready to use. In a Config it follows that Config's
// BackoffMultiplier, elsewhere the unit is 1 s.
type FullJitterStrategy struct {
	unit *time.Duration // as in ExponentialStrategy
}

// Calculate returns a pause from [0, BackoffMultiplier × 2^attempt), every one
// equally likely; 0 if that range is empty. An attempt below 0 counts as 0. It
// is safe for concurrent use.
func (s *FullJitterStrategy) Calculate(attempt int) time.Duration {
	return jitter(exponential(s.unit, attempt), rand.Int64N)
}

// draw is Calculate with a source of chance.
func (s *FullJitterStrategy) draw(attempt int, chance *rand.Rand) time.Duration {
	return jitter(exponential(s.unit, attempt), chance.Int64N)
}

func jitter(limit time.Duration, below func(int64) int64) time.Duration {
	if limit == 0 {
		return 0
	}
	return time.Duration(below(int64(limit)))
}

// exponential returns unit × 2^attempt, kept within 0 and the largest
// time.Duration. A nil unit is defaultBackoffMultiplier.
func exponential(unit *time.Duration, attempt int) time.Duration {
	multiplier := defaultBackoffMultiplier
	if unit != nil {
		multiplier = max(*unit, 0)
	}
	attempt = max(attempt, 0)
	if multiplier > math.MaxInt64>>attempt {
		return math.MaxInt64
	}
	return multiplier << attempt
}

// bindStrategy returns the strategy that a Config keeps in place of s. A strategy
// of this package becomes a new value that follows unit, whichever Config it
// followed before. A strategy of the user stays as it is; nil is an
// ExponentialStrategy.
func bindStrategy(s BackoffStrategy, unit *time.Duration) BackoffStrategy {
	switch s.(type) {
	case nil, *ExponentialStrategy:
		return &ExponentialStrategy{unit: unit}
	case *FullJitterStrategy:
		return &FullJitterStrategy{unit: unit}
	}
	return s
}
