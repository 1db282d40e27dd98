package nsq

import (
	"math"
	"math/rand/v2"
	"time"
)

// defaultBackoffMultiplier is the unit of a strategy outside a Config, and the
// default of BackoffMultiplier.
const defaultBackoffMultiplier = time.Second

// BackoffStrategy computes how long a consumer pauses after failures.
type BackoffStrategy interface {
	// Calculate returns the pause at a backoff level. Levels start at 1; a failure
	// raises the level by one, a success lowers it by one. The consumer treats a
	// negative pause as 0 and caps a pause at MaxBackoffDuration.
	//
	// Consumers that share a strategy call Calculate from several goroutines. A
	// Consumer waits for the result, so Calculate must not block, nor call back
	// into the Consumer. If Calculate panics, the pause is MaxBackoffDuration.
	Calculate(attempt int) time.Duration
}

// BackoffPolicy is how a Consumer reacts when handlers fail.
type BackoffPolicy string

const (
	// BackoffStep is go-nsq's policy. After a failure the whole Consumer pauses, for
	// as long as BackoffStrategy says. Then it takes one message at a time: a success
	// lowers the level, a failure raises it.
	BackoffStep BackoffPolicy = "step"
	// BackoffAdaptive lowers the limit of messages in flight by an eighth at each
	// failure and raises it a little with each success, up to MaxInFlight, so that
	// occasional failures cost little. If 1 % of messages fail, 98 % of the throughput
	// remains; at 5 %, four fifths; at 50 %, a twentieth. Once the limit is one message
	// at a time, a failure pauses the Consumer as with BackoffStep.
	BackoffAdaptive BackoffPolicy = "adaptive"
)

// ExponentialStrategy doubles the pause with every level: BackoffMultiplier ×
// 2^attempt. It is the default.
//
// The zero value is ready to use. In a Config it uses that Config's
// BackoffMultiplier, elsewhere 1 s.
type ExponentialStrategy struct {
	unit *time.Duration // the BackoffMultiplier of the Config that holds the strategy; nil outside a Config
}

// Calculate returns BackoffMultiplier × 2^attempt, or the largest time.Duration if
// that does not fit. A negative BackoffMultiplier or attempt counts as 0. Calculate is
// safe for concurrent use.
func (s *ExponentialStrategy) Calculate(attempt int) time.Duration {
	return exponential(s.unit, attempt)
}

// FullJitterStrategy draws the pause at random below that of ExponentialStrategy, so
// that consumers that failed together do not come back together.
//
// The zero value is ready to use. In a Config it uses that Config's
// BackoffMultiplier, elsewhere 1 s.
type FullJitterStrategy struct {
	unit *time.Duration // as in ExponentialStrategy
}

// Calculate returns a pause from [0, BackoffMultiplier × 2^attempt), each with the
// same probability, and 0 if that range is empty. An attempt below 0 counts as 0.
// Calculate is safe for concurrent use.
func (s *FullJitterStrategy) Calculate(attempt int) time.Duration {
	return jitter(exponential(s.unit, attempt), rand.Int64N)
}

// draw is Calculate with rng as the source of randomness.
func (s *FullJitterStrategy) draw(attempt int, rng *rand.Rand) time.Duration {
	return jitter(exponential(s.unit, attempt), rng.Int64N)
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

// bindStrategy returns the strategy that a Config keeps in place of s. A strategy of
// this package is replaced by a new one that uses unit, whichever Config it belonged to
// before. A user's own strategy is kept. nil becomes an ExponentialStrategy.
func bindStrategy(s BackoffStrategy, unit *time.Duration) BackoffStrategy {
	switch s.(type) {
	case nil, *ExponentialStrategy:
		return &ExponentialStrategy{unit: unit}
	case *FullJitterStrategy:
		return &FullJitterStrategy{unit: unit}
	}
	return s
}
