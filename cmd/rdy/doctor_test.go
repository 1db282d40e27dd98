package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// doctorScene is what the rules see of a sound cluster of one nsqd. Tests break it.
func doctorScene() *doctorFacts {
	client := admin.Client{
		Connection: admin.Connection{NSQD: "a:4151", ID: "w", Hostname: "w-1", RemoteAddr: "10.0.0.9:1", UserAgent: "go-nsq/1.1.0"},
		RDY:        10, InFlight: 10, Messages: 100, Finished: 90,
	}
	view := func(at int64) *admin.View {
		counts := admin.ChannelCounts{Depth: 500, InFlight: 10, Messages: 600, ClientCount: 1}
		return &admin.View{
			At:    time.Unix(at, 0),
			NSQDs: []admin.NSQD{{Addr: "a:4151", Broadcast: "a", TCPPort: 4150, HTTPPort: 4151, Version: "1.3.0", Health: "OK"}},
			Topics: []admin.Topic{{
				Name: "orders", TopicCounts: admin.TopicCounts{Messages: 600}, NSQDs: []admin.TopicOn{{NSQD: "a:4151"}},
				Channels: []admin.Channel{{Name: "billing", ChannelCounts: counts, NSQDs: []admin.ChannelOn{{NSQD: "a:4151", ChannelCounts: counts}}, Clients: []admin.Client{client}}},
			}},
		}
	}
	f := &doctorFacts{first: view(0), view: view(10), watched: 10 * time.Second, nsqds: map[string]*doctorNSQD{
		"a:4151": {broadcast: "a", resolved: []net.IP{net.IPv4(10, 0, 0, 1)}, clock: true, memQueueSize: 10_000, maxRDY: 2500},
	}}
	f.view.Topics[0].Channels[0].Clients[0].Finished += 50
	f.report = judge.New().Add(f.view)
	return f
}

