package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// aim is what a client is to reach in a case, beside another client.
type aim struct {
	part   string // heading in the report
	of     string // name of the case
	client string
	beside string
	limits []limit
}

// limit is the least or the most that a ratio of two clients' figures may be.
type limit struct {
	what    string
	value   figure
	atLeast float64 // 0: the limit is atMost
	atMost  float64
}

func rateAtLeast(ratio float64) limit {
	return limit{what: "rate", value: medianOf(rate), atLeast: ratio}
}

func cpuAtMost(ratio float64) limit {
	return limit{what: "CPU", value: medianOf(cpuPerMessage), atMost: ratio}
}

// noTail demands that no quantile of the ages is above the other client's.
var noTail = []limit{
	{what: "p50", value: pooled(0.5), atMost: 1},
	{what: "p99", value: pooled(0.99), atMost: 1},
	{what: "p99.9", value: pooled(0.999), atMost: 1},
}

// aims returns everything that this client is to reach.
func aims() []aim {
	var all []aim
	part := ""
	add := func(client, beside string, limits []limit, format string, args ...any) {
		all = append(all, aim{part, fmt.Sprintf(format, args...), client, beside, limits})
	}
	besideGoNSQ := func(limits []limit, format string, args ...any) { add(rdy, goNSQ, limits, format, args...) }

	part = "Latency, all quantiles not above go-nsq's"
	for _, c := range latencies() {
		besideGoNSQ(noTail, "%s", c.Name())
	}

	part = "Batcher: 64 goroutines, some way from the server"
	for _, rtt := range distances {
		for _, ratio := range []float64{1, 4} {
			add(rdyBatcher, goNSQ, []limit{rateAtLeast(ratio)}, "publish fake sync 200B x64 rtt=%v", rtt)
		}
	}
	part = "Batcher: on loopback never slower than Publish"
	for _, goroutines := range []int{1, 4, 16, 64} {
		add(rdyBatcher, rdy, []limit{rateAtLeast(1)}, "publish fake sync 200B x%d", goroutines)
	}

	part = "Publish to the real nsqd"
	for _, goroutines := range []int{1, 4, 16} {
		besideGoNSQ([]limit{rateAtLeast(1)}, "publish nsqd sync 200B x%d", goroutines)
	}
	for _, goroutines := range []int{64, 256} {
		besideGoNSQ([]limit{rateAtLeast(3), cpuAtMost(1.0 / 3)}, "publish nsqd sync 200B x%d", goroutines)
	}
	add(rdy, rdy+before, []limit{rateAtLeast(1)}, "publish nsqd sync 200B x1")

	part = "Many busy nsqds, few slots"
	besideGoNSQ([]limit{rateAtLeast(1.8)}, "consume fake 200B mif=10 x4 conns=100")
	besideGoNSQ([]limit{rateAtLeast(4)}, "consume fake 200B mif=100 x4 conns=100")
	besideGoNSQ([]limit{rateAtLeast(5)}, "consume fake 200B mif=2500 x4 conns=1000")

	part = "Near the floor: handing messages over, and no more"
	add(rdy, floorHop, []limit{cpuAtMost(1.2)}, "consume fake 200B mif=2500 x4")

	part = "Few messages in flight"
	besideGoNSQ([]limit{rateAtLeast(1.25), cpuAtMost(1 / 1.4)}, "consume fake 200B mif=1 x1")
	besideGoNSQ([]limit{cpuAtMost(1 / 3.2)}, "consume fake 200B mif=10 x4")
	besideGoNSQ([]limit{cpuAtMost(1.0 / 16)}, "consume fake 200B mif=100 x4")
	for _, procs := range processors {
		besideGoNSQ([]limit{rateAtLeast(1.25), cpuAtMost(1 / 1.4)}, "consume fake 200B mif=1 x1 procs=%d", procs)
		besideGoNSQ([]limit{cpuAtMost(1.0 / 16)}, "consume fake 200B mif=100 x4 procs=%d", procs)
	}
	part = "No loss where handlers compute, nor with many connections"
	lossless := []string{
		"consume fake 200B mif=100 x4 handler=busy5us", "consume fake 200B mif=100 x4 handler=busy10us",
		"consume fake 200B mif=100 x4 handler=busy20us", "consume fake 200B mif=2500 x4 conns=100",
	}
	for _, name := range lossless {
		besideGoNSQ([]limit{rateAtLeast(1)}, "%s", name)
		add(rdy, rdy+before, []limit{rateAtLeast(1)}, "%s", name)
	}

	part = "Large bodies, without recycling"
	besideGoNSQ([]limit{cpuAtMost(1)}, "consume fake 64KiB mif=2500 x4")
	return append(all, earlierAims()...)
}

