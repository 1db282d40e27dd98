package e2e

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

// quantile returns the value of the i-th measure that a share q of the samples do not exceed.
func quantile(samples []sample, i int, q float64) int {
	var values []int
	for _, s := range samples {
		values = append(values, s[i])
	}
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
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
