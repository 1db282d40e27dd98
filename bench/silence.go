package main

import (
	"encoding/json"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// The cases of kind silence: consumers that no message reaches, for long enough that a client
// has become as idle as it will. What is left are heartbeats, and what a client does
// when it has fewer slots than nsqds.

const (
	// settling is how long a client is idle before the measurement begins. It is
	// longer than rdy takes to slow its turns down, and longer than any interval of
	// go-nsq's.
	settling = 75 * time.Second
	// nsqdHeartbeat is the interval between nsqd's heartbeats.
	nsqdHeartbeat = 30 * time.Second
)

// silentMatrix returns the cases of kind silence.
func silentMatrix() (specs []spec) {
	for _, consumers := range []int{1, 100} {
		for _, nsqds := range []int{1, 10, 100} {
			for _, inFlight := range []int{1, 100} {
				specs = append(specs, spec{clients: both, Case: Case{
					Kind: silence, Server: "fake", InFlight: inFlight, Handlers: 1, Conns: nsqds, Consumers: consumers,
				}})
			}
		}
	}
	return specs
}

func runSilence(lib library, c Case, where addresses) (Result, error) {
	for range c.Consumers {
		ready, err := lib.consume(c, where, func(byte, []byte) {})
		if err != nil {
			return Result{}, err
		}
		if err := waitUntil(ready); err != nil {
			return Result{}, fmt.Errorf("not all connections are ready: %w", err)
		}
	}
	time.Sleep(settling)
	from, err := readCounts(where.Counts)
	if err != nil {
		return Result{}, err
	}
	before := readMeter()
	time.Sleep(c.Window)
	r := readMeter().since(before, 0)
	to, err := readCounts(where.Counts)
	r.RDYs, r.NOPs = to.RDYs-from.RDYs, to.NOPs-from.NOPs
	return r, err
}

// commandCounts is how many commands the fake has received.
type commandCounts struct{ RDYs, NOPs uint64 }

// liveCounts counts commands.
type liveCounts struct{ rdys, nops atomic.Uint64 }

// serve sends the counts to each connection that it accepts, and closes it.
func (n *liveCounts) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = json.NewEncoder(conn).Encode(commandCounts{n.rdys.Load(), n.nops.Load()})
		_ = conn.Close()
	}
}

func readCounts(addr string) (n commandCounts, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return n, err
	}
	defer func() { _ = conn.Close() }()
	err = json.NewDecoder(conn).Decode(&n)
	return n, err
}
