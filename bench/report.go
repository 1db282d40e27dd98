package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// column is one figure of a run and how to show it.
type column struct {
	title string
	value func(Result) float64
	show  func(float64) string
}

func perMessage(total func(Result) float64) func(Result) float64 {
	return func(r Result) float64 { return total(r) / float64(max(r.Messages, 1)) }
}

func rate(r Result) float64 { return float64(r.Messages) / r.Seconds }

var (
	cpuPerMessage    = perMessage(func(r Result) float64 { return r.CPU * 1e6 })
	allocsPerMessage = perMessage(func(r Result) float64 { return float64(r.Allocs) })
	bytesPerMessage  = perMessage(func(r Result) float64 { return float64(r.Bytes) })
	readsPerMessage  = perMessage(func(r Result) float64 { return float64(r.Reads) })
	writesPerMessage = perMessage(func(r Result) float64 { return float64(r.Writes) })
)

var costs = []column{
	{"CPU µs/msg", cpuPerMessage, short},
	{"allocs", allocsPerMessage, short},
	{"bytes", bytesPerMessage, short},
	{"reads", readsPerMessage, short},
	{"writes", writesPerMessage, short},
}

// columns returns the columns for a kind of case. The first one is shown with its
// spread.
func columns(kind string) []column {
	since := func(title string, value func(Result) time.Duration) column {
		return column{title, func(r Result) float64 { return float64(value(r)) / 1e3 }, short}
	}
	switch kind {
	case latency:
		return append([]column{
			since("p50 µs", func(r Result) time.Duration { return r.P50 }),
			since("p99 µs", func(r Result) time.Duration { return r.P99 }),
			since("p99.9 µs", func(r Result) time.Duration { return r.P999 }),
		}, costs...)
	case silence:
		perSecond := func(total func(Result) uint64) func(Result) float64 {
			return func(r Result) float64 { return float64(total(r)) / r.Seconds }
		}
		return []column{
			{"CPU ms/minute", func(r Result) float64 { return r.CPU * 1000 * 60 / r.Seconds }, short},
			{"RDYs/s", perSecond(func(r Result) uint64 { return r.RDYs }), short},
			{"NOPs/s", perSecond(func(r Result) uint64 { return r.NOPs }), short},
			{"writes/s", perSecond(func(r Result) uint64 { return r.Writes }), short},
			{"reads/s", perSecond(func(r Result) uint64 { return r.Reads }), short},
		}
	case connect:
		return []column{
			since("connected µs", func(r Result) time.Duration { return r.Took }),
			{"CPU µs/nsqd", cpuPerMessage, short},
		}
	case memory:
		return []column{
			{"most RSS MiB", func(r Result) float64 { return float64(r.RSS) / (1 << 20) }, short},
			{"msgs/s", rate, short},
			{"CPU µs/msg", cpuPerMessage, short},
		}
	case idle:
		return []column{
			{"RSS KiB/conn", func(r Result) float64 { return float64(r.RSS) / 1024 }, short},
			{"goroutines/conn", func(r Result) float64 { return float64(r.Goroutines) }, short},
			{"CPU µs/heartbeat", cpuPerMessage, short},
			{"allocs/heartbeat", allocsPerMessage, short},
		}
	}
	return append([]column{{"msgs/s", rate, thousands}}, costs...)
}

// kinds are the kinds of cases in the order of the report.
var kinds = []string{consume, latency, idle, silence, memory, connect, publish, observe, taking}

// writeMarkdown prints the aims and all figures.
func writeMarkdown(w io.Writer, measurements []measurement) {
	writeAims(w, measurements)
	for _, kind := range kinds {
		if slices.ContainsFunc(measurements, func(m measurement) bool { return m.Kind == kind }) {
			_, _ = fmt.Fprintf(w, "\n## %s\n\n", kind)
			writeTable(w, kind, measurements)
		}
	}
}

// writeTable prints the figures of a kind of case.
func writeTable(w io.Writer, kind string, measurements []measurement) {
	cols := columns(kind)
	writeHeader(w, cols)
	for _, m := range measurements {
		if m.Kind != kind {
			continue
		}
		for i, c := range m.Clients {
			name := ""
			if i == 0 {
				name = strings.TrimPrefix(m.Case, kind+" ")
			}
			writeRow(w, name, c, m.Clients[0], cols)
		}
	}
}

func writeHeader(w io.Writer, cols []column) {
	cells := []string{"case", "client"}
	for i, col := range cols {
		cells = append(cells, col.title)
		if i == 0 {
			cells = append(cells, "interval", "× go-nsq")
		}
		if col.title == costs[0].title {
			cells = append(cells, "go-nsq's CPU ÷")
		}
	}
	writeCells(w, cells)
	_, _ = fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(cells)))
}

func writeRow(w io.Writer, name string, c, reference clientMeasurement, cols []column) {
	cells := []string{name, c.Client}
	for i, col := range cols {
		s := medianWithInterval(c.Runs, col.value)
		theirs := median(reference.Runs, col.value)
		cells = append(cells, col.show(s.center))
		if i == 0 {
			cells = append(cells, col.show(s.lo)+"–"+col.show(s.hi), ratio(s.center, theirs))
		}
		if col.title == costs[0].title {
			cells = append(cells, ratio(theirs, s.center))
		}
	}
	writeCells(w, cells)
}

func writeCells(w io.Writer, cells []string) {
	_, _ = fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}

func ratio(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return short(a / b)
}

// short formats v with three significant digits.
func short(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func thousands(v float64) string {
	if v >= 1e6 {
		return fmt.Sprintf("%.2fM", v/1e6)
	}
	return fmt.Sprintf("%.0fk", v/1e3)
}
