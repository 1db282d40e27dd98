package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// discoveredPool returns a pool that polls the given nsqlookupds every second and has
// published to each of the nsqds, which are all that they list.
func discoveredPool(t *testing.T, nsqds []*NSQD, lookupds ...*Lookupd) *nsq.ProducerPool {
	t.Helper()
	var addrs []string
	for _, l := range lookupds {
		addrs = append(addrs, l.HTTPAddr())
		eventually(t, patience, func() bool { return len(l.Nodes()) == len(nsqds) })
	}
	cfg := testConfig(t)
	cfg.LookupdPollInterval = time.Second
	pool, err := nsq.NewDiscoveredProducerPool(addrs, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Stop)
	for _, n := range nsqds {
		createWork(n)
	}
	eventually(t, patience, func() bool {
		_ = pool.Publish(topic, []byte("warming up"))
		for _, n := range nsqds {
			if n.Stats(topic, "c").MessageCount == 0 {
				return false
			}
		}
		return true
	})
	return pool
}

func createWork(n *NSQD) {
	n.Post("/topic/create?topic=" + topic)
	n.Post("/channel/create?topic=" + topic + "&channel=c")
}

// N4: one of two nsqds has left, and an nsqd that knows none of our nsqlookupds, one of
// which is down for good, listens at its address. It gets nothing.
func TestPoolKeepsOutOfAStranger(t *testing.T) {
	la, lb := StartLookupd(t), StartLookupd(t)
	nsqds := []*NSQD{startListedNSQD(t, la, lb), startListedNSQD(t, la, lb)}
	pool := discoveredPool(t, nsqds, la, lb)
	left, stays := nsqds[0], nsqds[1]
	lb.Kill()
	left.Stop()
	left.order.NSQD.DataPath = dataDir(t)
	left.order.NSQD.NSQLookupdTCPAddresses = nil
	left.Start() // another nsqd at the same address
	createWork(left)
	before := stays.Stats(topic, "c").MessageCount
	for i := range 100 {
		if err := pool.Publish(topic, fmt.Append(nil, i)); err != nil {
			t.Error(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if n := left.Stats(topic, "c").MessageCount; n != 0 {
		t.Errorf("the stranger got %d messages", n)
	}
	eventually(t, patience, func() bool { return stays.Stats(topic, "c").MessageCount == before+100 })
}

// N4: an nsqd that restarts, and one that moves, are used again once they have
// registered. The log says how soon.
func TestPoolFindsWhatRestarts(t *testing.T) {
	l := StartLookupd(t)
	n := startListedNSQD(t, l)
	pool := discoveredPool(t, []*NSQD{n}, l)
	used := func(n *NSQD) {
		t.Helper()
		eventually(t, patience, func() bool { return len(l.Nodes()) > 0 && l.Nodes()[0] == n.TCPAddr() })
		registered := time.Now()
		createWork(n)
		before := n.Stats(topic, "c").MessageCount
		eventually(t, patience, func() bool {
			_ = pool.Publish(topic, []byte("m"))
			return n.Stats(topic, "c").MessageCount > before
		})
		t.Logf("%s: used %v after its registration", n, time.Since(registered).Round(time.Millisecond))
	}
	for range 3 {
		n.Stop()
		n.Start()
		used(n)
	}
	n.Stop()
	used(startListedNSQD(t, l))
}
