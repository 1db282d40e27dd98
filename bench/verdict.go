package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// committed holds the expectation of each case of a quick run, as last measured.
//
//go:embed ratios.json
var committed []byte

// expectation is what a case is compared with.
type expectation struct {
	CPU    float64 // go-nsq's CPU per message divided by ours
	Allocs float64 // our allocations per message
	Writes float64 // our write system calls per message
}

const (
	// tolerance is the fraction of the expected CPU ratio that still passes. Short
	// runs on a busy machine vary by a third.
	tolerance = 0.6
	// slack is how many allocations or writes per message above the expectation
	// still pass.
	slack = 0.05
)

var errWorse = errors.New("worse than the expectations in ratios.json")

// expectationOf returns a measurement in the form in which ratios.json holds it. ok
// is false unless both go-nsq and rdy were measured.
func expectationOf(o measurement) (e expectation, ok bool) {
	var theirs, ours *clientMeasurement
	for i := range o.Clients {
		switch o.Clients[i].Client {
		case goNSQ:
			theirs = &o.Clients[i]
		case rdy:
			ours = &o.Clients[i]
		}
	}
	if theirs == nil || ours == nil {
		return e, false
	}
	return expectation{
		CPU:    median(theirs.Runs, cpuPerMessage) / median(ours.Runs, cpuPerMessage),
		Allocs: median(ours.Runs, allocsPerMessage),
		Writes: median(ours.Runs, writesPerMessage),
	}, true
}

// verdict compares measurements with the committed expectations and prints both. It
// returns errWorse if one is worse.
func verdict(w io.Writer, measurements []measurement) error {
	var want map[string]expectation
	if err := json.Unmarshal(committed, &want); err != nil {
		return fmt.Errorf("ratios.json: %w", err)
	}
	worse := 0
	for _, o := range measurements {
		got, ok := expectationOf(o)
		e, known := want[o.Case]
		if !ok || !known {
			continue
		}
		word := "ok   "
		// Writes have a proportional tolerance as well, for cases that make about one
		// write per message.
		if got.CPU < tolerance*e.CPU || got.Allocs > e.Allocs+slack || got.Writes > 1.5*e.Writes+slack {
			word = "WORSE"
			worse++
		}
		_, _ = fmt.Fprintf(w, "%s %-44s go-nsq's CPU ÷ ours %s (want %s), allocations %s (%s), writes %s (%s)\n", word, o.Case,
			short(got.CPU), short(e.CPU), short(got.Allocs), short(e.Allocs), short(got.Writes), short(e.Writes))
	}
	if worse > 0 {
		return errWorse
	}
	return nil
}
