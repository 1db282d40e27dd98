package main

import (
	"slices"
	"time"
)

// spec is a case and the clients that run it.
type spec struct {
	Case
	clients []string
	quick   bool // part of a quick run
}

var (
	every    = []string{goNSQ, rdy, rdyRecycle, floorHop, floorInline}
	both     = []string{goNSQ, rdy}
	pipeline = []string{goNSQ, rdy, floorHop}
	counting = []string{goNSQ, goNSQCounted, rdy, rdyHook, rdyProm}
	ways     = []string{goNSQ, rdy, rdyBatches, rdyMessages, rdyFetch}
	watching = append(slices.Clone(counting), rdyOTel)
)

// matrix returns everything that is measured: one typical case, varied along one
// axis at a time.
func matrix(window time.Duration) []spec {
	var specs []spec
	add := func(quick bool, clients []string, c Case) {
		c.Window = window
		if c.Server == "" {
			c.Server = "fake"
		}
		specs = append(specs, spec{c, clients, quick})
	}
	for _, flight := range []struct{ inFlight, handlers int }{
		{1, 1}, {10, 4}, {100, 1}, {100, 4}, {100, 64}, {2500, 1}, {2500, 4}, {2500, 64},
	} {
		quick := flight.handlers != 64 && flight.inFlight != 10
		add(quick, every, Case{Kind: consume, Body: 200, InFlight: flight.inFlight, Handlers: flight.handlers, Conns: 1})
	}
	for _, body := range []int{16, 4 << 10, 64 << 10} {
		add(body == 4<<10, every, Case{Kind: consume, Body: body, InFlight: 2500, Handlers: 4, Conns: 1})
	}
	for _, many := range []struct{ conns, inFlight int }{
		{100, 10}, {100, 100}, {10, 2500}, {100, 2500}, {1000, 2500}, {1000, 20000},
	} {
		add(many.conns == 100 && many.inFlight == 2500, every, Case{Kind: consume, Body: 200, InFlight: many.inFlight, Handlers: 4, Conns: many.conns})
	}
	for _, transport := range []string{"tls", "snappy", "deflate"} {
		add(transport == "tls", every, Case{Kind: consume, Body: 200, InFlight: 2500, Handlers: 4, Conns: 1, Transport: transport})
	}
	add(false, both, Case{Kind: consume, Body: 200, InFlight: 100, Handlers: 64, Conns: 1, Handler: "1ms"})
	add(false, both, Case{Kind: consume, Body: 200, InFlight: 100, Handlers: 4, Conns: 1, Handler: "async"})
	for _, rate := range []int{1000, 50_000} {
		add(false, every, Case{Kind: latency, Body: 200, InFlight: 2500, Handlers: 4, Conns: 1, Rate: rate})
	}
	for _, drain := range []struct{ inFlight, handlers, messages int }{{1, 1, 30_000}, {100, 4, 300_000}, {2500, 4, 1_000_000}} {
		add(false, every, Case{Kind: consume, Server: "nsqd", Body: 200, InFlight: drain.inFlight, Handlers: drain.handlers, Conns: 1, Messages: drain.messages})
	}
	add(false, both, Case{Kind: idle, InFlight: 2500, Handlers: 1, Conns: 1000})
	for _, conns := range []int{1, 10} {
		add(false, []string{goNSQ, rdy, rdyRecycle}, Case{
			Kind: memory, Body: 1 << 20, InFlight: 600, Handlers: 4, Handler: "10ms", Conns: conns, Messages: 600,
		})
	}
	add(false, both, Case{Kind: connect, InFlight: 2500, Handlers: 1, Conns: 200, RTT: 20 * time.Millisecond})
	add(false, both, Case{Kind: connect, InFlight: 2500, Handlers: 1, Conns: 1000})
	for _, how := range []struct {
		mode       string
		goroutines int
	}{{"sync", 1}, {"sync", 64}, {"async", 1}, {"multi", 1}} {
		for _, body := range []int{16, 200, 4 << 10} {
			add(body == 200, pipeline, Case{Kind: publish, Body: body, Mode: how.mode, Handlers: how.goroutines})
		}
		add(false, pipeline, Case{Kind: publish, Server: "nsqd", Body: 200, Mode: how.mode, Handlers: how.goroutines})
	}
	add(false, watching, Case{Kind: observe, Body: 200, InFlight: 100, Handlers: 4, Conns: 1})
	add(false, watching, Case{Kind: observe, Server: "nsqd", Body: 200, InFlight: 100, Handlers: 4, Conns: 1, Messages: 300_000})
	add(false, counting, Case{Kind: observe, Body: 200, Mode: "sync", Handlers: 64})
	for _, inFlight := range []int{100, 200, 2500} {
		add(false, ways, Case{Kind: taking, Body: 200, InFlight: inFlight, Handlers: 1, Conns: 1})
	}
	add(false, ways, Case{Kind: taking, Server: "nsqd", Body: 200, InFlight: 2500, Handlers: 1, Conns: 1, Messages: 300_000})
	return specs
}
