package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A Poll reads what nsqd and nsqlookupd 1.2.1 and 1.3.0 have said: the files in testdata were
// recorded.
func TestPollReadsWhatDaemonsSay(t *testing.T) {
	for _, version := range []string{"1.2.1", "1.3.0"} {
		t.Run(version, func(t *testing.T) {
			s := newScene(t)
			s.recorded("nsqd.example:5151", version)
			s.daemon("lookup.example:5161").responses["/nodes"] = s.file("nodes-" + version)
			c := s.cluster([]string{"lookup.example:5161"}, nil)
			v, err := c.PollClients(t.Context(), "", "")
			if err != nil || v.Partial() {
				t.Fatal(err)
			}
			r := v.Lookupds[0].Registered
			if len(r) != 1 || r[0].TCPAddr() != "nsqd.example:5150" || !slices.Equal(r[0].Tombstoned, []string{"clicks"}) || !slices.Equal(r[0].Topics, []string{"clicks", "orders"}) {
				t.Errorf("registered: %+v", r)
			}
			n := v.NSQDs[0]
			if n.Addr != "nsqd.example:5151" || n.TCPAddr() != "nsqd.example:5150" || n.Version != version || n.Health != "OK" || n.Hostname != "host.example" ||
				n.Started.Year() != 2026 || !slices.Equal(n.Lookupds, c.Lookupds) || len(n.Publishers) != 1 ||
				!slices.Equal(n.Publishers[0].Published, []Published{{"orders", 1}}) {
				t.Errorf("nsqd: %+v", n)
			}
			if got, want := v.Topic("clicks").TopicCounts, (TopicCounts{Depth: 2, Messages: 2, Bytes: 2, Paused: true}); got != want {
				t.Errorf("clicks: %+v", got)
			}
			orders := v.Topic("orders")
			for name, want := range map[string]ChannelCounts{
				"archive": {Depth: 5, DiskDepth: 3, Deferred: 1, Messages: 6, Paused: true},
				"billing": {Deferred: 1, Messages: 6, ClientCount: 1},
				"fraud":   {Depth: 3, DiskDepth: 2, InFlight: 2, Deferred: 1, Messages: 6, ClientCount: 1},
			} {
				if got := orders.Channel(name).ChannelCounts; got != want {
					t.Errorf("%s: %+v", name, got)
				}
			}
			client := orders.Channel("fraud").Clients[0]
			if client.ID != "worker-1" || client.UserAgent != "go-nsq/1.1.0" || client.NSQD != n.Addr || client.RDY != 2 || client.InFlight != 2 ||
				client.Messages != 2 || client.Finished != 0 || client.Closing || client.Connected.Before(n.Started) {
				t.Errorf("client: %+v", client)
			}
			if tail := orders.Channel("billing").Clients[0]; tail.Finished != 5 {
				t.Errorf("client: %+v", tail)
			}
			if v.Topic("none") != nil || orders.Channel("none") != nil {
				t.Error("found what is not there")
			}
		})
	}
}

// Counts of several nsqds are summed, and each nsqd is kept.
func TestPollSums(t *testing.T) {
	s := newScene(t)
	s.nsqd("a:4151", 1, topicStats{Name: "t", Depth: 1, BackendDepth: 1, MessageCount: 5, MessageBytes: 50, Channels: []channelStats{
		{Name: "c", Depth: 1, BackendDepth: 1, InFlightCount: 2, DeferredCount: 3, MessageCount: 4, RequeueCount: 5, TimeoutCount: 6, ClientCount: 7},
		{Name: "b"},
	}})
	s.nsqd("b:4151", 1, topicStats{Name: "t", Depth: 2, MessageCount: 6, MessageBytes: 60, Paused: true, Channels: []channelStats{
		{Name: "c", Depth: 10, InFlightCount: 20, DeferredCount: 30, MessageCount: 40, RequeueCount: 50, TimeoutCount: 60, ClientCount: 70, Paused: true},
	}}, topicStats{Name: "s"})
	v := s.poll(s.cluster(nil, []string{"a:4151", "b:4151", "a:4151"}))
	if len(v.NSQDs) != 2 || len(v.Topics) != 2 || v.Topics[0].Name != "s" || len(v.Topics[1].Channels) != 2 || v.Topics[1].Channels[0].Name != "b" {
		t.Fatalf("%+v", v)
	}
	topic := v.Topics[1]
	if want := (TopicCounts{Depth: 3, DiskDepth: 1, Messages: 11, Bytes: 110, Paused: true}); topic.TopicCounts != want || len(topic.NSQDs) != 2 || topic.NSQDs[0].NSQD != "a:4151" || topic.NSQDs[0].Paused {
		t.Errorf("%+v", topic)
	}
	channel := topic.Channel("c")
	if channel.ClientCount != 77 || channel.Clients != nil {
		t.Errorf("%d clients, %+v", channel.ClientCount, channel.Clients)
	}
	want := ChannelCounts{Depth: 11, DiskDepth: 1, InFlight: 22, Deferred: 33, Messages: 44, Requeued: 55, TimedOut: 66, ClientCount: 77, Paused: true}
	if channel.ChannelCounts != want || channel.Backlog() != 66 || len(channel.NSQDs) != 2 || channel.NSQDs[1].NSQD != "b:4151" || channel.NSQDs[1].Depth != 10 {
		t.Errorf("%+v", channel)
	}
}

