package e2e

import (
	"errors"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"github.com/nsqio/nsq/nsqd"
)

// The tests in this file test the harness itself.

func refused(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	return err != nil
}

// numbered returns n distinct bodies.
func numbered(n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = strconv.Itoa(i)
	}
	return bodies
}

// startWithChannel starts an nsqd that has the topic orders with the channel archive.
func startWithChannel(t *testing.T, configure func(*nsqd.Options)) *NSQD {
	t.Helper()
	n := StartNSQD(t, configure)
	createChannel(n)
	return n
}

func createChannel(n *NSQD) {
	n.t.Helper()
	n.Post("/topic/create?topic=orders")
	n.Post("/channel/create?topic=orders&channel=archive")
}

func TestHarnessPublish(t *testing.T) {
	n := startWithChannel(t, nil)
	n.Publish("orders", numbered(100)...)
	eventually(t, patience, func() bool { return n.Stats("orders", "archive").Depth == 100 })
	if got := n.Stats("orders", "archive"); got.MessageCount != 100 || got.InFlight != 0 || len(got.Clients) != 0 {
		t.Errorf("stats %+v, want 100 messages and no client", got)
	}
	if got := n.Stats("orders", "another"); got.MessageCount != 0 {
		t.Errorf("stats of a channel that does not exist: %+v", got)
	}
}

func TestHarnessConfigure(t *testing.T) {
	n := startWithChannel(t, func(o *nsqd.Options) { o.MemQueueSize = 10 })
	n.Publish("orders", numbered(30)...)
	eventually(t, patience, func() bool { return n.Stats("orders", "archive").Depth == 30 })
	if got := n.Stats("orders", "archive").BackendDepth; got == 0 {
		t.Error("no message went to disk, although memory has room for only 10 of 30")
	}
}

func TestHarnessStopKeepsMessages(t *testing.T) {
	n := startWithChannel(t, nil)
	n.Publish("orders", numbered(1000)...)
	tcp, http := n.TCPAddr(), n.HTTPAddr()
	for range 2 {
		n.Stop()
		if !refused(tcp) || !refused(http) {
			t.Fatal("a stopped nsqd accepts connections")
		}
		n.Start()
		if refused(tcp) || n.TCPAddr() != tcp || n.HTTPAddr() != http {
			t.Fatalf("nsqd is at %s and %s after the restart, was at %s and %s", n.TCPAddr(), n.HTTPAddr(), tcp, http)
		}
		eventually(t, patience, func() bool { return n.Stats("orders", "archive").Depth == 1000 })
	}
}

func TestHarnessKill(t *testing.T) {
	n := startWithChannel(t, nil)
	n.Publish("orders", numbered(10)...)
	eventually(t, patience, func() bool { return n.Stats("orders", "archive").Depth == 10 })
	n.Kill()
	if !refused(n.TCPAddr()) || !refused(n.HTTPAddr()) {
		t.Fatal("a killed nsqd accepts connections")
	}
	n.Start()
	createChannel(n) // the channel was new and may not have been on disk yet
	if got := n.Stats("orders", "archive").Depth; got != 0 {
		t.Errorf("%d messages that were only in memory survived: nsqd was stopped, not killed", got)
	}
	n.Publish("orders", "after")
	eventually(t, patience, func() bool { return n.Stats("orders", "archive").Depth == 1 })
}

// A child exits when its standard input is closed, as it is when a test is killed.
func TestHarnessOrphan(t *testing.T) {
	n, l := StartNSQD(t, nil), StartLookupd(t)
	for _, p := range []*process{n.process, l.process} {
		if err := p.stdin.Close(); err != nil {
			t.Fatal(err)
		}
		err := p.wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitOrphaned {
			t.Errorf("%s ended with %v, want exit status %d", p, err, exitOrphaned)
		}
		p.Start()
	}
}

func TestHarnessLookupd(t *testing.T) {
	lookupds := []*Lookupd{StartLookupd(t), StartLookupd(t)}
	var nsqds []*NSQD
	for range 2 {
		nsqds = append(nsqds, StartNSQD(t, func(o *nsqd.Options) {
			for _, l := range lookupds {
				o.NSQLookupdTCPAddresses = append(o.NSQLookupdTCPAddresses, l.TCPAddr())
			}
		}))
	}
	listed := func(want ...string) func() bool {
		slices.Sort(want)
		return func() bool {
			return !slices.ContainsFunc(lookupds, func(l *Lookupd) bool {
				return !slices.Equal(slices.Sorted(slices.Values(l.Nodes())), want)
			})
		}
	}
	both := listed(nsqds[0].TCPAddr(), nsqds[1].TCPAddr())
	eventually(t, patience, both)
	nsqds[0].Kill()
	eventually(t, patience, listed(nsqds[1].TCPAddr()))
	nsqds[0].Start()
	eventually(t, patience, both)
	nsqds[1].Stop()
	eventually(t, patience, listed(nsqds[0].TCPAddr()))

	lookupds[0].Stop()
	if !refused(lookupds[0].HTTPAddr()) {
		t.Error("a stopped nsqlookupd accepts connections")
	}
	lookupds[0].Start()
	nsqds[1].Start()
	eventually(t, patience, func() bool { return slices.Contains(lookupds[0].Nodes(), nsqds[1].TCPAddr()) })
}
