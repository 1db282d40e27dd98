package nsq

import (
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"
)

type constantStrategy time.Duration

func (s constantStrategy) Calculate(int) time.Duration { return time.Duration(s) }

func TestExponentialStrategy(t *testing.T) {
	const largest = time.Duration(math.MaxInt64)
	for _, tc := range []struct {
		multiplier time.Duration
		attempt    int
		want       time.Duration
	}{
		{time.Second, 0, time.Second},
		{time.Second, 1, 2 * time.Second},
		{time.Second, 3, 8 * time.Second},
		{time.Second, 5, 32 * time.Second},
		{100 * time.Millisecond, 1, 200 * time.Millisecond},
		{time.Second, 33, time.Second << 33},
		{time.Second, 34, largest},
		{time.Second, 40, largest},
		{time.Second, 64, largest},
		{time.Second, math.MaxInt, largest},
		{time.Second, -1, time.Second},
		{time.Second, math.MinInt, time.Second},
		{1, 62, 1 << 62},
		{1, 63, largest},
		{0, 5, 0},
		{0, math.MaxInt, 0},
		{-time.Second, 5, 0}, // Validate refuses it
		{largest, 0, largest},
		{largest, 1, largest},
	} {
		c := NewConfig()
		c.BackoffMultiplier = tc.multiplier
		if got := c.BackoffStrategy.Calculate(tc.attempt); got != tc.want {
			t.Errorf("%v at %d = %v, want %v", tc.multiplier, tc.attempt, got, tc.want)
		}
	}
}

// The strategies agree with arithmetic that cannot overflow.
func TestStrategiesRandomly(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		multiplier := time.Duration(r.Uint64() >> (1 + r.IntN(63)))
		attempt := r.IntN(90) - 10
		if r.IntN(10) == 0 {
			attempt = int(r.Uint64())
		}
		exact := new(big.Int).Lsh(big.NewInt(int64(multiplier)), uint(min(max(attempt, 0), 200)))
		want := time.Duration(math.MaxInt64)
		if exact.IsInt64() {
			want = time.Duration(exact.Int64())
		}
		c := NewConfig()
		c.BackoffMultiplier = multiplier
		if got := c.BackoffStrategy.Calculate(attempt); got != want {
			t.Fatalf("exponential, %v at %d = %v, want %v", multiplier, attempt, got, want)
		}
		got := (&FullJitterStrategy{unit: &c.BackoffMultiplier}).Calculate(attempt)
		if got < 0 || got >= want && want > 0 || want == 0 && got != 0 {
			t.Fatalf("full jitter, %v at %d = %v, not in [0, %v)", multiplier, attempt, got, want)
		}
	}
}

func TestFullJitterIsUniform(t *testing.T) {
	c := NewConfig()
	c.BackoffMultiplier = 5 // at level 1 the range is 0 to 9
	mustSet(c, "backoff_strategy", "full_jitter")
	const draws = 100_000
	var count [10]int
	for range draws {
		count[c.BackoffStrategy.Calculate(1)]++
	}
	for value, n := range count {
		// The expected count is 10,000 with a standard deviation of 95. The bounds
		// are more than ten of those away, which does not happen by chance.
		if n < 9_000 || n > 11_000 {
			t.Errorf("%d drawn %d times of %d, want about a tenth", value, n, draws)
		}
	}
}

func TestZeroStrategies(t *testing.T) {
	if got := (&ExponentialStrategy{}).Calculate(2); got != 4*time.Second {
		t.Errorf("exponential at 2 = %v, want 4s", got)
	}
	if got := (&FullJitterStrategy{}).Calculate(2); got < 0 || got >= 4*time.Second {
		t.Errorf("full jitter at 2 = %v, want [0, 4s)", got)
	}
	if got := NewConfig().BackoffMultiplier; got != defaultBackoffMultiplier {
		t.Errorf("outside a Config the multiplier is %v, in a new one %v", defaultBackoffMultiplier, got)
	}
}

// D29: a strategy uses the multiplier of the Config that holds it. In a consumer's copy
// of a Config it uses that of the copy.
func TestStrategyFollowsItsConfig(t *testing.T) {
	shared := &ExponentialStrategy{}
	for name, install := range map[string]func(*Config){
		"default":             func(*Config) {},
		"by name":             func(c *Config) { mustSet(c, "backoff_strategy", "exponential") },
		"by empty name":       func(c *Config) { mustSet(c, "backoff_strategy", "") },
		"by value":            func(c *Config) { mustSet(c, "backoff_strategy", &ExponentialStrategy{}) },
		"assigned":            func(c *Config) { c.BackoffStrategy = &ExponentialStrategy{} },
		"assigned nil":        func(c *Config) { c.BackoffStrategy = nil },
		"assigned typed nil":  func(c *Config) { c.BackoffStrategy = (*ExponentialStrategy)(nil) },
		"of another Config":   func(c *Config) { c.BackoffStrategy = NewConfig().BackoffStrategy },
		"shared with another": func(c *Config) { c.BackoffStrategy = shared },
	} {
		c := NewConfig()
		install(c)
		c.BackoffMultiplier = 3 * time.Second
		kept := c.clone()
		c.BackoffMultiplier = time.Hour
		if got := kept.BackoffStrategy.Calculate(1); got != 6*time.Second {
			t.Errorf("%s: pause %v, want 6s", name, got)
		}
	}
	if !reflect.DeepEqual(shared, &ExponentialStrategy{}) {
		t.Error("installing a strategy changed the caller's value")
	}

	c := NewConfig()
	mustSet(c, "backoff_strategy", "full_jitter")
	c.BackoffMultiplier = 0
	if got := c.clone().BackoffStrategy.Calculate(10); got != 0 {
		t.Errorf("full jitter with multiplier 0: pause %v", got)
	}
	c.BackoffStrategy = constantStrategy(time.Minute)
	if got := c.clone().BackoffStrategy; got != constantStrategy(time.Minute) {
		t.Errorf("a strategy of the user became %v", got)
	}
}

// Consumers of one Config call Calculate at the same time. The race detector watches.
func TestStrategiesConcurrently(t *testing.T) {
	c := NewConfig()
	mustSet(c, "backoff_strategy", "full_jitter")
	strategies := []BackoffStrategy{c.BackoffStrategy, &FullJitterStrategy{}, c.clone().BackoffStrategy}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for attempt := range 1000 {
				for _, s := range strategies {
					if got := s.Calculate(attempt); got < 0 {
						t.Errorf("pause %v at %d", got, attempt)
					}
				}
			}
		})
	}
	wg.Wait()
}