// Each rule finds its fault in the facts, and only that one.
func TestDoctorRules(t *testing.T) {
	type channel = *admin.Channel
	for _, tc := range []struct {
		name string
		fix  func(f *doctorFacts, before, now channel)
		want string // "rule level subject: text", empty for none
	}{
		{"sound", func(*doctorFacts, channel, channel) {}, ""},
		{"stuck", func(_ *doctorFacts, before, now channel) { now.Clients[0].Finished = before.Clients[0].Finished },
			"stuck critical orders/billing: clients hold 10, all that they accept, and finished nothing for 10 s"},
		{"requeues", func(_ *doctorFacts, before, now channel) {
			now.Clients[0].Finished = before.Clients[0].Finished
			now.Clients[0].Requeued++
		}, ""},
		{"idle client", func(_ *doctorFacts, before, now channel) {
			now.Clients[0].Finished, now.Clients[0].InFlight = before.Clients[0].Finished, 3
		}, ""},
		{"new client", func(_ *doctorFacts, before, now channel) {
			now.Clients[0].Finished, now.Clients[0].RemoteAddr = before.Clients[0].Finished, "10.0.0.9:2"
		}, ""},
		{"health", func(f *doctorFacts, _, _ channel) { f.view.NSQDs[0].Health = "NOK - disk full" },
			"health critical a:4151: its health is NOK - disk full"},
		{"no host", func(f *doctorFacts, _, _ channel) { f.nsqds["a:4151"].noHost = errors.New("no such host") },
			"broadcast critical a:4151: its broadcast address a does not resolve"},
		{"no dial", func(f *doctorFacts, _, _ channel) { f.nsqds["a:4151"].noDial = errors.New("connection refused") },
			"broadcast critical a:4151: its broadcast address cannot be reached: connection refused"},
		{"loopback", func(f *doctorFacts, _, _ channel) {
			f.nsqds["a:4151"].resolved = []net.IP{net.IPv4(127, 0, 0, 1)}
			f.view.Lookupds = []admin.Lookupd{{Addr: "l:4161", Registered: []admin.Registration{{RemoteAddr: "10.0.0.1:555"}}}}
		}, "broadcast critical a:4151: its broadcast address a is loopback"},
		{"all on loopback", func(f *doctorFacts, _, _ channel) {
			f.nsqds["a:4151"].resolved = []net.IP{net.IPv4(127, 0, 0, 1)}
			f.view.Lookupds = []admin.Lookupd{{Addr: "l:4161", Registered: []admin.Registration{{RemoteAddr: "127.0.0.1:555"}}}}
		}, ""},
		{"loopback, and another nsqd on this machine", func(f *doctorFacts, _, _ channel) {
			f.nsqds["a:4151"].broadcast, f.nsqds["a:4151"].resolved = "127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}
			f.nsqds["b:4151"] = &doctorNSQD{broadcast: "b", resolved: []net.IP{net.IPv4(10, 0, 0, 1)}}
			f.view.Lookupds = []admin.Lookupd{{Addr: "l:4161", Registered: []admin.Registration{{RemoteAddr: "10.0.0.1:555"}}}}
			f.own = []net.IP{net.IPv4(10, 0, 0, 1)}
		}, ""},
		{"the name of this machine is loopback here", func(f *doctorFacts, _, _ channel) {
			f.nsqds["a:4151"].hostname, f.nsqds["a:4151"].resolved, f.hostname = "a", []net.IP{net.IPv4(127, 0, 1, 1)}, "a"
			f.view.Lookupds = []admin.Lookupd{{Addr: "l:4161", Registered: []admin.Registration{{RemoteAddr: "10.0.0.2:555"}}}}
		}, ""},
		{"localhost on this machine", func(f *doctorFacts, _, _ channel) {
			f.nsqds["a:4151"].broadcast, f.nsqds["a:4151"].hostname, f.nsqds["a:4151"].resolved, f.hostname = "localhost", "a", []net.IP{net.IPv4(127, 0, 0, 1)}, "a"
			f.view.Lookupds = []admin.Lookupd{{Addr: "l:4161", Registered: []admin.Registration{{RemoteAddr: "10.0.0.2:555"}}}}
		}, "broadcast critical a:4151: its broadcast address localhost is loopback"},
		{"clock ahead", func(f *doctorFacts, _, _ channel) { f.nsqds["a:4151"].ahead = 90 * time.Second },
			"clock warning a:4151: its clock is 1 min 30 s ahead of this machine's"},
		{"clock behind", func(f *doctorFacts, _, _ channel) { f.nsqds["a:4151"].ahead = -3 * time.Second },
			"clock warning a:4151: its clock is 3 s behind this machine's"},
		{"max RDY", func(f *doctorFacts, _, _ channel) { f.nsqds["a:4151"].maxRDY = 10 },
			"max-rdy-count notice orders/billing: a client has RDY 10 on a:4151, which is its --max-rdy-count, and uses it"},
		{"disk", func(_ *doctorFacts, before, now channel) {
			before.NSQDs[0].DiskDepth, now.NSQDs[0].DiskDepth = 400, 400
		},
			"disk notice orders/billing: 400 wait on the disk of a:4151, and memory has room for more"},
		{"disk drains", func(_ *doctorFacts, before, now channel) {
			before.NSQDs[0].DiskDepth, now.NSQDs[0].DiskDepth = 400, 399
		}, ""},
		{"memory is full", func(f *doctorFacts, before, now channel) {
			before.NSQDs[0].DiskDepth, now.NSQDs[0].DiskDepth, f.nsqds["a:4151"].memQueueSize = 400, 400, 100
		}, ""},
		{"deferred", func(_ *doctorFacts, _, now channel) { now.NSQDs[0].Deferred = 10_001 },
			"deferred warning orders/billing: 10,001 messages are deferred on a:4151, more than its --mem-queue-size of 10,000"},
		{"no channel", func(f *doctorFacts, _, _ channel) {
			f.view.Topics[0].Channels, f.view.Topics[0].Depth = nil, 70
		}, "no-channel warning orders: no channel, 70 wait, 70 of them came in 10 s"},
		{"no channel, and nothing comes", func(f *doctorFacts, _, _ channel) {
			f.view.Topics[0].Channels, f.view.Topics[0].Depth, f.first.Topics[0].Depth = nil, 70, 70
		}, ""},
		{"old client", func(_ *doctorFacts, _, now channel) { now.Clients[0].UserAgent = "go-nsq/1.0.6" },
			"old-client notice cluster: go-nsq/1.0.6 on w-1"},
		{"old publisher", func(f *doctorFacts, _, _ channel) {
			f.view.NSQDs[0].Publishers = []admin.Publisher{{Connection: admin.Connection{Hostname: "p-1", UserAgent: "go-nsq/0.3.7"}}}
		}, "old-client notice cluster: go-nsq/0.3.7 on p-1"},
		{"paused for long", func(f *doctorFacts, _, _ channel) {
			c := &f.report.Channels[0]
			c.Paused, c.Depth, c.Rates = true, 36_000, &judge.Rates{In: 5}
		}, "paused notice orders/billing: paused, and 36,000 wait, as many as come in 2 h"},
		{"paused on disk", func(f *doctorFacts, _, _ channel) {
			c := &f.report.Channels[0]
			c.Paused, c.Depth, c.DiskDepth, c.Rates = true, 360, 300, &judge.Rates{In: 5}
		}, "paused notice orders/billing: paused, and 360 wait, 300 of them on disk"},
		{"paused just now", func(f *doctorFacts, _, _ channel) {
			c := &f.report.Channels[0]
			c.Paused, c.Depth, c.Rates = true, 360, &judge.Rates{In: 5}
		}, ""},
		{"paused topic", func(f *doctorFacts, _, _ channel) {
			topic := &f.report.Topics[0]
			topic.Paused, topic.Depth, topic.Published = true, 7200, 1
		}, "paused notice orders: paused, and 7,200 wait, as many as come in 2 h"},
		{"a problem", func(f *doctorFacts, _, _ channel) {
			f.report.Problems = []judge.Problem{{Subject: doctorOf("orders", "billing"), Level: judge.Warning, State: judge.Orphan, Text: "no clients, 500 wait", Advice: "why"}}
		}, "orphan warning orders/billing: no clients, 500 wait"},
		{"a notice", func(f *doctorFacts, _, _ channel) {
			f.report.Problems = []judge.Problem{{Subject: doctorOf("orders", "billing"), Level: judge.Notice, State: judge.Draining}}
		}, ""},
		{"mixed", func(f *doctorFacts, _, _ channel) {
			f.report.Problems = []judge.Problem{{Subject: judge.Subject{Kind: judge.OfCluster}, Level: judge.Notice, State: judge.Mixed, Text: "nsqds have different versions: 1.3.0 on 2, 1.2.1 on 1", Advice: "why"}}
		}, "mixed notice cluster: nsqds have different versions: 1.3.0 on 2, 1.2.1 on 1"},
		{"missing by its address", func(f *doctorFacts, _, _ channel) {
			f.nsqds["a:4151"].noHost = errors.New("no such host")
			f.report.Problems = []judge.Problem{{Subject: doctorNode("a:4151"), Level: judge.Critical, State: judge.Missing, Text: "no response"}}
		}, "broadcast critical a:4151: its broadcast address a does not resolve"},
		{"stuck, told once", func(f *doctorFacts, before, now channel) {
			now.Clients[0].Finished = before.Clients[0].Finished
			f.report.Problems = []judge.Problem{{Subject: doctorOf("orders", "billing"), Level: judge.Critical, State: judge.Stuck, Text: "nothing finished"}}
		}, "stuck critical orders/billing: clients hold 10, all that they accept, and finished nothing for 10 s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := doctorScene()
			tc.fix(f, &f.first.Topics[0].Channels[0], &f.view.Topics[0].Channels[0])
			var got []string
			for _, x := range f.findings() {
				got = append(got, x.Rule+" "+x.Level.String()+" "+x.String()+": "+x.Text)
				if x.Why == "" {
					t.Errorf("no reason: %+v", x)
				}
			}
			want := []string{tc.want}
			if tc.want == "" {
				want = nil
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// doctorTransport responds as an nsqd with a channel whose client holds all that it accepts, and
// finishes a message at every n-th poll, or none if n is 0.
type doctorTransport struct{ polls, every int }

func (d *doctorTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	text := `{"version":"1.3.0","start_time":1,"tcp_port":-1}`
	if r.URL.Path == "/stats" {
		d.polls++
		finished := 0
		if d.every > 0 {
			finished = d.polls / d.every
		}
		text = fmt.Sprintf(`{"version":"1.3.0","health":"OK","start_time":1,"topics":[{"topic_name":"orders","channels":[{"channel_name":"billing",
			"depth":100,"in_flight_count":1,"message_count":%d,"client_count":1,"clients":[{"client_id":"w","ready_count":1,"in_flight_count":1,"finish_count":%d}]}]}]}`,
			101+finished, finished)
	}
	return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(strings.NewReader(text))}, nil
}

// The doctor watches a channel that looks stuck for a minute, unless it is told for how long, and
// stops when something is finished.
func TestDoctorPatience(t *testing.T) {
	for _, tc := range []struct {
		name    string
		every   int
		patient bool
		want    time.Duration
		stuck   bool
	}{
		{"stuck", 0, true, time.Minute, true},
		{"slow", 30, true, 29 * time.Second, false},
		{"sound", 1, true, 10 * time.Second, false},
		{"as told", 0, false, 10 * time.Second, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &doctor{app: &app{stderr: io.Discard}, watch: doctorDefault, patient: tc.patient}
				f := d.watchCluster(t.Context(), &target{Cluster: &admin.Cluster{
					NSQDs: []string{"a:4151"}, Client: &http.Client{Transport: &doctorTransport{every: tc.every}},
				}})
				if f.watched != tc.want || (len(doctorStuck(f)) > 0) != tc.stuck {
					t.Errorf("watched for %v, found %+v", f.watched, doctorStuck(f))
				}
			})
		})
	}
}

