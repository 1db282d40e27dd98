package e2e

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rdyhq/nsq"
)

// sample is what this process, which has the clients and not the daemons, uses at a time.
type sample [4]int

// measures are the figures of a sample. Each may grow by a tenth and the tolerance.
var measures = [len(sample{})]struct {
	name      string
	tolerance int
}{
	{"heap in KiB", 1 << 10},
	{"resident memory in KiB", 8 << 10},
	{"goroutines", 20},
	{"descriptors", 10},
}

// takeSample collects garbage first. Figures that the system does not tell are 0.
func takeSample() sample {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return sample{int(m.HeapAlloc >> 10), resident(), runtime.NumGoroutine(), openFiles()} // #nosec G115
}

func (s sample) String() string {
	var parts []string
	for i, m := range measures {
		parts = append(parts, fmt.Sprintf("%d %s", s[i], m.name))
	}
	return strings.Join(parts, ", ")
}

// quantile returns the value of the i-th measure that so many percent of the samples do not
// exceed.
func quantile(samples []sample, i, percent int) int {
	var values []int
	for _, s := range samples {
		values = append(values, s[i])
	}
	slices.Sort(values)
	return values[percent*(len(values)-1)/100]
}

// growth compares a quantile of the last third of samples with that of the first.
type growth struct {
	measure     string
	percent     int // the quantile
	first, last int
	grown       bool // by more than a tenth and the tolerance
}

func (g growth) String() string {
	return fmt.Sprintf("%s: %d %% of the first third of samples are up to %d, of the last third up to %d", g.measure, g.percent, g.first, g.last)
}

// compareThirds compares the median and the 90th percentile of each measure.
func compareThirds(samples []sample) (all []growth) {
	third := len(samples) / 3
	for i, m := range measures {
		for _, percent := range []int{50, 90} {
			g := growth{measure: m.name, percent: percent}
			g.first = quantile(samples[:third], i, percent)
			g.last = quantile(samples[len(samples)-third:], i, percent)
			g.grown = g.last > g.first+g.first/10+m.tolerance
			all = append(all, g)
		}
	}
	return all
}

// Samples that vary are flat. A leak of a goroutine every ten samples is not, nor one of
// memory that shows in half of them, above the median.
func TestCompareThirds(t *testing.T) {
	var flat, leaks, half []sample
	for i := range 300 {
		s := sample{4000 + i%50*20, 30_000 + i%50*100, 100 + i%20, 60 + i%7}
		flat = append(flat, s)
		s[2] += i / 5
		leaks = append(leaks, s)
		s[2] -= i / 5
		s[0] += i % 2 * i * 20
		half = append(half, s)
	}
	grown := func(samples []sample) (names []string) {
		for _, g := range compareThirds(samples) {
			if g.grown {
				names = append(names, fmt.Sprint(g.measure, g.percent))
			}
		}
		return names
	}
	for _, tt := range []struct {
		samples []sample
		want    []string
	}{{flat, nil}, {leaks, []string{"goroutines50", "goroutines90"}}, {half, []string{"heap in KiB90"}}} {
		if got := grown(tt.samples); !slices.Equal(got, tt.want) {
			t.Errorf("grown: %q, want %q", got, tt.want)
		}
	}
}

// resident returns this process's resident memory in KiB, where /proc tells.
func resident() int {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.Atoi(fields[0])
	return kib
}

// openFiles returns how many descriptors this process has, where /proc tells.
func openFiles() int {
	files, _ := os.ReadDir("/proc/self/fd")
	return len(files)
}

// check compares what is published with what is handled and stored, and checks the counts of
// all consumers.
func (s *soak) check() {
	s.checkCounts()
	waiting := s.ledger.waiting()
	stored := map[string]stored{}
	for _, n := range s.nsqds {
		here, err := storedAt(n.HTTPAddr())
		if err != nil {
			return // it restarts
		}
		for channel, c := range here {
			sum := stored[channel]
			sum.messages += c.messages
			sum.moving += c.moving
			stored[channel] = sum
		}
	}
	restarts := int(s.restarts.Load())
	for channel, bodies := range waiting {
		// nsqd reads its figures one after the other. While a message moves it may be in none.
		missing := s.ledger.stillWaiting(channel, bodies) - stored[channel].messages - stored[channel].moving
		if missing <= restarts {
			s.deficit[channel] = 0
			continue
		}
		if s.deficit[channel]++; s.deficit[channel] == 5 {
			s.t.Errorf("%s: for five seconds %d messages were neither handled nor in an nsqd", channel, missing)
		}
	}
}

// checkCounts checks that the counts of each consumer add up and do not fall.
func (s *soak) checkCounts() {
	now := map[*nsq.Consumer]nsq.Counts{}
	for _, c := range s.consumers() {
		snap := c.Snapshot()
		n := snap.Counts
		if n.Received+n.Unsent != n.Finished+n.Requeued+n.Expired+n.Lost+uint64(snap.InFlight) { // #nosec G115
			s.t.Errorf("%s/%s: the counts do not add up: %+v", snap.Topic, snap.Channel, snap)
		}
		before := s.counts[c]
		if n.Received < before.Received || n.Finished < before.Finished || n.Requeued < before.Requeued || n.Expired < before.Expired ||
			n.Lost < before.Lost || n.Unsent < before.Unsent || n.Refused < before.Refused {
			s.t.Errorf("%s/%s: a count has fallen, from %+v to %+v", snap.Topic, snap.Channel, before, n)
		}
		now[c] = n
	}
	s.counts = now
}
