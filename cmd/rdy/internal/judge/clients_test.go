package judge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// client returns a connection of a program.
func client(id string, conn int, rdy, inFlight int64) admin.Client {
	return admin.Client{
		Connection: admin.Connection{ID: id, Hostname: "host-" + id, RemoteAddr: fmt.Sprintf("10.0.0.1:%d", conn), UserAgent: "rdyhq-nsq/0.1.0", Connected: begin.Add(-time.Hour)},
		RDY:        rdy, InFlight: inFlight,
	}
}

// subscribe sets the clients of a channel.
func (c *fakeChannel) subscribe(clients ...admin.Client) {
	c.clients, c.ClientCount, c.InFlight = clients, len(clients), 0
	for _, x := range clients {
		c.InFlight += x.InFlight
	}
}

// work lets messages come and each client finish some.
func (c *fakeChannel) work(in int64, finished ...int64) {
	c.flow(in, 0)
	for i, n := range finished {
		c.clients[i].Finished += uint64(n)
		c.Depth -= n
	}
}

// watched polls the clients that the report before named, and then all channels.
func (s *story) watched(n int, do func()) {
	s.Helper()
	for range n {
		s.poll(func() {
			do()
			if s.report != nil && len(s.report.WorthClients) > 0 {
				s.clients()
			}
		})
	}
}

func TestStarved(t *testing.T) {
	s := newStory(t, 2)
	s.on(0).subscribe(client("a", 1, 5, 2), client("b", 2, 5, 2), client("c", 3, 0, 0))
	s.on(1).subscribe(client("a", 4, 5, 2), client("b", 5, 5, 2), client("c", 6, 0, 0))
	s.on(0).flow(2000, 0)
	s.on(1).flow(2000, 0)
	do := func() { s.on(0).work(40, 20, 20, 0); s.on(1).work(40, 20, 20, 0) }
	s.watched(8, do)
	s.want("warning starved orders/billing: 1 of 3 clients has RDY 0, 4,000 wait")
	rows := s.channel().Clients
	if len(rows) != 3 || rows[0].ID != "c" || rows[0].State != Starved || len(rows[0].Connections) != 2 || rows[1].RDY != 10 || rows[1].InFlight != 4 || !near(rows[1].Finished, 20) {
		t.Errorf("clients %+v", rows)
	}
	s.on(0).clients[2].RDY = 5
	s.watched(5, do)
	s.want("warning starved orders/billing: was starved for 14 s")
	// One of the nsqds gets no RDY at all.
	for i := range s.on(1).clients {
		s.on(1).clients[i].RDY = 0
	}
	s.watched(5, func() { s.on(0).work(40, 20, 20, 0); s.on(1).flow(1, 0) })
	if got := s.problems()[0]; !strings.HasPrefix(got, "warning starved orders/billing: RDY 0 on nsqd-2:4151, where 2,00") {
		t.Error(got)
	}
}

// That no client is connected to an nsqd is seen without a poll of clients.
func TestNoClientOnAnNSQD(t *testing.T) {
	s := newStory(t, 2)
	s.on(1).ClientCount = 0
	s.polls(10, func() { s.on(0).flow(50, 50); s.on(1).flow(5, 0) })
	s.want("warning starved orders/billing: no client on nsqd-2:4151, where 50 wait")
}

// What is seen of clients while few messages wait, or by an old poll of them, begins nothing.
func TestClientsOfNoInterest(t *testing.T) {
	s := newStory(t, 1)
	s.on(0).subscribe(client("a", 1, 6, 5), client("b", 2, 0, 0))
	for range 10 {
		s.poll(func() { s.on(0).work(10, 10, 0); s.clients() })
	}
	if s.want(); len(s.report.WorthClients) != 0 || s.channel().Clients[0].State != "" {
		t.Errorf("worth %v, clients %+v", s.report.WorthClients, s.channel().Clients)
	}
	s.on(0).flow(1000, 0)
	s.clients()
	s.polls(14, func() { s.on(0).work(10, 10, 0) })
	s.want()
	if len(s.report.WorthClients) != 1 || s.channel().Clients == nil {
		t.Errorf("worth %v, clients %+v", s.report.WorthClients, s.channel().Clients)
	}
	s.polls(2, func() { s.on(0).work(10, 10, 0) })
	if s.channel().Clients != nil {
		t.Errorf("clients %+v", s.channel().Clients)
	}
	s.on(0).subscribe(client("a", 1, 6, 5), admin.Client{Connection: admin.Connection{ID: "b"}, Closing: true})
	s.watched(8, func() { s.on(0).work(10, 10, 0) })
	s.want()
}

func TestSaturatedAndSlow(t *testing.T) {
	s := newStory(t, 1)
	s.on(0).subscribe(client("a", 1, 5, 5), client("b", 2, 5, 5), client("c", 3, 5, 5))
	s.on(0).flow(50_000, 0)
	s.watched(8, func() { s.on(0).work(150, 50, 50, 50) })
	s.want("notice saturated orders/billing: clients hold all that they accept, 50,000 wait")
	s.watched(20, func() { s.on(0).work(102, 50, 50, 2) })
	s.want("notice slow orders/billing: 1 of 3 clients is slow, 50,000 wait")
	rows := s.channel().Clients
	if rows[0].State != Saturated && rows[0].State != Slow || !near(rows[2].Finished, 1) && !near(rows[0].Finished, 1) {
		t.Errorf("clients %+v", rows)
	}
	s.watched(10, func() { s.on(0).work(200, 50, 50, 0) })
	for _, r := range s.channel().Clients {
		if r.ID == "c" && (r.State != Stuck || s.at.Sub(r.LastFinished) < 18*time.Second) {
			t.Errorf("client %+v", r)
		}
	}
}

// The advice of a stuck channel says what its clients hold.
func TestStuckWithClients(t *testing.T) {
	s := newStory(t, 1)
	s.on(0).subscribe(client("a", 1, 5, 5), client("b", 2, 5, 5))
	s.watched(20, func() { s.on(0).work(50, 25, 25) })
	s.watched(10, func() { s.on(0).work(50, 0, 0) })
	if p := s.report.Problems[0]; p.State != Stuck || !strings.Contains(p.Advice, "500 messages wait and 2 connections hold 10 of RDY 10. No timeouts were counted") {
		t.Errorf("problem %+v", p)
	}
}

// Of many channels, the clients of a few are polled at a time, and of each in turn.
func TestWorthClients(t *testing.T) {
	s := newStory(t, 1)
	for i := range 10 {
		s.nsqds[0].channel(Name{"t", fmt.Sprintf("c%d", i)}).flow(int64(1000*(i+1)), 0)
	}
	idle := s.nsqds[0].channel(Name{"t", "paused"})
	idle.flow(1e6, 0)
	idle.Paused = true
	polled := make(map[Name]int)
	s.polls(10, func() {
		if s.report == nil {
			return
		}
		for _, name := range s.report.WorthClients {
			polled[name]++
			s.judge.AddClients(&admin.View{At: s.at, Topics: []admin.Topic{{Name: name.Topic, Channels: []admin.Channel{{Name: name.Channel, ChannelCounts: admin.ChannelCounts{ClientCount: 1}, Clients: []admin.Client{client("a", 1, 1, 1)}}}}}})
		}
	})
	if len(polled) != 10 {
		t.Errorf("polled %v", polled)
	}
	for name, n := range polled {
		if n < 3 || n > 5 {
			t.Errorf("clients of %v were polled %d times", name, n)
		}
	}
}
