package ui

import (
	"runtime"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// With a thousand channels, memory grows for the day that is kept, and then no more: a series has
// as many points as there is room for from its beginning.
func TestMemoryBound(t *testing.T) {
	const channels, perChannel, hour = 1000, 39 << 10, 1800
	r := &judge.Report{At: time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)}
	for i := range channels {
		r.Channels = append(r.Channels, judge.Channel{Topic: numbered("topic-", i/5), Name: numbered("channel-", i%5)})
	}
	h := newHistory()
	before := heap()
	polls := func(n int) int64 {
		for range n {
			r.At = r.At.Add(2 * time.Second)
			h.add(r)
		}
		return heap() - before
	}
	first, later := polls(10), polls(2*hour)
	if most := int64(1.1 * channels * perChannel); first > most || later > most {
		t.Errorf("history has %d bytes at first and %d after two hours, want at most %d", first, later, most)
	}
	runtime.KeepAlive(h)
}

// An hour of polls of a cluster with a thousand channels, one with 500 clients that a viewer looks
// at: all that the server keeps is less than 60 MB.
func TestHourBound(t *testing.T) {
	const every, most = 30 * time.Second, 60 << 20
	s := newScene(t, nil)
	s.fill(1000)
	s.crowd()
	p := s.server.poller
	var views, clients [2]*admin.View
	for i := range views { // they take turns, because the Judge keeps the last one
		var err error
		if views[i], err = p.cluster.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if clients[i], err = p.cluster.PollClients(t.Context(), crowded.Topic, crowded.Channel); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	at := views[1].At
	var screens []*screen
	for i := range int(time.Hour / every) {
		at = at.Add(every)
		v, of := views[i%2], clients[i%2]
		v.At, of.At = at, at
		for j := range v.Topics {
			for k := range v.Topics[j].Channels {
				c := &v.Topics[j].Channels[k]
				c.Messages, c.Depth = uint64(100*i), int64(i*(j+k)%977) // #nosec G115 -- counts from 0
			}
		}
		p.judge.AddClients(of)
		report := p.judge.Add(v)
		p.history.add(report)
		was, _ := p.current()
		st := newState(report, every, was)
		p.publish(st)
		if i == 0 {
			table := &overview{server: s.server, view: view{Page: 1}}
			table.names = table.view.page(table.view.rows(report))
			screens = append(screens, s.server.screens.open(table, st), s.server.screens.open(&channelPage{server: s.server, name: crowded}, st))
		}
		for _, screen := range screens {
			screen.changes(st)
		}
	}
	after := heap() - before
	t.Logf("%d MB", after>>20)
	if after > most {
		t.Errorf("the server keeps %d bytes, want at most %d", after, int64(most))
	}
	runtime.KeepAlive(s)
}

// heap returns the bytes of what is reachable.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) // #nosec G115 -- less than the memory of this machine
}