// A daemon that does not respond is named, and the figures of the others are there.
func TestPollIsPartial(t *testing.T) {
	s := newScene(t)
	s.lookupd("a", "b", "c")
	s.nsqd("a:4151", 1, topicStats{Name: "t", Depth: 1})
	s.nsqd("b:4151", 1).status["/stats"] = http.StatusInternalServerError
	s.nsqd("c:4151", 1).responses["/stats"] = "<html>"
	c := s.cluster([]string{"l:1", "dead:1"}, []string{"d:4151", "what?"})
	v, err := c.Poll(t.Context())
	if v == nil || !v.Partial() || len(v.Topics) != 1 || v.Topics[0].Depth != 1 {
		t.Fatalf("%+v, error %v", v, err)
	}
	for addr, want := range map[string]string{
		"a:4151": "", "b:4151": "HTTP status 500", "c:4151": "invalid response", "d:4151": "connection refused", "what?": "invalid address",
	} {
		i := slices.IndexFunc(v.NSQDs, func(n NSQD) bool { return n.Addr == addr })
		if i < 0 || !strings.Contains(v.NSQDs[i].Error, want) || want == "" && v.NSQDs[i].Error != "" {
			t.Errorf("%s: %+v", addr, v.NSQDs)
		}
		if want != "" && !strings.Contains(err.Error(), addr+": GET /stats: ") {
			t.Errorf("error %v does not name %s", err, addr)
		}
	}
	if v.Lookupds[0].Error != "" || !strings.Contains(v.Lookupds[1].Error, "refused") {
		t.Errorf("%+v", v.Lookupds)
	}
	if e, ok := errors.AsType[*Error](err); !ok || e.Addr != "dead:1" || e.Op != "GET /nodes" || e.Status != 0 {
		t.Errorf("error %#v", e)
	}
	text, err := json.Marshal(v)
	if err != nil || strings.Contains(string(text), "null") {
		t.Errorf("%s, error %v: want no null", text, err)
	}
}

// An nsqd that is named by two addresses counts once.
func TestPollKnowsNSQDByTwoAddresses(t *testing.T) {
	s := newScene(t)
	s.lookupd("a")
	s.nsqd("a:4151", 1, topicStats{Name: "t", Depth: 1})
	s.daemons["localhost:4151"] = s.daemons["a:4151"]
	c := s.cluster([]string{"l:1"}, []string{"localhost:4151"})
	for range 3 {
		v := s.poll(c)
		if len(v.NSQDs) != 1 || v.Topics[0].Depth != 1 || v.NSQDs[0].Addr != "localhost:4151" || !slices.Equal(v.NSQDs[0].Lookupds, []string{"l:1"}) {
			t.Fatalf("%+v", v)
		}
	}
	infos := slices.DeleteFunc(s.asked(), func(r string) bool { return !strings.Contains(r, "/info") })
	if len(infos) != 2 {
		t.Errorf("asked %q, want /info once for each address", infos)
	}
	s.nsqd("a:4151", 2)
	s.poll(c)
	if asked := s.asked(); !slices.Contains(asked, "a:4151 GET /info") {
		t.Errorf("asked %q, want /info again after a restart", asked)
	}
}

// A Poll asks for no more than it needs, and for no more than Parallel says at a time.
func TestPollAsks(t *testing.T) {
	s := newScene(t)
	var nsqds []string
	for i := range 100 {
		host := "n" + strings.Repeat("x", i)
		s.nsqd(host+":4151", 1)
		nsqds = append(nsqds, host+":4151")
	}
	c := s.cluster(nil, nsqds)
	c.Parallel = 3
	s.poll(c)
	s.asked()
	s.poll(c)
	if asked := s.asked(); len(asked) != 100 || !slices.Contains(asked, "n:4151 GET /stats?format=json&include_clients=false&include_mem=false") {
		t.Errorf("%d requests, such as %q", len(asked), asked[:1])
	}
	if s.busiest > 3 {
		t.Errorf("%d requests at a time", s.busiest)
	}
	if _, err := c.PollClients(t.Context(), "t", "c"); err != nil {
		t.Fatal(err)
	}
	if asked := s.asked(); !slices.Contains(asked, "n:4151 GET /stats?channel=c&format=json&include_clients=true&include_mem=false&topic=t") {
		t.Errorf("asked %q", asked[:1])
	}
}

