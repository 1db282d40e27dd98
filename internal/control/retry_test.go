package control

import (
	"errors"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/flow"
)

// An nsqd that waits for a regular poll is told as lost without a time, not with one that
// is centuries ago.
func TestRetryWithARegularPoll(t *testing.T) {
	m := New(Config{
		Flow:  flow.Config{MaxInFlight: 1, Idle: time.Second},
		Fleet: fleet.Config{MinDelay: time.Millisecond, MaxDelay: 50 * time.Millisecond, MaxDials: 9, Grace: time.Hour},
	})
	m.Discovered(epoch, responses(epoch, []string{"a"}, true))
	m.Tick(epoch)
	m.DialFailed(epoch, 1, fleet.Unreachable, errors.New("no"))
	for _, c := range m.Take(nil) {
		if told, ok := c.(Tell); ok {
			if failed, ok := told.Event.(DialFailed); ok && failed.Retry != 0 {
				t.Errorf("retry in %v, want 0", failed.Retry)
			}
		}
	}
	if n := m.NSQDs()[0]; !n.Due.IsZero() {
		t.Errorf("next dial at %v, want zero", n.Due)
	}
}
