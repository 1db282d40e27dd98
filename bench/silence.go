package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The cases of -idle: consumers that no message reaches, for long enough that a client
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

// silentMatrix returns the cases of -idle.
func silentMatrix(window time.Duration) (specs []spec) {
	for _, consumers := range []int{1, 100} {
		for _, nsqds := range []int{1, 10, 100} {
			for _, inFlight := range []int{1, 100} {
				specs = append(specs, spec{clients: both, Case: Case{
					Kind: silence, Server: "fake", InFlight: inFlight, Handlers: 1, Conns: nsqds, Consumers: consumers, Window: window,
				}})
			}
		}
	}
	return specs
}

// measureTogether has all clients run all cases of the same number of consumers at the
// same time. They hardly use the machine, and one after the other they would take an
// hour.
func measureTogether(ctx context.Context, specs []spec, runs int, stderr io.Writer) (all []measurement, err error) {
	for len(specs) > 0 {
		n := 1
		for n < len(specs) && specs[n].Consumers == specs[0].Consumers {
			n++
		}
		_, _ = fmt.Fprintf(stderr, "%d cases with %d consumers in a process, each for %v and longer\n", n, specs[0].Consumers, settling+specs[0].Window)
		done, failures := make([]measurement, n), make([]error, n)
		var wg sync.WaitGroup
		for i, s := range specs[:n] {
			wg.Go(func() { done[i], failures[i] = measureAtOnce(ctx, s, runs) })
		}
		wg.Wait()
		for i := range done {
			if failures[i] == nil {
				all = append(all, done[i])
			}
		}
		err = errors.Join(err, errors.Join(failures...))
		specs = specs[n:]
	}
	return all, err
}

// measureAtOnce has the clients run a case at the same time, several times.
func measureAtOnce(ctx context.Context, s spec, runs int) (measurement, error) {
	o := measurement{Case: s.Name(), Kind: s.Kind, Clients: make([]clientMeasurement, len(s.clients))}
	failures := make([]error, len(s.clients))
	var wg sync.WaitGroup
	for i, name := range s.clients {
		o.Clients[i].Client = name
		wg.Go(func() {
			for range runs {
				r, err := runPair(ctx, name, s.Case)
				if err != nil {
					failures[i] = err
					return
				}
				o.Clients[i].Runs = append(o.Clients[i].Runs, r)
			}
		})
	}
	wg.Wait()
	return o, errors.Join(failures...)
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
