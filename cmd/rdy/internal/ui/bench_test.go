package ui

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// crowded is a channel with 500 clients.
var crowded = judge.Name{Topic: "topic-000", Channel: "channel-0"}

// crowd gives a channel 500 clients, and returns it.
func (s *scene) crowd() *fakeChannel {
	c := s.channel(crowded.Topic, crowded.Channel)
	c.Count = 500
	for i := range c.Count {
		c.Clients = append(c.Clients, fakeClient{ID: fmt.Sprintf("client-%d", i), Hostname: "host", Ready: 10, InFlight: int64(i % 10), Connected: 946684000})
	}
	return c
}

// bigState returns a Server that has polled a cluster of 1,000 channels a few times, and what it
// knew before the last poll and after it.
func bigState(b *testing.B) (*Server, *state, *state) {
	b.Helper()
	s := &scene{asked: make(map[string]int)}
	s.server = New(Options{Interval: 2 * time.Second, Cluster: &admin.Cluster{NSQDs: []string{"n:4151"}, Client: &http.Client{Transport: s}}})
	s.fill(1000)
	c := s.crowd()
	s.server.poller.watch(crowded)
	var before *state
	for range 7 {
		before, _ = s.server.poller.current()
		s.work()
		for i := range c.Clients {
			c.Clients[i].Finished += uint64(i)
			c.Clients[i].InFlight = (c.Clients[i].InFlight + 3) % 10
		}
		s.server.poller.poll(context.Background())
	}
	after, _ := s.server.poller.current()
	return s.server, before, after
}

// The first paint: the page of an overview with 100 of 1,000 channels.
func BenchmarkFirstPaint(b *testing.B) {
	s, _, _ := bigState(b)
	h := s.Handler()
	b.ReportAllocs()
	for b.Loop() {
		w := &discard{header: make(http.Header)}
		h.ServeHTTP(w, newRequest(http.MethodGet, "/", nil))
	}
}

// What one viewer costs at a poll.
func BenchmarkUpdate(b *testing.B) {
	s, before, after := bigState(b)
	p := &overview{server: s, view: view{Page: 1}}
	p.names = p.view.page(p.view.rows(after.report))
	screen := s.screens.open(p, after, p.cells(after))
	stream := screen.begin("")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := screen.changes(stream, before); !ok {
			b.Fatal("the stream has ended")
		}
		before, after = after, before
	}
}

// The same for a viewer of a channel with 500 clients, of which 200 are shown.
func BenchmarkUpdateClients(b *testing.B) {
	s, before, after := bigState(b)
	page := &channelPage{server: s, name: crowded}
	screen := s.screens.open(page, after, page.cells(after))
	if n := len(after.channels[crowded].Clients); n != 500 {
		b.Fatalf("%d clients are known", n)
	}
	stream := screen.begin("")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := screen.changes(stream, before); !ok {
			b.Fatal("the stream has ended")
		}
		before, after = after, before
	}
}

// What a poll costs without the requests: rates, judgements and history.
func BenchmarkPoll(b *testing.B) {
	s, _, _ := bigState(b)
	b.ReportAllocs()
	for b.Loop() {
		s.poller.poll(context.Background())
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// What showing 20 messages of 2 KiB costs, which is a second of a tail.
func BenchmarkTailSecond(b *testing.B) {
	lines := make([]line, tailRate)
	for i := range lines {
		lines[i] = line{NSQD: "127.0.0.1:4150", Size: tailing.body, Body: []byte(strings.Repeat(`{"id":17,"a":"b"}`, tailing.body/17))}
	}
	for _, as := range tailing.forms {
		b.Run(string(as), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				linesHTML(lines, as)
			}
		})
	}
}
