package control

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/flow"
)

// A change of another flag, after the listening flag was raised and before the samples
// that this takes, does not make the machine forget them.
func TestOtherFlagsKeepTheSecondLook(t *testing.T) {
	now := epoch
	m := New(Config{
		Flow: flow.Config{
			MaxInFlight: 8, Adaptive: true, Idle: time.Second, MaxBackoff: time.Minute,
			Backoff: func(int, *rand.Rand) time.Duration { return time.Second },
		},
		Fleet: fleet.Config{MinDelay: time.Second, MaxDelay: time.Second, RefusedDelay: time.Second, MaxDials: 9},
	})
	flags := func() (last SetFlags) {
		for _, c := range m.Take(nil) {
			if f, ok := c.(SetFlags); ok {
				last = f
			}
		}
		return last
	}
	for i, addr := range []string{"a", "b"} {
		m.Connect(now, addr, Call(i+1))
		m.Tick(now)
		m.Dialled(now, ID(i+1), Limits{Lease: time.Hour})
		m.Tick(now)
	}
	for !flags().Listening {
		due, _ := m.Next()
		now = due
		m.Tick(now)
	}
	m.Result(now, 1, flow.Failure, 0)
	if f := flags(); !f.Reporting || !f.Listening {
		t.Fatalf("%+v: the test wants a change of reporting alone", f)
	}
	if due, ok := m.Next(); !ok || due.After(now) || !m.Needs(now).Samples {
		t.Errorf("next due at %v, %v; needs %+v", due, ok, m.Needs(now))
	}
}
