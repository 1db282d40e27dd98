package e2e

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq"
)

// startListedNSQD starts an nsqd that nsqlookupds list.
func startListedNSQD(t *testing.T, lookupds ...*Lookupd) *NSQD {
	return StartNSQD(t, func(o *nsqd.Options) {
		for _, l := range lookupds {
			o.NSQLookupdTCPAddresses = append(o.NSQLookupdTCPAddresses, l.TCPAddr())
		}
	})
}

// discover starts a consumer of channel c of topic work that asks nsqlookupds
// each second.
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

// The consumer is there first. nsqds come, are restarted in turn, and one moves;
// nsqlookupds go. Whatever is published is handled, soon.
func TestDiscoveryInACluster(t *testing.T) {
	la, lb := StartLookupd(t), StartLookupd(t)
	handled := newLedger()
	c := discover(t, func(m *nsq.Message) error { handled.add(m.Body); return nil }, la, lb)
	published := 0
	say := func(n *NSQD) {
		t.Helper()
		published++
		n.Publish(topic, fmt.Sprint("m", published))
	}
	all := func(within time.Duration) {
		t.Helper()
		eventually(t, within, func() bool { return handled.distinct() == published })
	}

	// Each is known to one nsqlookupd or to both.
	nsqds := []*NSQD{startListedNSQD(t, la), startListedNSQD(t, lb), startListedNSQD(t, la, lb)}
	for _, n := range nsqds {
		say(n) // which makes the topic, and has it listed
	}
	all(10 * time.Second)
	if n := c.Stats().Connections; n != 3 {
		t.Errorf("%d connections", n)
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
		say(n)
		want := fmt.Sprint("m", published)
		eventually(t, 10*time.Second, func() bool { return handled.has(want) })
		t.Logf("%s was consumed %v after it was back", n, time.Since(back).Round(time.Millisecond))
		stopLoad.Store(true)
		published += <-ended
		load.Stop()
	}
	all(10 * time.Second)

	lb.Kill() // nothing changes
	for _, n := range nsqds {
		say(n)
	}
	all(5 * time.Second)
	moved := startListedNSQD(t, la) // as if one had moved
	say(moved)
	all(10 * time.Second)

	la.Kill() // connections go on
	time.Sleep(4 * time.Second)
	for _, n := range append(nsqds, moved) {
		say(n)
	}
	all(5 * time.Second)
	if n := c.Stats().Connections; n != 4 {
		t.Errorf("%d connections without nsqlookupds", n)
	}
	nsqds[0].Kill() // also one that was lost is dialled again
	nsqds[0].Start()
	say(nsqds[0])
	all(10 * time.Second)
}

// An nsqd that nobody lists any more is let go.
func TestTombstonedForGood(t *testing.T) {
	l := StartLookupd(t)
	n := startListedNSQD(t, l)
	n.Post("/topic/create?topic=" + topic)
	c := discover(t, func(*nsq.Message) error { return nil }, l)
	eventually(t, 10*time.Second, func() bool { return c.Stats().Connections == 1 })
	l.post("/topic/tombstone?topic=" + topic + "&node=" + n.HTTPAddr())              // for 45 s
	eventually(t, 40*time.Second, func() bool { return c.Stats().Connections == 0 }) // 30 s are given to it
	eventually(t, 10*time.Second, func() bool { return len(n.Stats(topic, "c").Clients) == 0 })
}
