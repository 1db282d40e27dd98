package judge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// story is a cluster that a test plays, and the Judge that sees it.
type story struct {
	*testing.T
	judge    *Judge
	at       time.Time
	step     time.Duration
	nsqds    []*fakeNSQD
	lookupds []*fakeLookupd
	report   *Report
	began    []string // "state subject", all of the story
	ended    []string
}

type fakeNSQD struct {
	addr, version string
	down, gone    bool
	started       time.Time
	hidden        []int    // lookupds that do not list it
	tombstoned    []string // topics
	channels      map[Name]*fakeChannel
}

type fakeLookupd struct {
	addr string
	down bool
}

// fakeChannel is a channel on an nsqd.
type fakeChannel struct {
	admin.ChannelCounts
	clients []admin.Client
}

var begin = time.Date(2026, 11, 30, 14, 0, 0, 0, time.UTC)

func newStory(t *testing.T, nsqds int) *story {
	s := &story{T: t, judge: New(), at: begin, step: 2 * time.Second}
	for i := range nsqds {
		s.nsqds = append(s.nsqds, &fakeNSQD{
			addr: fmt.Sprintf("nsqd-%d:4151", i+1), version: "1.3.0", started: begin.Add(-time.Hour), channels: make(map[Name]*fakeChannel),
		})
	}
	return s
}

func (s *story) withLookupds(n int) *story {
	for i := range n {
		s.lookupds = append(s.lookupds, &fakeLookupd{addr: fmt.Sprintf("lookup-%d:4161", i+1)})
	}
	return s
}

var billing = Name{"orders", "billing"}

// on returns the channel on the i-th nsqd, with one client.
func (s *story) on(i int) *fakeChannel { return s.nsqds[i].channel(billing) }

func (n *fakeNSQD) channel(name Name) *fakeChannel {
	c := n.channels[name]
	if c == nil {
		c = &fakeChannel{ChannelCounts: admin.ChannelCounts{ClientCount: 1}}
		n.channels[name] = c
	}
	return c
}

// flow lets messages come and be finished.
func (c *fakeChannel) flow(in, finished int64) {
	c.Messages += uint64(in)
	c.Depth += in - min(finished, c.Depth+in)
}

// restart starts an nsqd anew: it counts from 0 and keeps what waits.
func (s *story) restart(i int) {
	n := s.nsqds[i]
	n.started = s.at.Add(s.step)
	for _, c := range n.channels {
		c.ChannelCounts = admin.ChannelCounts{Depth: c.Depth + c.InFlight, Messages: uint64(c.Depth + c.InFlight), ClientCount: c.ClientCount}
	}
}

// view returns what a poll sees.
func (s *story) view() *admin.View {
	v := &admin.View{At: s.at}
	for _, l := range s.lookupds {
		row := admin.Lookupd{Addr: l.addr}
		if l.down {
			row.Error = l.addr + ": GET /nodes: connection refused"
		}
		v.Lookupds = append(v.Lookupds, row)
	}
	topics := make(map[string]*admin.Topic)
	for _, n := range s.nsqds {
		s.addTo(v, n, topics)
	}
	for _, t := range topics {
		slices.SortFunc(t.Channels, func(a, b admin.Channel) int { return strings.Compare(a.Name, b.Name) })
		v.Topics = append(v.Topics, *t)
	}
	slices.SortFunc(v.Topics, func(a, b admin.Topic) int { return strings.Compare(a.Name, b.Name) })
	return v
}

func (s *story) addTo(v *admin.View, n *fakeNSQD, topics map[string]*admin.Topic) {
	if n.gone {
		return
	}
	host, _, _ := strings.Cut(n.addr, ":")
	listed := len(s.lookupds) == 0
	for i, l := range s.lookupds {
		if l.down || slices.Contains(n.hidden, i) {
			continue
		}
		listed = true
		r := admin.Registration{Broadcast: host, TCPPort: 4150, HTTPPort: 4151, Topics: []string{}, Tombstoned: n.tombstoned}
		for name := range n.channels {
			if !slices.Contains(r.Topics, name.Topic) {
				r.Topics = append(r.Topics, name.Topic)
			}
		}
		slices.Sort(r.Topics)
		v.Lookupds[i].Registered = append(v.Lookupds[i].Registered, r)
	}
	if !listed {
		return
	}
	if n.down {
		v.NSQDs = append(v.NSQDs, admin.NSQD{Addr: n.addr, Error: n.addr + ": GET /stats: dial tcp: connection refused"})
		return
	}
	v.NSQDs = append(v.NSQDs, admin.NSQD{Addr: n.addr, At: s.at, Hostname: host, TCPPort: 4150, HTTPPort: 4151, Version: n.version, Started: n.started, Health: "OK"})
	seen := make(map[string]bool)
	for name, c := range n.channels {
		t := topics[name.Topic]
		if t == nil {
			t = &admin.Topic{Name: name.Topic}
			topics[name.Topic] = t
		}
		if !seen[name.Topic] {
			seen[name.Topic] = true
			t.NSQDs = append(t.NSQDs, admin.TopicOn{NSQD: n.addr, TopicCounts: admin.TopicCounts{Messages: c.Messages}})
			t.Messages += c.Messages
		}
		sum := t.Channel(name.Channel)
		if sum == nil {
			t.Channels = append(t.Channels, admin.Channel{Name: name.Channel})
			sum = &t.Channels[len(t.Channels)-1]
		}
		sum.NSQDs = append(sum.NSQDs, admin.ChannelOn{NSQD: n.addr, ChannelCounts: c.ChannelCounts})
		sum.Depth += c.Depth
		sum.DiskDepth += c.DiskDepth
		sum.InFlight += c.InFlight
		sum.Deferred += c.Deferred
		sum.Messages += c.Messages
		sum.Requeued += c.Requeued
		sum.TimedOut += c.TimedOut
		sum.ClientCount += c.ClientCount
		sum.Paused = sum.Paused || c.Paused
		for _, client := range c.clients {
			client.NSQD = n.addr
			sum.Clients = append(sum.Clients, client)
		}
	}
}

