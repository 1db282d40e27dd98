package main

import (
	"fmt"
	"strings"
	"time"
)

// Kinds of cases: what a client does.
const (
	consume = "consume" // takes what the server has, as fast as it can
	latency = "latency" // takes what comes at a rate, and measures how old it is
	publish = "publish" // publishes as fast as it is answered
	idle    = "idle"    // is connected and answers heartbeats
	connect = "connect" // finds nsqds through an nsqlookupd and connects to them
)

// Case is one measurement: a kind of work, and all that it depends on. Parent,
// server and client are given the same.
type Case struct {
	Kind      string
	Server    string        // "fake", or "nsqd" for the real one
	Body      int           // bytes of a message's body
	InFlight  int           // max_in_flight
	Handlers  int           // goroutines that handle messages, or that publish
	Conns     int           // nsqds
	Transport string        // "", "tls", "snappy" or "deflate"
	Handler   string        // "" returns at once, "1ms" sleeps, "async" answers from another goroutine
	Mode      string        // of publish: "sync", "async" or "multi", which publishes 100 at a time
	Rate      int           // of latency: messages a second
	RTT       time.Duration // of connect: how long the server takes to answer IDENTIFY
	Messages  int           // of consume from nsqd: how many there are; 0 measures for Window
	Window    time.Duration // how long to measure
}

// Name tells a case from all others of the matrix.
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
	add(c.Conns > 1, "conns=%d", c.Conns)
	add(c.Transport != "", "%s", c.Transport)
	add(c.Handler != "", "handler=%s", c.Handler)
	add(c.Rate > 0, "rate=%d", c.Rate)
	add(c.RTT > 0, "rtt=%v", c.RTT)
	return strings.Join(parts, " ")
}

func size(bytes int) string {
	if bytes >= 1<<10 {
		return fmt.Sprintf("%dKiB", bytes>>10)
	}
	return fmt.Sprintf("%dB", bytes)
}

// Result is what one client did in one run of a case.
type Result struct {
	Messages int
	Seconds  float64
	CPU      float64 // seconds of the client's process, user and system
	Allocs   uint64  // heap objects
	Bytes    uint64  // of the heap
	Reads    uint64  // read system calls; Linux only
	Writes   uint64

	P50, P99, P999 time.Duration // of latency
	Took           time.Duration // of connect: until every connection has RDY

	Goroutines int   // of idle: per connection
	RSS        int64 // of idle: bytes per connection
}
