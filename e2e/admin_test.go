package e2e

import (
	"errors"
	"slices"
	"testing"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
)

// Every action of package admin does what its name says, on all daemons, and Poll shows it.
func TestAdminActions(t *testing.T) {
	la, lb := StartLookupd(t), StartLookupd(t)
	a, b := startListedNSQD(t, la, lb), startListedNSQD(t, la, lb)
	eventually(t, patience, func() bool { return len(la.Nodes()) == 2 && len(lb.Nodes()) == 2 })
	ctx := t.Context()
	// nsqd b is named by two addresses, and counts once.
	c := &admin.Cluster{Lookupds: []string{la.HTTPAddr(), lb.HTTPAddr()}, NSQDs: []string{a.HTTPAddr(), "localhost" + b.HTTPAddr()[len("127.0.0.1"):]}}
	poll := func() *admin.View {
		t.Helper()
		v, err := c.PollClients(ctx, "", "")
		if err != nil || v.Partial() || len(v.NSQDs) != 2 {
			t.Fatalf("%+v, error %v", v, err)
		}
		return v
	}
	do := func(err error) *admin.View {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return poll()
	}
	if v := do(c.CreateTopic(ctx, topic)); len(v.Topic(topic).NSQDs) != 2 {
		t.Errorf("created on %+v", v.Topic(topic))
	}
	do(c.CreateChannel(ctx, topic, "c"))
	if v := do(c.PauseTopic(ctx, topic)); !v.Topic(topic).Paused {
		t.Error("topic is not paused")
	}
	a.Publish(topic, "1", "2")
	b.Publish(topic, "3")
	if v := poll(); v.Topic(topic).Depth != 3 || v.Topic(topic).Messages != 3 || v.Topic(topic).Bytes != 3 {
		t.Errorf("%+v", v.Topic(topic))
	}
	if v := do(c.EmptyTopic(ctx, topic)); v.Topic(topic).Depth != 0 {
		t.Errorf("%+v", v.Topic(topic))
	}
	a.Publish(topic, "4")
	b.Publish(topic, "5")
	do(c.PauseChannel(ctx, topic, "c"))
	do(c.UnpauseTopic(ctx, topic))
	eventually(t, patience, func() bool { return poll().Topic(topic).Channel("c").Depth == 2 })
	if v := poll(); !v.Topic(topic).Channel("c").Paused || v.Topic(topic).Paused {
		t.Errorf("%+v", v.Topic(topic))
	}
	if v := do(c.EmptyChannel(ctx, topic, "c")); v.Topic(topic).Channel("c").Backlog() != 0 {
		t.Errorf("%+v", v.Topic(topic))
	}
	if v := do(c.UnpauseChannel(ctx, topic, "c")); v.Topic(topic).Channel("c").Paused {
		t.Error("channel is paused")
	}
	if v := do(c.DeleteChannel(ctx, topic, "c")); v.Topic(topic).Channel("c") != nil {
		t.Error("channel is not deleted")
	}
	if err := c.EmptyChannel(ctx, topic, "c"); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	// nsqlookupd would take the topic "*" for all topics.
	if err := c.DeleteTopic(ctx, "*"); err == nil || !la.Lists(topic, a.TCPAddr()) || !la.Lists(topic, b.TCPAddr()) {
		t.Errorf("error %v", err)
	}
	// nsqlookupds list nsqd b by another address.
	v := do(c.Tombstone(ctx, topic, c.NSQDs[1]))
	if on := v.Topic(topic).NSQDs; len(on) != 1 || on[0].NSQD != a.HTTPAddr() {
		t.Errorf("%+v", on)
	}
	for _, l := range v.Lookupds {
		for _, r := range l.Registered {
			// An nsqd that has deleted a topic tells the nsqlookupds, which then do not list it.
			if r.HTTPAddr() == b.HTTPAddr() && slices.Contains(r.Topics, topic) && !slices.Contains(r.Tombstoned, topic) {
				t.Errorf("%+v", r)
			}
		}
	}
	if v := do(c.DeleteTopic(ctx, topic)); v.Topic(topic) != nil || la.Lists(topic, a.TCPAddr()) || lb.Lists(topic, a.TCPAddr()) {
		t.Error("topic is not deleted")
	}
	if err := c.DeleteTopic(ctx, topic); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if err := c.CreateTopic(ctx, "not a topic"); err == nil {
		t.Error("no error")
	}
	if got, err := c.Config(ctx, a.HTTPAddr(), "max_rdy_count"); got != "2500" || err != nil {
		t.Errorf("%s, error %v", got, err)
	}
	if got, err := c.SetConfig(ctx, a.HTTPAddr(), "log_level", "error"); got != "4" || err != nil {
		t.Errorf("%s, error %v", got, err)
	}
	if got, err := c.SetConfig(ctx, a.HTTPAddr(), "nsqlookupd_tcp_addresses", `["`+la.TCPAddr()+`"]`); err != nil {
		t.Errorf("%s, error %v", got, err)
	}
	eventually(t, patience, func() bool { return len(lb.Nodes()) == 1 })
}

