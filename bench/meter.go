package main

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// meter holds the resources that this process has used so far.
type meter struct {
	at            time.Time
	cpu           time.Duration
	memory        runtime.MemStats
	reads, writes uint64
}

func readMeter() (m meter) {
	runtime.ReadMemStats(&m.memory)
	m.reads, m.writes = systemCalls()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err == nil {
		m.cpu = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	m.at = time.Now()
	return m
}

// since returns the resources used since an earlier reading.
func (m meter) since(before meter, messages int) Result {
	return Result{
		Messages: messages,
		Seconds:  m.at.Sub(before.at).Seconds(),
		CPU:      (m.cpu - before.cpu).Seconds(),
		Allocs:   m.memory.Mallocs - before.memory.Mallocs,
		Bytes:    m.memory.TotalAlloc - before.memory.TotalAlloc,
		Reads:    m.reads - before.reads,
		Writes:   m.writes - before.writes,
	}
}

// systemCalls returns the numbers of read and write system calls of this process.
// Both are 0 on systems other than Linux.
func systemCalls() (reads, writes uint64) {
	return procValue("/proc/self/io", "syscr:"), procValue("/proc/self/io", "syscw:")
}

// resident returns the resident memory of this process in bytes. On systems other
// than Linux it returns 0.
func resident() int64 {
	return int64(procValue("/proc/self/status", "VmRSS:")) << 10 // #nosec G115 -- far from overflow
}

// mostResident returns the most resident memory that this process has had so far, in
// bytes. On systems other than Linux it returns 0.
func mostResident() int64 {
	return int64(procValue("/proc/self/status", "VmHWM:")) << 10 // #nosec G115 -- far from overflow
}

// procValue returns the number in the line of a /proc file that begins with name.
func procValue(file, name string) uint64 {
	data, err := os.ReadFile(file) // #nosec G304 -- constant names
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if rest, ok := bytes.CutPrefix(lines.Bytes(), []byte(name)); ok {
			fields := bytes.Fields(rest)
			if len(fields) == 0 {
				return 0
			}
			n, _ := strconv.ParseUint(string(fields[0]), 10, 64)
			return n
		}
	}
	return 0
}
