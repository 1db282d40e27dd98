package main

import (
	"encoding/json"
	"errors"
	"io"
	"testing"
)

func measurementOf(name string, theirs, ours Result) measurement {
	return measurement{Case: name, Clients: []clientMeasurement{{goNSQ, []Result{theirs}}, {rdy, []Result{ours}}}}
}

func TestVerdict(t *testing.T) {
	var want map[string]expectation
	if err := json.Unmarshal(committed, &want); err != nil {
		t.Fatal(err)
	}
	for _, s := range matrix() {
		e, ok := want[s.Name()]
		if ok != s.quick {
			t.Errorf("%s: in ratios.json %v, part of a quick run %v", s.Name(), ok, s.quick)
		}
		if !ok {
			continue
		}
		theirs := Result{Messages: 1000, CPU: e.CPU}
		same := Result{Messages: 1000, CPU: 1, Allocs: uint64(1000 * e.Allocs), Writes: uint64(1000 * e.Writes)}
		if err := verdict(io.Discard, []measurement{measurementOf(s.Name(), theirs, same)}); err != nil {
			t.Errorf("%s: the committed figures: %v", s.Name(), err)
		}
		slower, wasteful, chatty := same, same, same
		slower.CPU = 2
		wasteful.Allocs += 100
		chatty.Writes = 2*chatty.Writes + 100
		for name, r := range map[string]Result{"slower": slower, "wasteful": wasteful, "chatty": chatty} {
			if err := verdict(io.Discard, []measurement{measurementOf(s.Name(), theirs, r)}); !errors.Is(err, errWorse) {
				t.Errorf("%s: %s: %v", s.Name(), name, err)
			}
		}
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range matrix() {
		if seen[s.Name()] {
			t.Errorf("two cases are named %q", s.Name())
		}
		seen[s.Name()] = true
	}
}
