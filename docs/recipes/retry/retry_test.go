package retry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBlip = errors.New("connection reset")

// charges runs the recipe for an hour with one order. It returns when the bank was asked,
// and how nsqd sees the order in the end.
func charges(t *testing.T, results ...error) (at []time.Duration, st nsqtest.Stats) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		start := time.Now()
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), func(context.Context, []byte) error {
				at = append(at, time.Since(start).Round(time.Minute))
				if len(at) > len(results) {
					return nil
				}
				return results[len(at)-1]
			})
		})
		s.Publish("pen")
		scene.After(time.Hour)
		stop()
		st = s.Stats()
	})
	return at, st
}

func TestRetries(t *testing.T) {
	const m = time.Minute
	for _, tt := range []struct {
		name     string
		results  []error
		at       []time.Duration
		requeued int
	}{
		{"a blip costs no attempt", []error{errBlip, errBlip}, []time.Duration{0, 0, 0}, 0},
		{"a failure waits longer each time", []error{errBlip, errBlip, errBlip, errBlip, errBlip, errBlip}, []time.Duration{0, 0, 0, m, m, m, 3 * m}, 2},
		{"a planned retry comes when it was planned", []error{ErrBusy, ErrBusy}, []time.Duration{0, 5 * m, 10 * m}, 2},
		{"what no retry helps is not tried again", []error{ErrClosed}, []time.Duration{0}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at, st := charges(t, tt.results...)
			if !slices.Equal(at, tt.at) || st.Finished != 1 || st.Requeued != tt.requeued {
				t.Errorf("charged at %v, want %v; %+v", at, tt.at, st)
			}
		})
	}
}
