package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The tests start servers, proxies and clients, which are this program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{serverRole, proxyRole, clientRole}, os.Args[1]) {
		if err := runRole(context.Background(), os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Each process does its part: the client measures, and the proxy puts distance between it and
// the server.
func TestRunOnce(t *testing.T) {
	r := runner{before: os.Args[0], progress: io.Discard}
	for _, client := range []string{goNSQ, rdy, rdyBatcher, rdy + before} {
		c := Case{Kind: publish, Server: "fake", Mode: "sync", Body: 16, Handlers: 1, RTT: 20 * time.Millisecond, Window: 100 * time.Millisecond}
		result, err := r.runOnce(t.Context(), client, c)
		if err != nil {
			t.Errorf("%s: %v", client, err)
			continue
		}
		if most := int(result.Seconds*1000/20) + 1; result.Messages < 1 || result.Messages > most {
			t.Errorf("%s: %d messages in %v s with a round trip of 20 ms each", client, result.Messages, result.Seconds)
		}
	}
	for _, server := range []string{"fake", "nsqd"} {
		c := Case{Kind: latency, Server: server, Body: 16, InFlight: 100, Handlers: 1, Conns: 1, Rate: 1000, Unbuffer: true, Procs: 1, Heap: 1, Window: 100 * time.Millisecond}
		result, err := r.runOnce(t.Context(), rdy, c)
		if err != nil {
			t.Errorf("%s: %v", server, err)
			continue
		}
		if p50 := pooled(0.5)([]Result{result}); p50 <= 0 || p50 > float64(result.P99.Microseconds()+result.P99.Microseconds()/50) {
			t.Errorf("%s: p50 %v µs, p99 %v", server, p50, result.P99)
		}
	}
	if _, err := r.runOnce(t.Context(), "no such client", Case{Kind: consume, Server: "fake"}); err == nil {
		t.Error("an unknown client is accepted")
	}
}

// Every handler of the matrix exists.
func TestHandlersExist(t *testing.T) {
	for _, s := range matrix() {
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%s: %v", s.Name(), r)
				}
			}()
			handling(s.Handler)
		}()
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"-quick -aims", "-only (", "-client (", "nonsense", "-docs a -report b", "-before a -profile b"} {
		if _, err := parse(strings.Fields(bad), io.Discard); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// The options decide which clients run which cases, how often and for how long.
func TestSelectSpecs(t *testing.T) {
	const aimed = "consume fake 200B mif=2500 x4"
	for _, test := range []struct {
		args    string
		clients []string
		runs    []int
		window  time.Duration
	}{
		{"", every, []int{6, 6, 6, 6, 3}, 400 * time.Millisecond},
		{"-quick", both, []int{2, 2}, 300 * time.Millisecond},
		{"-aims", []string{goNSQ, rdy, rdyRecycle, floorHop}, []int{6, 6, 6, 6}, 400 * time.Millisecond},
		{"-client ^rdy$ -before x -runs 4 -window 2s", []string{rdy, rdy + before}, []int{4, 4}, 2 * time.Second},
	} {
		o, err := parse(strings.Fields(test.args), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		o.only = regexp.MustCompile("^" + aimed + "$")
		specs := o.selectSpecs()
		if len(specs) != 1 || !slices.Equal(specs[0].clients, test.clients) || specs[0].Window != test.window {
			t.Errorf("%q: %+v", test.args, specs)
			continue
		}
		for i, name := range test.clients {
			if got := specs[0].runs[name]; got != test.runs[i] {
				t.Errorf("%q: %s runs %d times, want %d", test.args, name, got, test.runs[i])
			}
		}
	}
}
