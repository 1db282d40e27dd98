package main

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

// runsAt returns runs of one second each, with the given rates.
func runsAt(rates ...int) (runs []Result) {
	for _, n := range rates {
		runs = append(runs, Result{Messages: n, Seconds: 1})
	}
	return runs
}

func TestMedianWithInterval(t *testing.T) {
	for _, test := range []struct {
		rates []int
		want  summary
	}{
		{[]int{3}, summary{3, 3, 3}},
		{[]int{1, 9, 2}, summary{2, 1, 9}},
		{[]int{1, 3}, summary{2, 1, 3}},
		{[]int{6, 1, 3, 4, 2, 9}, summary{3.5, 1, 9}},
		// Of eleven values, the 2nd and the 9th enclose the median with 96 %.
		{[]int{11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, summary{6, 2, 9}},
	} {
		if got := medianWithInterval(runsAt(test.rates...), rate); got != test.want {
			t.Errorf("%v: %v, want %v", test.rates, got, test.want)
		}
	}
}

func TestRatioWithInterval(t *testing.T) {
	// Both clients are hit by the same load in the same rounds, so the ratio is certain.
	theirs, ours := runsAt(100, 50, 80, 90, 20, 70), runsAt(300, 150, 240, 270, 60, 210)
	if got := ratioWithInterval(ours, theirs, medianOf(rate)); got != (summary{3, 3, 3}) {
		t.Errorf("proportional runs: %v", got)
	}
	got := ratioWithInterval(runsAt(300, 310, 290, 305, 295, 200), theirs, medianOf(rate))
	if !(got.lo < got.center && got.center < got.hi) || got.lo < 200.0/100 || got.hi > 310.0/20 {
		t.Errorf("noisy runs: %v", got)
	}
	if again := ratioWithInterval(runsAt(300, 310, 290, 305, 295, 200), theirs, medianOf(rate)); again != got {
		t.Errorf("the same runs again: %v, before %v", again, got)
	}
	if got := ratioWithInterval(ours[:5], theirs[:5], medianOf(rate)); got.center != 3 || !math.IsNaN(got.lo) || !math.IsNaN(got.hi) {
		t.Errorf("too few runs for an interval: %v", got)
	}
}

// The quantiles of all runs together are exact to the two digits that a histogram has, also
// after a report was written and read.
func TestPooled(t *testing.T) {
	even, odd := newAges(), newAges()
	for i := 1; i <= 1000; i++ {
		a := even
		if i%2 == 1 {
			a = odd
		}
		a.add(time.Duration(i) * 100 * time.Microsecond)
	}
	data, err := json.Marshal([]Result{{Ages: even}, {Ages: odd}})
	if err != nil {
		t.Fatal(err)
	}
	var runs []Result
	if err := json.Unmarshal(data, &runs); err != nil {
		t.Fatal(err)
	}
	for q, want := range map[float64]float64{0.5: 50_000, 0.99: 99_000, 0.999: 99_900, 1: 100_000} {
		if got := pooled(q)(runs); math.Abs(got/want-1) > 0.01 {
			t.Errorf("quantile %v: %v µs, want %v", q, got, want)
		}
	}
	if got := even.quantile(0.5); math.Abs(float64(got)/float64(50*time.Millisecond)-1) > 0.01 {
		t.Errorf("median of a run: %v", got)
	}
	if got := pooled(0.5)(append(runs, Result{})); !math.IsNaN(got) {
		t.Errorf("a run without ages: %v", got)
	}
}
