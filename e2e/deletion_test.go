package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// crowd is ten consumers of topic work, each with a channel of its own, so that each gets
// every message.
type crowd struct {
	t       *testing.T
	n       *NSQD
	members []*nsq.Consumer

	mu      sync.Mutex
	handled map[string]int // by how many members each message was handled
}

func newCrowd(t *testing.T, n *NSQD, join func(c *nsq.Consumer) error) *crowd {
	t.Helper()
	cr := &crowd{t: t, n: n, handled: map[string]int{}}
	for i := range 10 {
		cfg := testConfig(t)
		cfg.LookupdPollInterval = time.Second
		c, err := nsq.NewConsumer(topic, cr.channel(i), cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
			cr.mu.Lock()
			defer cr.mu.Unlock()
			cr.handled[string(m.Body)]++
			return nil
		}))
		t.Cleanup(func() { stop(t, c) })
		if err := join(c); err != nil {
			t.Fatal(err)
		}
		cr.members = append(cr.members, c)
	}
	return cr
}

func (cr *crowd) channel(i int) string { return fmt.Sprintf("c%d", i) }

// prepare creates the topic, with so many other channels that its deletion takes a while,
// and waits until all members are subscribed.
func (cr *crowd) prepare() {
	cr.t.Helper()
	cr.n.Post("/topic/create?topic=" + topic)
	for i := range 300 {
		cr.n.Post(fmt.Sprintf("/channel/create?topic=%s&channel=filler%d", topic, i))
	}
	cr.subscribed()
}

// subscribed waits until nsqd shows all members.
func (cr *crowd) subscribed() {
	cr.t.Helper()
	for i := range cr.members {
		eventually(cr.t, 30*time.Second, func() bool { return len(cr.n.Stats(topic, cr.channel(i)).Clients) == 1 })
	}
}

// everyoneGets publishes a message, which all members must handle.
func (cr *crowd) everyoneGets(body string) {
	cr.t.Helper()
	cr.n.Publish(topic, body)
	handled := 0
	eventually(cr.t, 20*time.Second, func() bool {
		cr.mu.Lock()
		defer cr.mu.Unlock()
		handled = cr.handled[body]
		return handled == len(cr.members)
	})
}

// topicExists reports whether the nsqd has the topic.
func topicExists(n *NSQD) bool {
	n.t.Helper()
	var stats struct {
		Topics []struct {
			Name string `json:"topic_name"`
		} `json:"topics"`
	}
	n.get("/stats?format=json&include_clients=false&topic="+topic, &stats)
	return len(stats.Topics) > 0
}