// What Between says of a channel agrees with what its consumer did, with requeues and timeouts
// in between. An nsqd that is killed is named.
func TestAdminRates(t *testing.T) {
	a, b := StartNSQD(t, nil), StartNSQD(t, nil)
	c := &admin.Cluster{NSQDs: []string{a.HTTPAddr(), b.HTTPAddr()}}
	for _, n := range []*NSQD{a, b} {
		n.Post("/topic/create?topic=" + topic)
		n.Post("/channel/create?topic=" + topic + "&channel=c")
		n.Publish(topic, slices.Repeat([]string{"early"}, 100)...)
	}
	eventually(t, patience, func() bool {
		v, err := c.Poll(t.Context())
		return err == nil && v.Topic(topic).Channel("c").Depth == 200
	})
	earlier, err := c.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	handled := newLedger()
	cfg := testConfig(t)
	cfg.MaxBackoffDuration = 0
	consumer, err := nsq.NewConsumer(topic, "c", cfg)
	if err != nil {
		t.Fatal(err)
	}
	consumer.AddConcurrentHandlers(nsq.HandlerFunc(func(m *nsq.Message) error {
		if m.Attempts == 1 {
			m.RequeueWithoutBackoff(0)
			return nil
		}
		handled.add([]byte(string(m.ID[:])))
		return nil
	}), 4)
	t.Cleanup(func() { stop(t, consumer) })
	if err := consumer.ConnectToNSQDs([]string{a.TCPAddr(), b.TCPAddr()}); err != nil {
		t.Fatal(err)
	}
	a.Publish(topic, slices.Repeat([]string{"late"}, 50)...)
	eventually(t, patience, func() bool {
		v, err := c.Poll(t.Context())
		return err == nil && handled.distinct() == 250 && v.Topic(topic).Channel("c").Backlog() == 0
	})
	later, err := c.PollClients(t.Context(), topic, "c")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []*admin.View{earlier, later} {
		for i := range v.NSQDs {
			v.NSQDs[i].At = v.At // so that all rates are for the same interval
		}
	}
	r := admin.Between(earlier, later)
	seconds := r.Interval.Seconds()
	near := func(rate, n float64) bool { return rate*seconds > n-.01 && rate*seconds < n+.01 }
	if ch := r.Channels[0]; !near(ch.In, 50) || !near(ch.Finished, 250) || !near(ch.Requeued, 250) || !near(ch.Growth, -200) || ch.Vanished != 200 {
		t.Errorf("%+v in %v", ch, r.Interval)
	}
	if !near(r.Topics[0].Published, 50) || !near(r.Topics[0].Bytes, 200) {
		t.Errorf("%+v in %v", r.Topics[0], r.Interval)
	}
	finished := uint64(0)
	for _, client := range later.Topic(topic).Channel("c").Clients {
		finished += client.Finished
	}
	if finished != 250 {
		t.Errorf("clients have finished %d", finished)
	}
	b.Kill()
	partial, err := c.Poll(t.Context())
	if e, ok := errors.AsType[*admin.Error](err); !ok || e.Addr != b.HTTPAddr() || !partial.Partial() || partial.Topic(topic) == nil {
		t.Errorf("%+v, error %v", partial, err)
	}
}
