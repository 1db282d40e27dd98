package main

import (
	"fmt"
	"slices"
	"strings"
)

const tableHead = `| case | tool | messages a second | least–most | | CPU µs a message | least–most | |
|---|---|--:|---|--:|--:|---|--:|
`

// rows returns the rows of a case: the medians of both tools, and their ratios.
func (c toolCase) rows(theirs, ours []result) string {
	rate := func(r result) float64 { return r.rate / 1000 }
	cpu := func(r result) float64 { return r.cpu }
	var b strings.Builder
	row := func(first, second, faster, cheaper string, of []result) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", first, second,
			short(median(of, rate))+"k", spread(of, rate, "k"), faster, short(median(of, cpu)), spread(of, cpu, ""), cheaper)
	}
	row(c.name, c.theirs(room{})[0], "", "", theirs)
	row("", "rdy", fmt.Sprintf("**%.1f ×**", median(ours, rate)/median(theirs, rate)),
		"**"+fraction(median(ours, cpu)/median(theirs, cpu))+"**", ours)
	return b.String()
}

// fraction returns a ratio, below 1 as a fraction.
func fraction(ratio float64) string {
	if ratio < 1 {
		return fmt.Sprintf("1/%.1f", 1/ratio)
	}
	return fmt.Sprintf("%.1f ×", ratio)
}

func median(of []result, value func(result) float64) float64 {
	v := sorted(of, value)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// spread returns the least and the most.
func spread(of []result, value func(result) float64, unit string) string {
	v := sorted(of, value)
	return short(v[0]) + unit + "–" + short(v[len(v)-1]) + unit
}

func sorted(of []result, value func(result) float64) (v []float64) {
	for _, r := range of {
		v = append(v, value(r))
	}
	slices.Sort(v)
	return v
}

// short returns a number with three digits at least.
func short(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