// N1: six times nsqadmin deletes a topic under ten consumers that use nsqlookupd. It stays
// deleted. When it is used again, all of them get its messages.
func TestDeletedTopicUnderConsumers(t *testing.T) {
	l := StartLookupd(t)
	n, admin := startListedNSQD(t, l), StartAdmin(t, l)
	cr := newCrowd(t, n, func(c *nsq.Consumer) error { return c.ConnectToNSQLookupd(l.HTTPAddr()) })
	for round := range 6 {
		cr.prepare()
		cr.everyoneGets(fmt.Sprint("round ", round))
		start := time.Now()
		admin.DeleteTopic(topic)
		t.Logf("round %d: deleted in %v", round, time.Since(start).Round(time.Millisecond))
		for range 50 { // 5 s: longer than a consumer waits after nsqd closed its connection
			if topicExists(n) || l.Lists(topic, n.TCPAddr()) {
				t.Fatalf("round %d: the topic is back after %v", round, time.Since(start))
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	cr.prepare()
	cr.everyoneGets("after all rounds")
}

// rejoin has all members connect anew if nsqd took so long to delete the topic that they
// may have subscribed to the old one. Consumers wait three seconds; on a busy machine that
// is not enough.
func (cr *crowd) rejoin(took time.Duration) {
	if took < 2*time.Second {
		return
	}
	cr.t.Logf("the deletion took %v: the consumers connect anew", took)
	for _, c := range cr.members {
		_ = c.DisconnectFromNSQD(cr.n.TCPAddr())
	}
	for _, c := range cr.members {
		eventually(cr.t, patience, func() bool { return c.ConnectToNSQD(cr.n.TCPAddr()) == nil })
	}
}

// N2: the same with ten consumers that were given the nsqd's address. They subscribe again,
// and none is left connected to a topic that went.
func TestDeletedTopicUnderDirectConsumers(t *testing.T) {
	l := StartLookupd(t)
	n, admin := startListedNSQD(t, l), StartAdmin(t, l)
	cr := newCrowd(t, n, func(c *nsq.Consumer) error { return c.ConnectToNSQD(n.TCPAddr()) })
	for round := range 6 {
		cr.prepare()
		cr.everyoneGets(fmt.Sprint("round ", round))
		start := time.Now()
		admin.DeleteTopic(topic)
		took := time.Since(start)
		t.Logf("round %d: deleted in %v", round, took.Round(time.Millisecond))
		cr.rejoin(took)
	}
	cr.subscribed()
	cr.everyoneGets("after all rounds")
}

// N1: nsqadmin tombstones one of two nsqds. Its topic stays away, and the other nsqd is
// consumed from.
func TestTombstonedNodeUnderConsumers(t *testing.T) {
	l := StartLookupd(t)
	gone, kept, admin := startListedNSQD(t, l), startListedNSQD(t, l), StartAdmin(t, l)
	for _, n := range []*NSQD{gone, kept} {
		n.Post("/topic/create?topic=" + topic)
	}
	handled := newLedger()
	c := discover(t, func(m *nsq.Message) error { handled.add(m.Body); return nil }, l)
	eventually(t, patience, func() bool { return c.Stats().Connections == 2 })
	admin.Tombstone(topic, gone)
	for range 50 {
		if topicExists(gone) {
			t.Fatal("the topic is back at the nsqd that was tombstoned")
		}
		time.Sleep(100 * time.Millisecond)
	}
	kept.Publish(topic, "m")
	eventually(t, patience, func() bool { return handled.has("m") })
}

// N1: an nsqd that moved to another port is found soon after it has registered, long
// before the next regular poll, which is a minute off.
func TestMovedNSQDIsFoundSoon(t *testing.T) {
	l := StartLookupd(t)
	old := startListedNSQD(t, l)
	old.Post("/topic/create?topic=" + topic)
	eventually(t, patience, func() bool { return l.Lists(topic, old.TCPAddr()) })
	cfg := testConfig(t)
	handled := newLedger()
	c, err := nsq.NewConsumer(topic, "c", cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error { handled.add(m.Body); return nil }))
	t.Cleanup(func() { stop(t, c) })
	if err := c.ConnectToNSQLookupd(l.HTTPAddr()); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() bool { return c.Stats().Connections == 1 })
	for round := range 5 {
		old.Stop()
		time.Sleep(time.Duration(round) * time.Second)
		moved := startListedNSQD(t, l)
		body := fmt.Sprint("round ", round)
		moved.Publish(topic, body)
		eventually(t, patience, func() bool { return l.Lists(topic, moved.TCPAddr()) })
		start := time.Now()
		eventually(t, patience, func() bool { return handled.has(body) })
		t.Logf("round %d: message handled %v after the registration", round, time.Since(start).Round(time.Millisecond))
		old = moved
	}
}

// N3: our nsqd has left, and an nsqd that knows none of our nsqlookupds, one of which is
// down for good, listens at its address. Nothing is taken from it.
func TestStrangerAtTheOldAddress(t *testing.T) {
	la, lb := StartLookupd(t), StartLookupd(t)
	n := startListedNSQD(t, la, lb)
	n.Post("/topic/create?topic=" + topic)
	handled := newLedger()
	c := discover(t, func(m *nsq.Message) error { handled.add(m.Body); return nil }, la, lb)
	eventually(t, patience, func() bool { return c.Stats().Connections == 1 })
	lb.Kill()
	time.Sleep(2 * time.Second)
	n.Stop()
	n.order.NSQD.DataPath = dataDir(t)
	n.order.NSQD.NSQLookupdTCPAddresses = nil
	n.Start() // another nsqd at the same address
	n.Post("/topic/create?topic=" + topic)
	n.Post("/channel/create?topic=" + topic + "&channel=c")
	for i := range 10 {
		n.Publish(topic, fmt.Sprint("not ours ", i))
	}
	for range 100 { // ten polls
		if st := n.Stats(topic, "c"); len(st.Clients) > 0 {
			t.Fatalf("connected to the stranger: %+v", st)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if got := handled.distinct(); got > 0 || n.Stats(topic, "c").Depth != 10 {
		t.Errorf("%d messages of the stranger were taken: %+v", got, n.Stats(topic, "c"))
	}
}