// An nsqd that the Cluster names is not missing if the address that it broadcasts is out of reach,
// or accepts HTTPS only.
func TestPollKnowsUnreachableAddress(t *testing.T) {
	s := newScene(t)
	s.lookupd("a", "b")
	s.nsqd("localhost:4151", 1, topicStats{Name: "t", Depth: 1}).says("a", 1)
	s.nsqd("b:4152", 1, topicStats{Name: "t", Depth: 2}).says("b", 1)
	b := s.daemon("b:4151")
	b.status["/stats"], b.responses["/stats"] = http.StatusForbidden, `{"message":"TLS_REQUIRED"}`
	v := s.poll(s.cluster([]string{"l:1"}, []string{"localhost:4151", "https://b:4152"}))
	if v.Partial() || len(v.NSQDs) != 2 || v.Topics[0].Depth != 3 || !slices.Equal(v.NSQDs[0].Lookupds, []string{"l:1"}) {
		t.Errorf("%+v", v)
	}
}

// nsqlookupd lists the ports of --broadcast-tcp-port and --broadcast-http-port, /info those that
// nsqd listens on.
func TestPollKnowsBroadcastPorts(t *testing.T) {
	s := newScene(t)
	s.daemon("l:1").responses["/nodes"] = `{"producers":[{"broadcast_address":"a","tcp_port":31000,"http_port":31001}]}`
	s.nsqd("localhost:4151", 1, topicStats{Name: "t", Depth: 1}).says("a", 1)
	s.daemons["a:31001"] = s.daemons["localhost:4151"]
	for _, named := range [][]string{nil, {"localhost:4151"}} {
		v := s.poll(s.cluster([]string{"l:1"}, named))
		if len(v.NSQDs) != 1 || v.Topics[0].Depth != 1 || v.NSQDs[0].TCPAddr() != "a:31000" || v.NSQDs[0].HTTPPort != 31001 || !slices.Equal(v.NSQDs[0].Lookupds, []string{"l:1"}) {
			t.Errorf("%q: %+v", named, v)
		}
	}
}

// An IPv6 address may be broadcast with brackets or without.
func TestPollKnowsIPv6(t *testing.T) {
	for _, broadcast := range []string{"::1", "[::1]"} {
		s := newScene(t)
		s.lookupd(broadcast)
		s.nsqd("[::1]:4151", 1, topicStats{Name: "t"}).says(broadcast, 1)
		v := s.poll(s.cluster([]string{"l:1"}, nil))
		if n := v.NSQDs[0]; n.Addr != "[::1]:4151" || n.TCPAddr() != "[::1]:4150" || len(v.Topics) != 1 || v.Lookupds[0].Registered[0].TCPAddr() != "[::1]:4150" {
			t.Errorf("%+v", v)
		}
	}
}

// An nsqlookupd that hangs does not hold up the nsqds whose addresses are known without it.
func TestPollWhileNSQLookupdHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.lookupd("b")
		s.daemon("hangs:1").delay = -1
		s.nsqd("a:4151", 1, topicStats{Name: "t", Depth: 1})
		s.nsqd("b:4151", 1, topicStats{Name: "t", Depth: 2})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		v, err := s.cluster([]string{"hangs:1", "l:1"}, []string{"a:4151"}).Poll(ctx)
		if e, ok := errors.AsType[*Error](err); !ok || e.Addr != "hangs:1" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if !v.Partial() || len(v.NSQDs) != 2 || len(v.Topics) != 1 || v.Topics[0].Depth != 3 {
			t.Errorf("%+v", v)
		}
	})
}

// nsqlookupd lists nsqds and topics in random order. A View does not.
func TestPollSorts(t *testing.T) {
	s := newScene(t)
	s.nsqd("a:4151", 1)
	s.nsqd("a:4161", 1).responses["/info"] = `{"broadcast_address":"a","tcp_port":4160,"http_port":4161,"start_time":1}`
	s.nsqd("b:4151", 1)
	var views []string
	for _, nodes := range []string{
		`{"broadcast_address":"b","http_port":4151,"topics":["u","t"],"tombstones":[true,true]},{"broadcast_address":"a","http_port":4151},{"broadcast_address":"a","http_port":4161}`,
		`{"broadcast_address":"a","http_port":4161},{"broadcast_address":"a","http_port":4151},{"broadcast_address":"b","http_port":4151,"topics":["t","u"],"tombstones":[true,true]}`,
	} {
		s.daemon("l:1").responses["/nodes"] = `{"producers":[` + nodes + `]}`
		v := s.poll(s.cluster([]string{"l:1"}, nil))
		v.tookPlace(time.Time{})
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, string(text))
	}
	if views[0] != views[1] {
		t.Errorf("%s\n%s", views[0], views[1])
	}
}

