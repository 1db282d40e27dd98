package main

import (
	"bytes"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each aim names a case of the matrix and clients that run it.
func TestAimsAreMeasured(t *testing.T) {
	specs := matrix()
	for _, a := range aims() {
		i := slices.IndexFunc(specs, func(s spec) bool { return s.Name() == a.of })
		if i < 0 {
			t.Errorf("%s: no such case", a.of)
			continue
		}
		for _, client := range []string{a.client, strings.TrimSuffix(a.beside, before)} {
			if !slices.Contains(specs[i].clients, client) {
				t.Errorf("%s: not run by %s", a.of, client)
			}
		}
	}
}

func TestVerdictOn(t *testing.T) {
	faster, cheaper := rateAtLeast(3), cpuAtMost(1.0/4)
	nan := math.NaN()
	for _, test := range []struct {
		l    limit
		s    summary
		want string
	}{
		{faster, summary{3, 3, 4}, "yes"},
		{faster, summary{3, 2.9, 4}, "yes?"},
		{faster, summary{2.9, 2, 3}, "no?"},
		{faster, summary{2.9, 2, 2.99}, "no"},
		{faster, summary{3.5, nan, nan}, "yes?"},
		{cheaper, summary{0.25, 0.2, 0.25}, "yes"},
		{cheaper, summary{0.25, 0.2, 0.3}, "yes?"},
		{cheaper, summary{0.3, 0.25, 0.4}, "no?"},
		{cheaper, summary{0.3, 0.26, 0.4}, "no"},
		{cheaper, summary{0.3, nan, nan}, "no?"},
	} {
		if got := test.l.verdictOn(test.s); got != test.want {
			t.Errorf("%s, measured %v: %q, want %q", test.l.wants(), test.s, got, test.want)
		}
	}
}

func TestWriteAims(t *testing.T) {
	const name = "publish nsqd sync 200B x64"
	theirs, ours := runsAt(slices.Repeat([]int{100}, 6)...), runsAt(slices.Repeat([]int{350}, 6)...)
	for i := range theirs {
		theirs[i].CPU, ours[i].CPU = 1, 2
	}
	var out bytes.Buffer
	writeAims(&out, []measurement{{Case: name, Kind: publish, Clients: []clientMeasurement{{goNSQ, theirs}, {rdy, ours}}}})
	const row = "| publish nsqd sync 200B x64 | go-nsq | rate ≥ 3, CPU ≤ 1/3 | 3.5 (3.5–3.5), 1/1.75 (1/1.75–1/1.75) | yes, no |\n"
	if !strings.Contains(out.String(), row) || !strings.HasSuffix(out.String(), "\n1 yes, 0 yes?, 0 no?, 1 no\n") {
		t.Errorf("got\n%s", out.String())
	}
}

// The whole matrix and the aims can be measured in a coffee break.
func TestBudgets(t *testing.T) {
	all := regexp.MustCompile("")
	for _, test := range []struct {
		name string
		o    options
		most time.Duration
	}{
		{"all", options{}, 25 * time.Minute},
		{"aims", options{aims: true}, 15 * time.Minute},
		{"quick", options{quick: true}, 45 * time.Second},
	} {
		test.o.only, test.o.client = all, all
		specs := test.o.selectSpecs()
		if took := estimate(specs); took > test.most {
			t.Errorf("%s: %d cases take about %v, more than %v", test.name, len(specs), took, test.most)
		} else {
			t.Logf("%s: %d cases take about %v", test.name, len(specs), took)
		}
	}
}
