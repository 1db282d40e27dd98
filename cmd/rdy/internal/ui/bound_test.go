package ui

import (
	"runtime"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
)

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
	var streams []chan struct{}
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
			for _, p := range []page{table, &channelPage{server: s.server, name: crowded}} {
				screen := s.server.screens.open(p, st, p.cells(st))
				screens, streams = append(screens, screen), append(streams, screen.begin(""))
			}
		}
		for n, screen := range screens {
			if _, ok := screen.changes(streams[n], st); !ok {
				t.Fatal("a stream has ended")
			}
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