// An nsqlookupd cannot make a program ask any number of addresses.
func TestPollBoundsNSQDs(t *testing.T) {
	s := newScene(t)
	s.daemon("l:1").responses["/nodes"] = `{"producers":[` + strings.Repeat(`{},`, maxNSQDs) + `{}]}`
	v, err := s.cluster([]string{"l:1"}, nil).Poll(t.Context())
	if err == nil || !strings.Contains(v.Lookupds[0].Error, "more than 10000 nsqds") || len(v.NSQDs) > 0 {
		t.Errorf("error %v", err)
	}
}

func TestPollEnds(t *testing.T) {
	s := newScene(t)
	s.nsqd("a:4151", 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v, err := s.cluster(nil, []string{"a:4151"}).Poll(ctx)
	if !errors.Is(err, context.Canceled) || !v.Partial() {
		t.Errorf("error %v", err)
	}
	if v, err := new(Cluster).Poll(t.Context()); err != nil || v.Partial() || len(v.Topics) > 0 {
		t.Errorf("%+v, error %v", v, err)
	}
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"a:1":                      "http://a:1",
		"[::1]:4151":               "http://[::1]:4151",
		"http://a:1":               "http://a:1",
		"https://lookup.example/":  "https://lookup.example",
		"https://u:p@a:1/behind/":  "https://u:p@a:1/behind",
		"[fe80::1%eth0]:4151":      "http://[fe80::1%25eth0]:4151",
		"evil.example/path?:1":     "",
		"u:secret@a:1":             "",
		"":                         "",
		"a":                        "",
		"a:":                       "",
		"ftp://a:1":                "",
		"http://a:1/?token=secret": "",
		"http://":                  "",
		"https://u:secret@a:x/bad": "",
	} {
		u, err := baseURL(addr)
		if want == "" {
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v, error %v", addr, u, err)
			}
		} else if err != nil || u.String() != want {
			t.Errorf("%q: %v, error %v, want %s", addr, u, err, want)
		}
	}
}

// The parsers take anything, and what they return can be written again.
func FuzzPoll(f *testing.F) {
	s := newScene(nil)
	f.Add(`{"version":"1","start_time":1,"topics":[{"topic_name":"t","channels":[{"channel_name":"c","clients":[{"state":4}]}]}],"producers":[{}]}`, `{"tcp_port":1,"start_time":1}`, `{"producers":[{"topics":["t"],"tombstones":[true,true]}]}`)
	f.Add(`{"version":"1","start_time":1,"topics":[{"topic_name":"t"},{"topic_name":"t"}]}`, `null`, `{"producers":[null]}`)
	f.Add(`[]`, ``, `{"producers":{}}`)
	f.Fuzz(func(t *testing.T, stats, info, nodes string) {
		s.daemon("a:1").responses["/stats"], s.daemon("a:1").responses["/info"] = stats, info
		s.daemon("l:1").responses["/nodes"] = nodes
		c := s.cluster([]string{"l:1"}, []string{"a:1"})
		v, err := c.PollClients(t.Context(), "", "")
		if (err != nil) != v.Partial() {
			t.Errorf("error %v of %+v", err, v)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var again View
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		again.At, v.At = time.Time{}, time.Time{}
		if rest, err := json.Marshal(again); err != nil || !jsonEqual(t, rest, v) {
			t.Errorf("%s became %s, error %v", text, rest, err)
		}
		Between(v, v)
	})
}

// jsonEqual reports whether text is v.
func jsonEqual(t *testing.T, text []byte, v any) bool {
	t.Helper()
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal(text, &a) != nil || json.Unmarshal(want, &b) != nil {
		return false
	}
	return reflect.DeepEqual(a, b)
}

// Work that has run dry goes on when a function is added.
func TestWorkGoesOn(t *testing.T) {
	w := (&Cluster{Parallel: 1}).work()
	for want := 1; want <= 3; want++ {
		ran := 0
		for range want {
			w.add(func() { ran++ }) // one at a time
		}
		w.wait()
		if ran != want {
			t.Fatalf("%d functions of %d were called", ran, want)
		}
	}
}
