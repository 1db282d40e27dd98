package ui

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

func nodeLink(addr string) string { return "/nodes/" + url.PathEscape(addr) }

// wholePage is a page whose body is one cell: what it lists comes and goes.
type wholePage struct {
	body func(*state) cell
}

func (p *wholePage) cells(st *state) []cell             { return []cell{p.body(st)} }
func (p *wholePage) watches(*poller) (stop func())      { return func() {} }
func (p *wholePage) data(st *state) struct{ Body cell } { return struct{ Body cell }{p.body(st)} }

// nodes serves the list of nsqds.
func (s *Server) nodes(w http.ResponseWriter, r *http.Request) {
	st, _ := s.poller.current()
	p := &wholePage{body: func(st *state) cell {
		var rows []nodeRow
		if st.report != nil {
			for i := range st.report.NSQDs {
				rows = append(rows, newNodeRow(&st.report.NSQDs[i], st.report.At))
			}
		}
		return part("body", "nodes-body", rows)
	}}
	s.page(w, r, st, p, "nodes", "Nodes", p.data(st))
}

type nodeRow struct {
	State, Class, Addr, Link, Host, TCP, Version, Up, Messages, Lookupds, Health, Error string
}

func newNodeRow(n *judge.NSQD, now time.Time) nodeRow {
	row := nodeRow{
		State: string(n.State), Class: marks[n.Level], Addr: n.Addr, Link: nodeLink(n.Addr), Host: n.Hostname, TCP: n.TCPAddr(),
		Version: n.Version, Up: noFigure, Messages: figures.Count(n.Messages), Lookupds: strconv.Itoa(len(n.Lookupds)), Health: n.Health, Error: n.Error,
	}
	if n.Up {
		row.Up = ago(n.Started, now)
	}
	return row
}

// node serves the page of an nsqd.
func (s *Server) node(w http.ResponseWriter, r *http.Request) {
	addr := r.PathValue("addr")
	st, _ := s.poller.current()
	if st.report != nil && nodeOf(st.report, addr) == nil {
		s.fail(w, r, http.StatusNotFound, "There is no nsqd "+addr+".")
		return
	}
	p := &wholePage{body: func(st *state) cell { return part("body", "node-body", newNodeData(addr, st)) }}
	s.page(w, r, st, p, "node", addr, struct {
		Addr string
		Body cell
	}{addr, p.body(st)})
}

func nodeOf(r *judge.Report, addr string) *judge.NSQD {
	for i := range r.NSQDs {
		if r.NSQDs[i].Addr == addr {
			return &r.NSQDs[i]
		}
	}
	return nil
}

type nodeData struct {
	nodeRow
	Problems []judge.Problem
	Channels []nodeChannelRow
}

type nodeChannelRow struct {
	Topic, Channel, Link                string
	Depth, Memory, InFlight, Deferred   string
	Requeued, TimedOut, Clients, Paused string
}

func newNodeData(addr string, st *state) nodeData {
	d := nodeData{nodeRow: nodeRow{Addr: addr}}
	if st.report == nil {
		return d
	}
	n := nodeOf(st.report, addr)
	if n == nil {
		d.State, d.Class, d.Error = "gone", "notice", "no nsqlookupd lists it any more"
		return d
	}
	d.nodeRow = newNodeRow(n, st.report.At)
	for _, p := range st.report.Problems {
		if p.Kind == judge.OfNSQD && p.Addr == addr && p.Ended.IsZero() {
			d.Problems = append(d.Problems, p)
		}
	}
	for i := range st.report.Channels {
		c := &st.report.Channels[i]
		for _, on := range c.NSQDs {
			if on.NSQD == addr {
				d.Channels = append(d.Channels, newNodeChannelRow(c.Topic, c.Name, on))
			}
		}
	}
	return d
}

func newNodeChannelRow(topic, channel string, on admin.ChannelOn) nodeChannelRow {
	row := nodeChannelRow{
		Topic: topic, Channel: channel, Link: channelLink(judge.Name{Topic: topic, Channel: channel}),
		Depth: figures.Count(on.Depth), Memory: figures.Count(on.Depth-on.DiskDepth) + " + " + figures.Count(on.DiskDepth),
		InFlight: figures.Count(on.InFlight), Deferred: figures.Count(on.Deferred),
		Requeued: figures.Count(int64(on.Requeued)), TimedOut: figures.Count(int64(on.TimedOut)), // #nosec G115 -- counts from 0
		Clients: strconv.Itoa(on.ClientCount),
	}
	if on.Paused {
		row.Paused = "paused"
	}
	return row
}

// lookup serves the nsqlookupds: what each lists, and where they disagree.
func (s *Server) lookup(w http.ResponseWriter, r *http.Request) {
	st, _ := s.poller.current()
	p := &wholePage{body: func(st *state) cell { return part("body", "lookup-body", newLookupData(st)) }}
	s.page(w, r, st, p, "lookup", "Lookups", p.data(st))
}

type lookupData struct {
	Lookupds []lookupdRow
	NSQDs    []listedRow
	Problems []judge.Problem
}

type lookupdRow struct{ Addr, State, Class, Seen, NSQDs, Error string }

// listedRow says which nsqlookupds list an nsqd.
type listedRow struct {
	Addr, Link string
	On         []string // "listed" or "missing", in the order of the nsqlookupds
}

func newLookupData(st *state) (d lookupData) {
	if st.report == nil {
		return d
	}
	for _, l := range st.report.Lookupds {
		row := lookupdRow{Addr: l.Addr, Seen: "now", NSQDs: strconv.Itoa(l.NSQDs), Error: l.Error}
		if !l.Up {
			row.State, row.Class, row.Seen = "missing", "critical", ago(l.Seen, st.report.At)
		}
		d.Lookupds = append(d.Lookupds, row)
	}
	for i := range st.report.NSQDs {
		n := &st.report.NSQDs[i]
		row := listedRow{Addr: n.Addr, Link: nodeLink(n.Addr)}
		for _, l := range st.report.Lookupds {
			row.On = append(row.On, listed(n, l))
		}
		d.NSQDs = append(d.NSQDs, row)
	}
	for _, p := range st.report.Problems {
		if p.Kind != judge.OfChannel && p.Ended.IsZero() {
			d.Problems = append(d.Problems, p)
		}
	}
	return d
}

func listed(n *judge.NSQD, l judge.Lookupd) string {
	if !l.Up {
		return noFigure
	}
	for _, addr := range n.Lookupds {
		if addr == l.Addr {
			return "listed"
		}
	}
	return "not listed"
}
