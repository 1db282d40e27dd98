package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
)

func TestNodeList(t *testing.T) {
	c := startCluster(t, 2)
	args := []string{"node", "list", "--lookupd", c.lookupds[0], "--nsqd-http", unreachable}
	code, stdout, stderr := execute(t, append(args, "--json")...)
	r := decode[nodeList](t, stdout)
	if code != exitFailure || len(r.NSQDs) != 3 || len(r.Lookupds) != 1 || len(r.Lookupds[0].Registered) != 2 || len(r.Errors) != 1 {
		t.Errorf("exit code %d, stdout %s, stderr %q", code, stdout, stderr)
	}
	code, stdout, stderr = execute(t, args...)
	for _, n := range c.nsqds {
		if !strings.Contains(stdout, n.HTTPAddr+"  "+n.TCPAddr+"  1.3.0    OK ") {
			t.Errorf("no nsqd %v in\n%s", n, stdout)
		}
	}
	if code != exitFailure || !strings.Contains(stderr, unreachable) {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if code, _, stderr := execute(t, args[:4]...); code != exitOK || stderr != "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	_, stdout, _ = execute(t, "node", "list", "--lookupd", unreachable, "--json")
	if r := decode[nodeList](t, stdout); r.NSQDs == nil || len(r.Lookupds) != 1 || len(r.Errors) != 1 {
		t.Errorf("stdout %s", stdout)
	}
}

func TestNodeTables(t *testing.T) {
	on := admin.ChannelOn{NSQD: "a:1", ChannelCounts: admin.ChannelCounts{Depth: 1, InFlight: 1, Deferred: 1}}
	v := &admin.View{
		At: time.Unix(100, 0),
		NSQDs: []admin.NSQD{
			{Addr: "a:1", Broadcast: "a", TCPPort: 2, Version: "1.3.0", Health: "NOK - disk\nfull", Started: time.Unix(10, 0), Lookupds: []string{"l:1"}},
			{Addr: "b:1", Error: "refused"},
		},
		Lookupds: []admin.Lookupd{
			{Addr: "l:1", Registered: []admin.Registration{{Tombstoned: []string{"t"}}}},
			{Addr: "m:1", Error: "refused"},
		},
		Topics: []admin.Topic{{Name: "t", NSQDs: []admin.TopicOn{{NSQD: "a:1", TopicCounts: admin.TopicCounts{Depth: 2}}},
			Channels: []admin.Channel{{Name: "c", NSQDs: []admin.ChannelOn{on}}}}},
	}
	want := []string{
		`nsqd  TCP  version  health            listed by  topics  messages      up for`,
		`a:1   a:2  1.3.0    NOK - disk\nfull        1/2       1         5  1 min 30 s`,
		`b:1   –    –        missing                 0/2       –         –           –`,
		``,
		`nsqlookupd    nsqds  tombstones`,
		`l:1               1           1`,
		`m:1         missing           –`,
		``,
	}
	if got := strings.Split(string(nodeTables(v)), "\n"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestNodeConfig(t *testing.T) {
	c := startCluster(t, 2)
	for _, tc := range []struct {
		line string
		want string // the value on both nsqds
		text string // the same for people
	}{
		{"max-rdy-count", "2500", "2500"},
		{"msg_timeout", "60000000000", "1m0s"},
		{"log_level error", "4", "error"},
		{"log_level", "4", "error"},
		{"broadcast_address", "127.0.0.1", "127.0.0.1"},
	} {
		args := append([]string{"node", "config"}, append(strings.Fields(tc.line), c.httpFlags()...)...)
		code, stdout, stderr := execute(t, append(args, "--jq", ".nsqds[].value")...)
		if want := tc.want + "\n" + tc.want + "\n"; code != exitOK || stdout != want {
			t.Errorf("%s: exit code %d, stdout %q, want %q, stderr %q", tc.line, code, stdout, want, stderr)
		}
		if _, stdout, _ := execute(t, args...); strings.Count(stdout, "  "+tc.text+"\n") != 2 {
			t.Errorf("%s: no %q in\n%s", tc.line, tc.text, stdout)
		}
	}
	code, stdout, stderr := execute(t, append(c.httpFlags(), "node", "config", "bogus", "--json")...)
	if r := decode[nodeConfig](t, stdout); code != exitFailure || len(r.NSQDs) != 0 || len(r.Errors) != 2 || !strings.Contains(stderr, "INVALID_OPTION") {
		t.Errorf("exit code %d, stdout %s, stderr %q", code, stdout, stderr)
	}
}

// nsqd takes the addresses as a JSON list. Not a real nsqd: its own goroutines race here.
func TestNodeConfigLookupds(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "GET /stats", "GET /info":
			_, _ = io.WriteString(w, `{"version":"1.3.0","start_time":1}`)
		case "PUT /config/nsqlookupd_tcp_addresses":
			_, _ = io.Copy(w, r.Body)
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer s.Close()
	for value, want := range map[string]string{
		"a:4160, b:4160": `["a:4160","b:4160"]`,
		"":               `[]`,
	} {
		code, stdout, stderr := execute(t, "node", "config", "--nsqd-http", s.URL, "--jq", ".nsqds[].value", "--", "nsqlookupd-tcp-addresses", value)
		if code != exitOK || stdout != want+"\n" {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", value, code, stdout, stderr)
		}
	}
}

// A value that is not UTF-8 does not make the output invalid JSON.
func TestNodeConfigInvalidUTF8(t *testing.T) {
	nsqd := fakeDaemon(t, map[string]string{
		"/stats":                `{"version":"1.3.0","start_time":1,"topics":[]}`,
		"/info":                 `{"start_time":1}`,
		"/config/max_rdy_count": "[\"\xff\"]",
	})
	_, stdout, stderr := execute(t, "node", "config", "max-rdy-count", "--json", "--nsqd-http", nsqd)
	if r := decode[nodeConfig](t, stdout); len(r.NSQDs) != 1 || stderr != "" {
		t.Errorf("got %+v, stderr %q", r, stderr)
	}
}
