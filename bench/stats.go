package main

import (
	"math"
	"math/rand/v2"
	"slices"

	"golang.org/x/perf/benchmath"
)

// figure reads one number from the runs of a client in a case.
type figure func(runs []Result) float64

// medianOf returns the figure that is the median of a value of each run.
func medianOf(value func(Result) float64) figure {
	return func(runs []Result) float64 { return median(runs, value) }
}

// confidence is the level of all intervals.
const confidence = 0.95

// enoughRuns is the least number of runs for which an interval is given. Of fewer than six
// values, not even the least and the most enclose the median with a confidence of 95 %.
const enoughRuns = 6

// summary is a figure and the interval in which it lies.
type summary struct{ center, lo, hi float64 }

// medianWithInterval returns the median of a value of each run, and its interval. The
// interval assumes nothing about the distribution. Of fewer than enoughRuns runs it is the
// least and the most.
func medianWithInterval(runs []Result, value func(Result) float64) summary {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = value(r)
	}
	s := benchmath.AssumeNothing.Summary(benchmath.NewSample(values, &benchmath.DefaultThresholds), confidence)
	if len(runs) < enoughRuns {
		return summary{s.Center, slices.Min(values), slices.Max(values)}
	}
	return summary{s.Center, s.Lo, s.Hi}
}

// median returns the median of a value of each run.
func median(runs []Result, value func(Result) float64) float64 {
	return medianWithInterval(runs, value).center
}

// resamples is how often ratioWithInterval draws rounds.
const resamples = 1000

// ratioWithInterval returns a client's figure divided by that of another. The runs of both
// are in the order of the rounds in which they ran next to each other.
//
// The interval is a bootstrap of the rounds: it draws as many rounds as there are, with
// replacement, computes the ratio of the figures of both clients in those, and repeats. Both
// clients get the same rounds, since other load on the machine hits both. Without enoughRuns
// runs there is no interval: lo and hi are NaN. benchmath has no interval for a ratio.
func ratioWithInterval(ours, theirs []Result, value figure) summary {
	s := summary{value(ours) / value(theirs), math.NaN(), math.NaN()}
	n := min(len(ours), len(theirs))
	if n < enoughRuns {
		return s
	}
	rng := rand.New(rand.NewPCG(1, 1)) // #nosec G404 -- the same report for the same runs
	ratios := make([]float64, resamples)
	drawn := [2][]Result{make([]Result, n), make([]Result, n)}
	for i := range ratios {
		for j := range n {
			round := rng.IntN(n)
			drawn[0][j], drawn[1][j] = ours[round], theirs[round]
		}
		ratios[i] = value(drawn[0]) / value(drawn[1])
	}
	slices.Sort(ratios)
	const outside = (1 - confidence) / 2
	s.lo = ratios[int(outside*resamples)]
	s.hi = ratios[resamples-1-int(outside*resamples)]
	return s
}
