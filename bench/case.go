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
	Handler   string        // "" returns at once, "1ms" or "10ms" sleeps, "async" acks in another goroutine
	Mode      string        // for publish and observe: "sync", "async" or "multi", 100 messages at a time
	Rate      int           // for latency: messages per second
	RTT       time.Duration // for connect: how long the server takes to reply to IDENTIFY
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
	Messages int
	Seconds  float64
	CPU      float64 // seconds of the client process, user and system
	Allocs   uint64  // heap objects allocated
	Bytes    uint64  // heap bytes allocated
	Reads    uint64  // read system calls; Linux only
	Writes   uint64  // write system calls; Linux only

	P50, P99, P999 time.Duration // for latency: age of the messages
	Took           time.Duration // for connect: until the client reports all connections ready

	RDYs, NOPs uint64 // for silence: commands that the server has received

	Goroutines int   // for idle: per connection
	RSS        int64 // for idle: bytes per connection; for memory: the most that was resident
}