// slowTransport responds like doctorTransport, but to /nodes after a while with an error.
type slowTransport struct {
	doctorTransport
	after time.Duration
}

func (s *slowTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/nodes" {
		return s.doctorTransport.RoundTrip(r)
	}
	time.Sleep(s.after) //nolint:forbidigo // in a synctest bubble
	return nil, errors.New("timeout")
}

// A daemon that hangs does not hold up the doctor for as many polls as are made otherwise, but
// for as many as it takes to tell.
func TestDoctorAndADaemonThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doctor{app: &app{stderr: io.Discard}, watch: doctorDefault}
		f := d.watchCluster(t.Context(), &target{Cluster: &admin.Cluster{
			Lookupds: []string{"l:4161"}, NSQDs: []string{"a:4151"},
			Client: &http.Client{Transport: &slowTransport{doctorTransport{every: 1}, 5 * time.Second}},
		}})
		if p := f.report.Problems; f.watched > 30*time.Second || len(p) != 1 || p[0].State != judge.Missing {
			t.Errorf("watched for %v, problems %+v", f.watched, p)
		}
	})
}

// Findings come worst first.
func TestDoctorOrder(t *testing.T) {
	f := doctorScene()
	f.nsqds["a:4151"].maxRDY, f.nsqds["a:4151"].ahead, f.view.NSQDs[0].Health = 10, time.Hour, "NOK"
	var rules []string
	for _, x := range f.findings() {
		rules = append(rules, x.Rule)
	}
	if want := []string{"health", "clock", "max-rdy-count"}; !slices.Equal(rules, want) {
		t.Errorf("got %q, want %q", rules, want)
	}
}

