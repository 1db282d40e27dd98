package ui

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// bigState returns a Server that has polled a cluster of 1,000 channels with 5 connections each
// a few times, and what it knows.
func bigState(b *testing.B) (*Server, *state, *state) {
	b.Helper()
	s := &scene{asked: make(map[string]int)}
	s.server = New(Options{Interval: 2 * time.Second, Cluster: &admin.Cluster{NSQDs: []string{"n:4151"}, Client: &http.Client{Transport: s}}})
	s.fill(1000)
	var before *state
	for range 7 {
		before, _ = s.server.poller.current()
		s.work()
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
	screen := s.screens.open(p, after)
	b.ReportAllocs()
	for b.Loop() {
		screen.changes(before)
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
