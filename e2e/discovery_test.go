package e2e

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq"
)

// startListedNSQD starts an nsqd that registers with the given nsqlookupds.
func startListedNSQD(t *testing.T, lookupds ...*Lookupd) *NSQD {
	return StartNSQD(t, func(o *nsqd.Options) {
		for _, l := range lookupds {
			o.NSQLookupdTCPAddresses = append(o.NSQLookupdTCPAddresses, l.TCPAddr())
		}
	})
}

// discover starts a consumer of topic work, channel c, that polls the given
// nsqlookupds every second.
func discover(t *testing.T, h nsq.HandlerFunc, lookupds ...*Lookupd) *nsq.Consumer {
	t.Helper()
	cfg := testConfig(t)
	cfg.LookupdPollInterval = time.Second
	c, err := nsq.NewConsumer(topic, "c", cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.AddConcurrentHandlers(h, 8)
	t.Cleanup(func() { stop(t, c) })
	var addrs []string
	for _, l := range lookupds {
		addrs = append(addrs, l.HTTPAddr())
	}
	if err := c.ConnectToNSQLookupds(addrs); err != nil {
		t.Fatal(err)
	}
	return c
}

// A consumer starts before any nsqd. Three nsqds start, each is restarted in
// turn, a fourth starts, and the nsqlookupds are killed. Whatever is published
// meanwhile is handled. The log says how soon after a restart.
func TestDiscoveryInACluster(t *testing.T) {
	la, lb := StartLookupd(t), StartLookupd(t)
	handled := newLedger()
	c := discover(t, func(m *nsq.Message) error { handled.add(m.Body); return nil }, la, lb)
	published := 0
	publishOne := func(n *NSQD) {
		t.Helper()
		published++
		n.Publish(topic, fmt.Sprint("m", published))
	}
	allHandled := func() {
		t.Helper()
		eventually(t, patience, func() bool { return handled.distinct() == published })
	}

	// Each nsqd registers with one nsqlookupd or with both.
	nsqds := []*NSQD{startListedNSQD(t, la), startListedNSQD(t, lb), startListedNSQD(t, la, lb)}
	for _, n := range nsqds {
		publishOne(n) // creates the topic, which the nsqd then registers
	}
	allHandled()
	if n := c.Stats().Connections; n != 3 {
		t.Errorf("%d connections, want 3", n)
	}

	for _, n := range nsqds { // restart each under load
		var stopLoad atomic.Bool
		ended := make(chan int)
		other := nsqds[0]
		if other == n {
			other = nsqds[1]
		}
		load, err := nsq.NewProducer(other.TCPAddr(), testConfig(t))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			count := 0
			for ; !stopLoad.Load(); count++ {
				if err := load.Publish(topic, fmt.Appendf(nil, "load %s %d", n, count)); err != nil {
					t.Error(err)
				}
				time.Sleep(5 * time.Millisecond)
			}
			ended <- count
		}()
		n.Stop()
		time.Sleep(500 * time.Millisecond)
		n.Start()
		back := time.Now()
		publishOne(n)
		want := fmt.Sprint("m", published)
		eventually(t, patience, func() bool { return handled.has(want) })
		t.Logf("%s: message handled %v after the restart", n, time.Since(back).Round(time.Millisecond))
		stopLoad.Store(true)
		published += <-ended
		load.Stop()
	}
	allHandled()

	lb.Kill() // la lists two of the nsqds; the third stays connected
	for _, n := range nsqds {
		publishOne(n)
	}
	allHandled()
	moved := startListedNSQD(t, la) // as if an nsqd had moved to another address
	publishOne(moved)
	allHandled()

	la.Kill() // connections stay
	time.Sleep(4 * time.Second)
	for _, n := range append(nsqds, moved) {
		publishOne(n)
	}
	allHandled()
	if n := c.Stats().Connections; n != 4 {
		t.Errorf("%d connections without nsqlookupds, want 4", n)
	}
	nsqds[0].Kill() // the consumer redials a lost nsqd even so
	nsqds[0].Start()
	publishOne(nsqds[0])
	allHandled()
}

// The consumer disconnects from an nsqd that no nsqlookupd lists any more.
func TestTombstonedForGood(t *testing.T) {
	l := StartLookupd(t)
	n := startListedNSQD(t, l)
	n.Post("/topic/create?topic=" + topic)
	c := discover(t, func(*nsq.Message) error { return nil }, l)
	eventually(t, patience, func() bool { return c.Stats().Connections == 1 })
	// The tombstone lasts 45 s. The consumer disconnects after 30 s.
	l.post("/topic/tombstone?topic=" + topic + "&node=" + n.HTTPAddr())
	eventually(t, 40*time.Second, func() bool { return c.Stats().Connections == 0 })
	eventually(t, patience, func() bool { return len(n.Stats(topic, "c").Clients) == 0 })
}
