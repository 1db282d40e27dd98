package main

import (
	"fmt"
	"strings"
	"time"
)

// Kinds of cases: what a client does.
const (
	consume = "consume" // receives messages as fast as it can
	latency = "latency" // receives messages at a given rate, and measures their age
	publish = "publish" // publishes as fast as the server replies
	idle    = "idle"    // is connected and replies to heartbeats
	silence = "silence" // is connected, and receives no message for minutes
	memory  = "memory"  // receives large messages that slow handlers hold up
	connect = "connect" // discovers nsqds through an nsqlookupd and connects to them
	observe = "observe" // receives or, if it has a Mode, publishes, while metrics or traces are taken
	taking  = "taking"  // receives messages in each way that a program can take them
)

// Case is one measurement: a kind of work and everything it depends on. The
// parent process, the server and the client all get the same Case.
type Case struct {
	Kind      string
	Server    string        // "fake", or "nsqd" for the real one
	Body      int           // bytes in the body of a message
	InFlight  int           // max_in_flight
	Handlers  int           // goroutines that handle messages, or that publish
	Conns     int           // number of nsqds
	Consumers int           // for silence: consumers in the client's process
	Transport string        // "", "tls", "snappy" or "deflate"
	Handler   string        // what a handler does: see handling
	Mode      string        // for publish and observe: "sync", "async" or "multi", 100 messages at a time
	Rate      int           // for latency: messages per second
	RTT       time.Duration // distance to the server; for connect: how long it takes to reply to IDENTIFY
	Procs     int           // GOMAXPROCS of the client's process, if not 0
	Heap      int           // MiB that the client's process holds beside what the client does
	Unbuffer  bool          // whether nsqd sends each message at once (output_buffer_size -1)
	Messages  int           // for memory, and for receiving from nsqd: how many are consumed
	Window    time.Duration // how long to measure if Messages is 0
}

// Name returns the name of a case, which is unique in the matrix.
func (c Case) Name() string {
	parts := []string{c.Kind, c.Server}
	add := func(show bool, format string, args ...any) {
		if show {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(c.Mode != "", "%s", c.Mode)
	add(c.Body > 0, "%s", size(c.Body))
	add(c.InFlight > 0, "mif=%d", c.InFlight)
	add(c.Handlers > 0, "x%d", c.Handlers)
	add(c.Conns > 1 || c.Kind == silence, "conns=%d", c.Conns)
	add(c.Consumers > 0, "consumers=%d", c.Consumers)
	add(c.Transport != "", "%s", c.Transport)
	add(c.Handler != "", "handler=%s", c.Handler)
	add(c.Rate > 0, "rate=%d", c.Rate)
	add(c.RTT > 0, "rtt=%v", c.RTT)
	add(c.Procs > 0, "procs=%d", c.Procs)
	add(c.Heap > 0, "heap=%dMiB", c.Heap)
	add(c.Unbuffer, "unbuffered")
	return strings.Join(parts, " ")
}

func size(bytes int) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%dMiB", bytes>>20)
	}
	if bytes >= 1<<10 {
		return fmt.Sprintf("%dKiB", bytes>>10)
	}
	return fmt.Sprintf("%dB", bytes)
}

// Result is what one client did in one run of a case.
type Result struct {
	Messages int     `json:",omitzero"`
	Seconds  float64 `json:",omitzero"`
	CPU      float64 `json:",omitzero"` // seconds of the client process, user and system
	Allocs   uint64  `json:",omitzero"` // heap objects allocated
	Bytes    uint64  `json:",omitzero"` // heap bytes allocated
	Reads    uint64  `json:",omitzero"` // read system calls; Linux only
	Writes   uint64  `json:",omitzero"` // write system calls; Linux only

	// For latency: ages of the messages, and their distribution.
	P50  time.Duration `json:",omitzero"`
	P99  time.Duration `json:",omitzero"`
	P999 time.Duration `json:",omitzero"`
	Ages *ages         `json:",omitzero"`

	Took time.Duration `json:",omitzero"` // for connect: until the client reports all connections ready

	// For silence: commands that the server has received.
	RDYs uint64 `json:",omitzero"`
	NOPs uint64 `json:",omitzero"`

	Goroutines int   `json:",omitzero"` // for idle: per connection
	RSS        int64 `json:",omitzero"` // for idle: bytes per connection; for memory: the most that was resident
}
