package main

import (
	"slices"
	"time"
)

// spec is a case and the clients that run it.
type spec struct {
	Case
	clients []string
	quick   bool           // part of a quick run
	runs    map[string]int // how often each client runs it
}

var (
	every      = []string{goNSQ, rdy, rdyRecycle, floorHop, floorInline}
	both       = []string{goNSQ, rdy}
	withFloor  = []string{goNSQ, rdy, floorHop}
	publishing = []string{goNSQ, rdy, rdyBatcher, floorHop}
	recycling  = []string{goNSQ, rdy, rdyRecycle}
	counting   = []string{goNSQ, goNSQCounted, rdy, rdyHook, rdyProm}
	ways       = []string{goNSQ, rdy, rdyBatches, rdyMessages, rdyFetch}
	watching   = append(slices.Clone(counting), rdyOTel)
)

var (
	// distances are round trips: a data centre away, a region, a continent.
	distances = []time.Duration{time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond}
	// processors are values of GOMAXPROCS.
	processors = []int{1, 2, 8}
)

// matrix returns everything that is measured: one typical case, varied along one
// axis at a time.
func matrix() []spec {
	return slices.Concat(consumeMatrix(), surroundingsMatrix(), latencyMatrix(), stateMatrix(), publishMatrix(), waysMatrix(),
		silentMatrix())
}

// consumeMatrix returns the cases that consume as fast as a client can.
func consumeMatrix() (specs []spec) {
	add := func(quick bool, clients []string, c Case) {
		c.Kind, c.Server, c.Conns = consume, "fake", max(c.Conns, 1)
		specs = append(specs, spec{Case: c, clients: clients, quick: quick})
	}
	for _, flight := range []struct{ inFlight, handlers int }{
		{1, 1}, {10, 4}, {100, 1}, {100, 4}, {100, 64}, {2500, 1}, {2500, 4}, {2500, 64},
	} {
		quick := flight.handlers != 64 && flight.inFlight != 10
		add(quick, every, Case{Body: 200, InFlight: flight.inFlight, Handlers: flight.handlers})
	}
	for _, body := range []int{16, 4 << 10, 64 << 10} {
		add(body == 4<<10, recycling, Case{Body: body, InFlight: 2500, Handlers: 4})
	}
	for _, many := range []struct{ conns, inFlight int }{
		{100, 10}, {100, 100}, {10, 2500}, {100, 2500}, {1000, 2500}, {1000, 20000},
	} {
		add(many.conns == 100 && many.inFlight == 2500, withFloor, Case{Body: 200, InFlight: many.inFlight, Handlers: 4, Conns: many.conns})
	}
	for _, transport := range []string{"tls", "snappy", "deflate"} {
		add(transport == "tls", withFloor, Case{Body: 200, InFlight: 2500, Handlers: 4, Transport: transport})
	}
	for _, drain := range []struct{ inFlight, handlers, messages int }{{1, 1, 20_000}, {100, 4, 200_000}, {2500, 4, 300_000}} {
		specs = append(specs, spec{clients: withFloor, Case: Case{
			Kind: consume, Server: "nsqd", Body: 200, InFlight: drain.inFlight, Handlers: drain.handlers, Conns: 1, Messages: drain.messages,
		}})
	}
	return specs
}

// surroundingsMatrix returns the cases that vary what is around a consumer: its handlers, its
// process, and its distance to nsqd.
func surroundingsMatrix() (specs []spec) {
	add := func(clients []string, c Case) {
		c.Kind, c.Server, c.Body, c.Conns = consume, "fake", 200, max(c.Conns, 1)
		specs = append(specs, spec{Case: c, clients: clients})
	}
	add(both, Case{InFlight: 100, Handlers: 64, Handler: "1ms"})
	for _, handler := range []string{"async", "busy5us", "busy10us", "busy20us"} {
		add(both, Case{InFlight: 100, Handlers: 4, Handler: handler})
	}
	for _, handler := range []string{"requeue", "touch"} {
		for _, inFlight := range []int{100, 2500} {
			add(both, Case{InFlight: inFlight, Handlers: 4, Handler: handler})
		}
	}
	for _, procs := range processors {
		add(both, Case{InFlight: 1, Handlers: 1, Procs: procs})
		add(both, Case{InFlight: 100, Handlers: 4, Procs: procs})
	}
	for _, conns := range []int{1, 100} {
		add(recycling, Case{InFlight: 2500, Handlers: 4, Conns: conns, Heap: 64})
	}
	for _, rtt := range distances {
		for _, inFlight := range []int{100, 2500} {
			add(both, Case{InFlight: inFlight, Handlers: 4, RTT: rtt})
		}
	}
	return specs
}