func TestDoctorIsOld(t *testing.T) {
	for agent, want := range map[string]bool{
		"go-nsq/1.0.6": true, "go-nsq/0.3.7": true, "go-nsq/1.0.7": false, "go-nsq/1.0.7-alpha": false, "go-nsq/1.0.5-alpha": true,
		"go-nsq/1.1.0": false, "go-nsq/1.0.10": false, "go-nsq/2": false, "go-nsq/": false, "go-nsq/x.y.z": false, "nsqjs/0.1.0": false, "": false,
	} {
		if doctorIsOld(agent) != want {
			t.Errorf("%q: got %v", agent, !want)
		}
	}
}

// HTTP tells a time to the second, so a clock is off only by what that cannot explain.
func TestDoctorAhead(t *testing.T) {
	for _, tc := range []struct{ date, before, after, want int64 }{
		{10_000, 10_100, 10_200, 0},
		{10_000, 10_900, 12_000, 0},
		{10_000, 9_000, 9_900, 100},
		{10_000, 5_000, 6_000, 4_000},
		{10_000, 11_000, 11_500, 0},
		{10_000, 15_000, 15_500, -4_000},
	} {
		if got := doctorAhead(time.UnixMilli(tc.date), time.UnixMilli(tc.before), time.UnixMilli(tc.after)); got.Milliseconds() != tc.want {
			t.Errorf("%+v: got %v", tc, got)
		}
	}
}

func TestDoctorText(t *testing.T) {
	r := &doctorReport{Findings: []doctorFinding{
		{Level: judge.Critical, Subject: doctorOf("orders", "bil\x1bling"), Text: "nothing finished", Why: strings.Repeat("word ", 30), Command: []string{"rdy", "channel", "describe", "orders", "billing"}},
		{Level: judge.Notice, Subject: judge.Subject{Kind: judge.OfCluster}, Text: "versions differ", Why: "See."},
	}}
	const want = `■ critical: orders/bil\x1bling: nothing finished
  word word word word word word word word word word word word word word word word word
  word word word word word word word word word word word word word
  $ rdy channel describe orders billing

○ notice: versions differ
  See.
`
	if got := string(r.text()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