// poll lets the time of a step pass and judges what is seen then. do is called before, and may be
// nil.
func (s *story) poll(do func()) *Report {
	s.Helper()
	s.at = s.at.Add(s.step)
	if do != nil {
		do()
	}
	s.report = s.judge.Add(s.view())
	for _, p := range s.report.Began {
		s.began = append(s.began, string(p.State)+" "+p.String())
	}
	for _, p := range s.report.Ended {
		s.ended = append(s.ended, string(p.State)+" "+p.String())
	}
	checkReport(s.T, s.report)
	return s.report
}

// polls polls several times.
func (s *story) polls(n int, do func()) {
	s.Helper()
	for range n {
		s.poll(do)
	}
}

// clients lets the Judge see the clients as they are.
func (s *story) clients() { s.judge.AddClients(s.view()) }

// channel returns the row of billing.
func (s *story) channel() *Channel {
	s.Helper()
	for i := range s.report.Channels {
		if c := &s.report.Channels[i]; c.Topic == billing.Topic && c.Name == billing.Channel {
			return c
		}
	}
	s.Fatal("no channel")
	return nil
}

// problems returns "state subject: text" of all.
func (s *story) problems() []string {
	var all []string
	for _, p := range s.report.Problems {
		all = append(all, fmt.Sprintf("%s %s %s: %s", p.Level, p.State, p, p.Text))
	}
	return all
}

// want checks the problems of the last report.
func (s *story) want(problems ...string) {
	s.Helper()
	if got := s.problems(); !slices.Equal(got, problems) {
		s.Errorf("after %v: problems\n\t%s\nwant\n\t%s", s.at.Sub(begin), strings.Join(got, "\n\t"), strings.Join(problems, "\n\t"))
	}
}

// wantEvents checks what has begun and ended in the whole story.
func (s *story) wantEvents(began, ended []string) {
	s.Helper()
	if !slices.Equal(s.began, began) || !slices.Equal(s.ended, ended) {
		s.Errorf("began %q, ended %q; want %q and %q", s.began, s.ended, began, ended)
	}
}

// checkReport checks what holds of every report.
func checkReport(t *testing.T, r *Report) {
	t.Helper()
	wrong := func(format string, args ...any) { t.Errorf("at %v: %s", r.At, fmt.Sprintf(format, args...)) }
	if !slices.IsSortedFunc(r.Problems, compareProblems) {
		wrong("problems are not sorted: %+v", r.Problems)
	}
	subjects := make(map[string]bool)
	for _, p := range r.Problems {
		key := string(p.Kind) + p.String()
		if p.Kind == OfCluster {
			key += string(p.State)
		}
		if p.Ended.IsZero() && subjects[key] {
			wrong("several problems of %s", key)
		}
		subjects[key] = subjects[key] || p.Ended.IsZero()
		if p.Text == "" || strings.Contains(p.Text, "\n") || p.Since.IsZero() || p.Level < Critical || p.Level > ByChoice || p.Ended.IsZero() && p.Advice == "" {
			wrong("problem %+v", p)
		}
	}
	for i := range r.Channels {
		c := &r.Channels[i]
		if c.Level < Critical || c.Level > Fine || (c.State == "") != (c.Level == Fine) || len(c.History.Depth) != Points {
			wrong("channel %+v", c)
		}
		if x := c.Rates; x != nil && (x.In < 0 || x.Finished < 0 || x.Requeued < 0 || x.TimedOut < 0 || x.RequeuedShare() > 1 || x.TimedOutShare() > 1) {
			wrong("rates %+v of %s/%s", x, c.Topic, c.Name)
		}
		if c.Drain.Kind == "" || c.Drain.Time < 0 {
			wrong("drain %+v", c.Drain)
		}
	}
	if len(r.WorthClients) > maxWorth {
		wrong("clients of %d channels", len(r.WorthClients))
	}
	if c := &r.Cluster; c.NSQDs > c.KnownNSQDs || c.Lookupds > c.KnownLookupds || c.KnownNSQDs != len(r.NSQDs) || c.In < 0 || c.Finished < 0 || c.Published < 0 {
		wrong("cluster %+v", c)
	}
}
