package lease

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if left, half := Left(ctx), Half(ctx); left != time.Minute || half != 30*time.Second {
			t.Errorf("a minute: %v left, half is %v", left, half)
		}
		if err := Sleep(t.Context(), 2*time.Minute); err != nil {
			t.Fatal(err)
		}
		if left := Left(ctx); left != 0 {
			t.Errorf("%v left after the end", left)
		}
		if left := Left(context.Background()); left != Endless {
			t.Errorf("%v left without a deadline", left)
		}
	})
}

func TestSleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, boom)
		defer cancel()
		start := time.Now()
		for _, d := range []time.Duration{time.Hour, time.Hour, 0} { // the context has ended after the first
			if err := Sleep(ctx, d); !errors.Is(err, boom) {
				t.Errorf("slept %v: %v, want the cause", d, err)
			}
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("slept for %v, want a second", took)
		}
	})
}