// latencies returns the cases that measure the age of messages. 50,000 messages a second are
// about half of what go-nsq manages, and so are 5,000 at max_in_flight 1 and 16,000 with 64
// handlers of 1 ms.
func latencies() (cases []Case) {
	add := func(c Case, rates ...int) {
		for _, rate := range rates {
			c.Kind, c.Body, c.Conns, c.Rate = latency, 200, 1, rate
			cases = append(cases, c)
		}
	}
	for _, server := range []string{"fake", "nsqd"} {
		add(Case{Server: server, InFlight: 2500, Handlers: 4}, 1000, 10_000, 50_000)
		add(Case{Server: server, InFlight: 1, Handlers: 1}, 1000, 5000)
		add(Case{Server: server, InFlight: 2500, Handlers: 64, Handler: "1ms"}, 1000, 16_000)
	}
	add(Case{Server: "nsqd", InFlight: 2500, Handlers: 4, Unbuffer: true}, 1000, 10_000)
	return cases
}

func latencyMatrix() (specs []spec) {
	for _, c := range latencies() {
		specs = append(specs, spec{Case: c, clients: both})
	}
	return specs
}

// stateMatrix returns the cases that measure what connections and messages take while they
// are held, and how long connecting takes.
func stateMatrix() (specs []spec) {
	specs = append(specs, spec{clients: both, Case: Case{Kind: idle, Server: "fake", InFlight: 2500, Handlers: 1, Conns: 1000}})
	for _, conns := range []int{1, 10} {
		specs = append(specs, spec{clients: recycling, Case: Case{
			Kind: memory, Server: "fake", Body: 1 << 20, InFlight: 600, Handlers: 4, Handler: "10ms", Conns: conns, Messages: 600,
		}})
	}
	for _, nsqds := range []struct {
		conns int
		rtt   time.Duration
	}{{200, 20 * time.Millisecond}, {1000, 0}} {
		specs = append(specs, spec{clients: both, Case: Case{
			Kind: connect, Server: "fake", InFlight: 2500, Handlers: 1, Conns: nsqds.conns, RTT: nsqds.rtt,
		}})
	}
	return specs
}

// publishMatrix returns the cases that publish.
func publishMatrix() (specs []spec) {
	add := func(quick bool, server, mode string, body, goroutines int, rtt time.Duration) {
		clients := withFloor
		if mode == "sync" {
			clients = publishing
		}
		specs = append(specs, spec{clients: clients, quick: quick, Case: Case{
			Kind: publish, Server: server, Mode: mode, Body: body, Handlers: goroutines, RTT: rtt,
		}})
	}
	for _, how := range []struct {
		mode       string
		goroutines int
	}{{"sync", 1}, {"sync", 64}, {"async", 1}, {"multi", 1}} {
		for _, body := range []int{16, 200, 4 << 10} {
			add(body == 200, "fake", how.mode, body, how.goroutines, 0)
		}
		add(false, "nsqd", how.mode, 200, how.goroutines, 0)
	}
	for _, goroutines := range []int{4, 16} {
		add(false, "fake", "sync", 200, goroutines, 0)
	}
	for _, goroutines := range []int{4, 16, 256} {
		add(false, "nsqd", "sync", 200, goroutines, 0)
	}
	for _, rtt := range distances {
		add(false, "fake", "sync", 200, 64, rtt)
	}
	return specs
}

// waysMatrix returns the cases that observe a client, and that take messages in each way.
func waysMatrix() (specs []spec) {
	add := func(clients []string, c Case) {
		c.Body = 200
		specs = append(specs, spec{Case: c, clients: clients})
	}
	add(watching, Case{Kind: observe, Server: "fake", InFlight: 100, Handlers: 4, Conns: 1})
	add(watching, Case{Kind: observe, Server: "nsqd", InFlight: 100, Handlers: 4, Conns: 1, Messages: 100_000})
	add(counting, Case{Kind: observe, Server: "fake", Mode: "sync", Handlers: 64})
	for _, inFlight := range []int{100, 200, 2500} {
		add(ways, Case{Kind: taking, Server: "fake", InFlight: inFlight, Handlers: 1, Conns: 1})
	}
	add(ways, Case{Kind: taking, Server: "nsqd", InFlight: 2500, Handlers: 1, Conns: 1, Messages: 100_000})
	return specs
}