// earlierAims returns what earlier versions of this client were to reach.
func earlierAims() (all []aim) {
	add := func(client string, of string, limits ...limit) {
		all = append(all, aim{"Throughput", of, client, goNSQ, limits})
	}
	for _, handlers := range []int{1, 4, 64} {
		add(rdy, fmt.Sprintf("consume fake 200B mif=100 x%d", handlers), cpuAtMost(1.0/10))
		add(rdy, fmt.Sprintf("consume fake 200B mif=2500 x%d", handlers), cpuAtMost(1.0/20))
		add(rdyRecycle, fmt.Sprintf("consume fake 200B mif=2500 x%d", handlers), cpuAtMost(1.0/40))
	}
	add(rdy, "consume fake 4KiB mif=2500 x4", cpuAtMost(1.0/3))
	add(rdyRecycle, "consume fake 4KiB mif=2500 x4", cpuAtMost(1.0/7))
	add(rdy, "consume fake 64KiB mif=2500 x4", rateAtLeast(1))
	add(rdy, "consume fake 200B mif=2500 x4 conns=100", rateAtLeast(12))
	add(rdy, "consume fake 200B mif=20000 x4 conns=1000", rateAtLeast(12))
	add(rdy, "consume fake 200B mif=2500 x4 tls", rateAtLeast(15))
	add(rdy, "consume fake 200B mif=2500 x4 snappy", rateAtLeast(25))
	add(rdy, "consume fake 200B mif=2500 x4 deflate", rateAtLeast(10))
	add(rdy, "consume nsqd 200B mif=2500 x4", rateAtLeast(3), cpuAtMost(1.0/7))
	add(rdy, "consume fake 200B mif=100 x64 handler=1ms", rateAtLeast(1))
	add(rdy, "consume fake 200B mif=100 x4 handler=async", rateAtLeast(1))
	add(rdy, "publish fake sync 200B x1", rateAtLeast(1))
	add(rdy, "publish fake sync 200B x64", rateAtLeast(4), cpuAtMost(1.0/4))
	add(rdy, "publish fake async 200B x1", rateAtLeast(10))
	add(rdy, "publish nsqd async 200B x1", rateAtLeast(1))
	return all
}

// verdictOn says whether a ratio keeps to a limit: "yes" or "no", with a question mark if
// the interval contains the limit or there is none, so that more runs may turn it.
func (l limit) verdictOn(s summary) string {
	word, sure := "no", false
	switch {
	case l.atLeast > 0 && s.center >= l.atLeast:
		word, sure = "yes", s.lo >= l.atLeast
	case l.atLeast > 0:
		sure = s.hi < l.atLeast
	case s.center <= l.atMost:
		word, sure = "yes", s.hi <= l.atMost
	default:
		sure = s.lo > l.atMost
	}
	if !sure {
		word += "?"
	}
	return word
}

// wants spells the limit, for example "CPU ≤ 1/3".
func (l limit) wants() string {
	if l.atLeast > 0 {
		return fmt.Sprintf("%s ≥ %s", l.what, l.spell(l.atLeast))
	}
	return fmt.Sprintf("%s ≤ %s", l.what, l.spell(l.atMost))
}

// spell spells a ratio. CPU is a fraction of one: 1/16 says more than 0.063.
func (l limit) spell(ratio float64) string {
	if l.what == "CPU" && ratio < 0.95 {
		return "1/" + trim(short(1/ratio))
	}
	return trim(short(ratio))
}

// trim drops zeros from the end of a decimal fraction.
func trim(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// measuredAs spells a ratio and its interval.
func (l limit) measuredAs(s summary) string {
	if math.IsNaN(s.lo) {
		return l.spell(s.center)
	}
	return fmt.Sprintf("%s (%s–%s)", l.spell(s.center), l.spell(s.lo), l.spell(s.hi))
}

// writeAims prints a table of all aims that have been measured, under their headings, and
// counts the verdicts.
func writeAims(w io.Writer, measurements []measurement) {
	verdicts := map[string]int{}
	part := ""
	for _, a := range aims() {
		ours, theirs := runsOf(measurements, a.of, a.client), runsOf(measurements, a.of, a.beside)
		if len(ours) == 0 || len(theirs) == 0 {
			continue
		}
		var wants, measured, reached []string
		for _, l := range a.limits {
			s := ratioWithInterval(ours, theirs, l.value)
			if math.IsNaN(s.center) {
				continue
			}
			word := l.verdictOn(s)
			verdicts[word]++
			wants, measured, reached = append(wants, l.wants()), append(measured, l.measuredAs(s)), append(reached, word)
		}
		if len(wants) == 0 {
			continue
		}
		if part != a.part {
			part = a.part
			_, _ = fmt.Fprintf(w, "\n**%s**\n\n| case | beside | aim | measured | reached |\n|---|---|---|---|---|\n", part)
		}
		_, _ = fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", caseAndClient(a), a.beside,
			strings.Join(wants, ", "), strings.Join(measured, ", "), strings.Join(reached, ", "))
	}
	_, _ = fmt.Fprintf(w, "\n%d yes, %d yes?, %d no?, %d no\n", verdicts["yes"], verdicts["yes?"], verdicts["no?"], verdicts["no"])
}

// caseAndClient names the case, and the client unless it is the plain one.
func caseAndClient(a aim) string {
	if a.client == rdy {
		return a.of
	}
	return a.of + ", " + strings.TrimPrefix(a.client, rdy+" ")
}

// runsOf returns the runs of a client in a case, or nil.
func runsOf(measurements []measurement, name, client string) []Result {
	for _, m := range measurements {
		if m.Case != name {
			continue
		}
		for _, c := range m.Clients {
			if c.Client == client {
				return c.Runs
			}
		}
	}
	return nil
}

// aimedAt returns which clients an aim needs in a case.
func aimedAt(name string) (clients []string) {
	for _, a := range aims() {
		if a.of != name {
			continue
		}
		for _, client := range []string{a.beside, a.client} {
			if !slices.Contains(clients, client) {
				clients = append(clients, client)
			}
		}
	}
	return clients
}
