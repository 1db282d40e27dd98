package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// committed says for each case of a quick run how many times our CPU per message
// go-nsq's was when somebody measured it last, and what else a message cost.
//
//go:embed ratios.json
var committed []byte

// expectation is what is committed of a case.
type expectation struct {
	CPU    float64 // go-nsq's CPU per message over ours
	Allocs float64 // per message
	Writes float64 // system calls per message
}

const (
	// tolerance is how much less the ratio may be: short runs on a machine that
	// has other things to do vary by a third.
	tolerance = 0.6
	// slack is how many more allocations or writes a message may cost.
	slack = 0.05
)

var errWorse = errors.New("worse than what is committed in ratios.json")

// expectationOf is what an outcome would be committed as.
func expectationOf(o outcome) (e expectation, ok bool) {
	var theirs, ours *clientOutcome
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

// verdict compares outcomes with what is committed.
func verdict(w io.Writer, outcomes []outcome) error {
	var want map[string]expectation
	if err := json.Unmarshal(committed, &want); err != nil {
		return fmt.Errorf("ratios.json: %w", err)
	}
	worse := 0
	for _, o := range outcomes {
		got, ok := expectationOf(o)
		e, known := want[o.Case]
		if !ok || !known {
			continue
		}
		word := "ok   "
		// A case that is all wake-ups makes a write for each message anyway.
		if got.CPU < tolerance*e.CPU || got.Allocs > e.Allocs+slack || got.Writes > 1.5*e.Writes+slack {
			word = "WORSE"
			worse++
		}
		_, _ = fmt.Fprintf(w, "%s %-44s go-nsq's CPU is × %s (%s), allocations %s (%s), writes %s (%s)\n", word, o.Case,
			short(got.CPU), short(e.CPU), short(got.Allocs), short(e.Allocs), short(got.Writes), short(e.Writes))
	}
	if worse > 0 {
		return errWorse
	}
	return nil
}
