package figures

import (
	"math"
	"testing"
	"time"
)

func TestCount(t *testing.T) {
	for _, tc := range []struct {
		n    int64
		want string
	}{
		{-1, "-1"}, {0, "0"}, {999, "999"}, {1000, "1,000"}, {8412, "8,412"}, {100_001, "100,001"}, {999_999, "999,999"},
		{1_000_000, "1.00 M"}, {1_289_999, "1.28 M"}, {9_999_999, "9.99 M"}, {12_345_678, "12.3 M"}, {999_999_999, "999 M"},
		{1_000_000_000, "1.00 G"}, {math.MaxInt64, "9.22 E"},
	} {
		if got := Count(tc.n); got != tc.want {
			t.Errorf("%d: got %q, want %q", tc.n, got, tc.want)
		}
	}
}

func TestRate(t *testing.T) {
	for _, tc := range []struct {
		rate float64
		want string
	}{
		{-1, "0"}, {0, "0"}, {0.01, "<0.1"}, {0.05, "0.1"}, {0.4, "0.4"}, {9.94, "9.9"}, {9.96, "10"}, {24.8, "25"},
		{4919.7, "4,920"}, {2e6, "2.00 M"},
	} {
		if got := Rate(tc.rate); got != tc.want {
			t.Errorf("%v: got %q, want %q", tc.rate, got, tc.want)
		}
	}
}

func TestDuration(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0 s"}, {0, "0 s"}, {time.Millisecond, "1 s"}, {59 * time.Second, "59 s"}, {60 * time.Second, "1 min"},
		{59*time.Second + 1, "1 min"}, {78 * time.Second, "1 min 18 s"}, {time.Hour - 1, "1 h"}, {time.Hour + 1, "1 h 1 min"},
		{2*time.Hour + 5*time.Minute, "2 h 5 min"}, {day - time.Second, "1 d"}, {40*day + 90*time.Minute, "40 d 2 h"},
	} {
		if got := Duration(tc.d); got != tc.want {
			t.Errorf("%v: got %q, want %q", tc.d, got, tc.want)
		}
	}
}
