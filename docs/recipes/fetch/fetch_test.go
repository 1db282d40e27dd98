package fetch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReview(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		r, err := New(s.Context(), s.Config, s.NSQD.Addr())
		if err != nil {
			s.Fatal(err)
		}
		defer func() {
			if err := r.Close(s.Context()); err != nil {
				s.Error(err)
			}
		}()
		var seen []string
		review := func(_ context.Context, order []byte) error {
			if seen = append(seen, string(order)); string(order) == "c" && len(seen) < 10 {
				return errors.New("unreadable")
			}
			return nil
		}
		s.Publish(strings.Split("abcdefghijkl", "")...)
		if n, err := r.Review(s.Context(), review); n != 10 || err != nil {
			s.Errorf("the first time: %d, %v", n, err)
		}
		// Those that were not asked for have not been delivered. Nothing comes between reviews.
		scene.After(time.Hour)
		if st := s.Stats(); st.Delivered != 10 || st.Finished != 9 || st.Requeued != 1 || st.Depth != 3 || st.InFlight != 0 {
			s.Errorf("%+v", st)
		}
		if n, err := r.Review(s.Context(), review); n != 3 || err != nil {
			s.Errorf("the second time: %d, %v", n, err)
		}
		if n, err := r.Review(s.Context(), review); n != 0 || err != nil {
			s.Errorf("the third time: %d, %v", n, err)
		}
		slices.Sort(seen)
		if got := strings.Join(seen, ""); got != "abccdefghijkl" {
			s.Errorf("reviewed %s", got)
		}
	})
}

// The caller's context ends a review that waits.
func TestReviewEnds(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		r, err := New(s.Context(), s.Config, s.NSQD.Addr())
		if err != nil {
			s.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		if n, err := r.Review(ctx, nil); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("%d, %v", n, err)
		}
		if err := r.Close(s.Context()); err != nil {
			s.Error(err)
		}
	})
}
