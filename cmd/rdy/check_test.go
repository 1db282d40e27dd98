package main

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// checkView is a poll of two nsqds that hold a channel.
func checkView(at int64, counts ...admin.ChannelCounts) *admin.View {
	v := &admin.View{At: time.Unix(at, 0)}
	c := admin.Channel{Name: "billing"}
	t := admin.Topic{Name: "orders"}
	for i, on := range counts {
		addr := []string{"a:1", "b:1"}[i]
		v.NSQDs = append(v.NSQDs, admin.NSQD{Addr: addr, Health: "OK"})
		t.NSQDs = append(t.NSQDs, admin.TopicOn{NSQD: addr, TopicCounts: admin.TopicCounts{Messages: on.Messages}})
		c.NSQDs = append(c.NSQDs, admin.ChannelOn{NSQD: addr, ChannelCounts: on})
		c.Depth += on.Depth
		c.InFlight += on.InFlight
		c.ClientCount += on.ClientCount
		c.Messages += on.Messages
		c.Paused = c.Paused || on.Paused
	}
	t.Channels = []admin.Channel{c}
	v.Topics = []admin.Topic{t}
	return v
}

// examined returns the line and the code of a check.
func examined(name, item string, examine func(r *checkResult), missing error) (line string, code int) {
	r := &checkResult{Check: name, Item: item}
	examine(r)
	if missing != nil {
		r.missing(missing)
	}
	r.finish()
	return strings.TrimSuffix(string(r.nagios()), "\n"), r.Code
}

func TestCheckChannel(t *testing.T) {
	depth := checkThresholds{1000, 10_000}
	counts := func(depth int64, clients int) admin.ChannelCounts {
		return admin.ChannelCounts{Depth: depth, Messages: uint64(depth), ClientCount: clients}
	}
	partial := func(v *admin.View) *admin.View {
		v.NSQDs[1].Error = "refused"
		return v
	}
	refused := &admin.Error{Addr: "b:1", Op: "GET /stats", Err: errors.New("refused")}
	drain := checkDrain{time.Minute, time.Hour}
	for _, tc := range []struct {
		name        string
		th          checkChannel
		before, now *admin.View
		missing     error
		want        string
		code        int
	}{
		{"ok", checkChannel{depth: depth, clientsMin: 2}, nil, checkView(0, counts(12, 1), counts(3, 1)), nil, "CHANNEL OK: orders/billing: 15 waiting, 0 in flight, 2 clients | depth=15;1000;10000;0 in_flight=0;;;0 deferred=0;;;0 clients=2;;;0", checkOK},
		{"warning", checkChannel{depth: depth}, nil, checkView(0, admin.ChannelCounts{Depth: 1204, InFlight: 12, ClientCount: 3}), nil, "CHANNEL WARNING: orders/billing: 1,204 waiting | depth=1204;1000;10000;0 in_flight=12;;;0 deferred=0;;;0 clients=3;;;0", checkWarning},
		{"warning at the threshold", checkChannel{depth: depth}, nil, checkView(0, counts(1000, 1)), nil, "CHANNEL WARNING: orders/billing: 1,000 waiting |", checkWarning},
		{"critical", checkChannel{depth: depth}, nil, checkView(0, counts(10_000, 1)), nil, "CHANNEL CRITICAL: orders/billing: 10,000 waiting |", checkCritical},
		{"only warn", checkChannel{depth: checkThresholds{warn: 10}}, nil, checkView(0, counts(10_000, 1)), nil, "CHANNEL WARNING: orders/billing: 10,000 waiting | depth=10000;10;;0", checkWarning},
		{"in flight", checkChannel{inFlight: checkThresholds{critical: 5}}, nil, checkView(0, admin.ChannelCounts{InFlight: 7}), nil, "CHANNEL CRITICAL: orders/billing: 7 in flight |", checkCritical},
		{"clients", checkChannel{clientsMin: 2}, nil, checkView(0, counts(0, 1)), nil, "CHANNEL CRITICAL: orders/billing: 1 client |", checkCritical},
		{"paused", checkChannel{}, nil, checkView(0, admin.ChannelCounts{Paused: true}), nil, "CHANNEL WARNING: orders/billing: paused |", checkWarning},
		{"two faults", checkChannel{depth: depth, clientsMin: 1}, nil, checkView(0, counts(1000, 0)), nil, "CHANNEL CRITICAL: orders/billing: 0 clients, 1,000 waiting |", checkCritical},
		{"not found", checkChannel{}, nil, &admin.View{NSQDs: []admin.NSQD{{Addr: "a:1"}}}, nil, "CHANNEL CRITICAL: orders/billing: channel billing of topic orders not found on nsqd a:1", checkCritical},
		{"not found in part", checkChannel{}, nil, &admin.View{NSQDs: []admin.NSQD{{Addr: "a:1"}, {Addr: "b:1", Error: "refused"}}}, refused, "CHANNEL UNKNOWN: orders/billing: figures are missing: b:1: GET /stats: refused", checkUnknown},
		{"part of it is ok", checkChannel{depth: depth, clientsMin: 9}, nil, partial(checkView(0, counts(12, 1), counts(0, 0))), refused, "CHANNEL UNKNOWN: orders/billing: figures are missing: b:1: GET /stats: refused |", checkUnknown},
		{"part of it is critical", checkChannel{depth: depth}, nil, partial(checkView(0, counts(20_000, 1), counts(0, 0))), refused, "CHANNEL CRITICAL: orders/billing: 20,000 waiting, figures are missing: b:1: GET /stats: refused |", checkCritical},
		{"drains", checkChannel{drain: drain}, checkView(0, counts(1200, 1)), checkView(10, admin.ChannelCounts{Depth: 1000, Messages: 1200, ClientCount: 1}), nil, "CHANNEL OK: orders/billing: 1,000 waiting, 0 in flight, 1 client, drains in 50 s | depth=1000;;;0 in_flight=0;;;0 deferred=0;;;0 clients=1;;;0 drain=50s;60;3600;0", checkOK},
		{"drains late", checkChannel{drain: drain}, checkView(0, counts(1010, 1)), checkView(10, admin.ChannelCounts{Depth: 1000, Messages: 1010, ClientCount: 1}), nil, "CHANNEL WARNING: orders/billing: drains in 16 min 40 s |", checkWarning},
		{"never drains", checkChannel{drain: drain}, checkView(0, counts(1000, 1)), checkView(10, counts(2000, 1)), nil, "CHANNEL CRITICAL: orders/billing: never drains |", checkCritical},
		{"nothing happens", checkChannel{drain: drain}, checkView(0, counts(300, 1)), checkView(10, counts(300, 1)), nil, "CHANNEL UNKNOWN: orders/billing: too little happened in 10 s to tell when it drains: choose a longer --interval |", checkUnknown},
		{"one comes", checkChannel{drain: drain}, checkView(0, counts(300, 1)), checkView(10, counts(301, 1)), nil, "CHANNEL UNKNOWN: orders/billing: too little happened in 10 s to tell when it drains: choose a longer --interval |", checkUnknown},
		{"one of many is finished", checkChannel{drain: drain}, checkView(0, counts(300, 1)), checkView(100, admin.ChannelCounts{Depth: 300, Messages: 301, ClientCount: 1}), nil, "CHANNEL CRITICAL: orders/billing: never drains |", checkCritical},
		{"one is finished", checkChannel{drain: checkDrain{critical: 20 * time.Minute}}, checkView(0, admin.ChannelCounts{Depth: 201, Messages: 300, ClientCount: 1}), checkView(10, admin.ChannelCounts{Depth: 200, Messages: 300, ClientCount: 1}), nil, "CHANNEL UNKNOWN: orders/billing: too little happened", checkUnknown},
		{"two come", checkChannel{drain: drain}, checkView(0, counts(300, 1)), checkView(10, counts(302, 1)), nil, "CHANNEL CRITICAL: orders/billing: never drains |", checkCritical},
		{"too many to drain one by one", checkChannel{drain: drain}, checkView(0, counts(800, 1)), checkView(10, counts(800, 1)), nil, "CHANNEL CRITICAL: orders/billing: never drains |", checkCritical},
		{"nobody drains", checkChannel{drain: checkDrain{warn: 1}}, checkView(0, counts(1000, 0)), checkView(10, counts(2000, 0)), nil, "CHANNEL WARNING: orders/billing: no clients |", checkWarning},
		{"keeps up", checkChannel{drain: drain}, checkView(0, counts(0, 1)), checkView(10, counts(5, 1)), nil, "CHANNEL OK: orders/billing: 5 waiting, 0 in flight, 1 client, keeps up |", checkOK},
		{"timeouts", checkChannel{timeouts: checkShare{1, 5}}, checkView(0, counts(0, 1)), checkView(10, admin.ChannelCounts{Messages: 980, TimedOut: 20, ClientCount: 1}), nil, "CHANNEL WARNING: orders/billing: 2 % timed out |", checkWarning},
		{"no rates", checkChannel{drain: drain}, nil, checkView(0, counts(0, 1)), nil, "CHANNEL UNKNOWN: orders/billing: rates are not known: an nsqd is new or has restarted |", checkUnknown},
		{"new nsqd", checkChannel{drain: drain}, checkView(0, counts(0, 1)), checkView(10, counts(0, 1), counts(0, 1)), nil, "CHANNEL UNKNOWN: orders/billing: rates are not known: an nsqd is new or has restarted |", checkUnknown},
	} {
		line, code := examined("channel", "orders/billing", func(r *checkResult) { tc.th.examine(r, tc.before, tc.now, []string{"orders", "billing"}) }, tc.missing)
		if !strings.HasPrefix(line, tc.want) || code != tc.code {
			t.Errorf("%s: code %d, line\n%s, want %d and\n%s", tc.name, code, line, tc.code, tc.want)
		}
	}
}

// Every figure of a check has a help for Prometheus.
func TestCheckFigures(t *testing.T) {
	before, now := checkView(0, admin.ChannelCounts{Depth: 99, Messages: 99, ClientCount: 1}), checkView(10, admin.ChannelCounts{Depth: 40, Messages: 99, ClientCount: 1})
	now.Lookupds = []admin.Lookupd{{Addr: "l:1"}}
	r := new(checkResult)
	(&checkChannel{drain: checkDrain{1, 2}, timeouts: checkShare{1, 2}}).examine(r, before, now, []string{"orders", "billing"})
	(&checkTopic{rateMin: 1}).examine(r, before, now, []string{"orders"})
	new(checkCluster).examine(r, nil, now, nil)
	new(checkNSQD).examine(r, nil, now, nil)
	named := make(map[string]bool)
	for _, m := range r.Metrics {
		if named[m.Name] = true; checkFigures[m.Name] == "" {
			t.Errorf("no help for %s", m.Name)
		}
	}
	if len(named) != len(checkFigures) {
		t.Errorf("figures %v, want %v", named, checkFigures)
	}
}

func TestCheckTopic(t *testing.T) {
	now := checkView(10, admin.ChannelCounts{Depth: 30, Messages: 100})
	now.Topics[0].Depth = 12
	for _, tc := range []struct {
		name   string
		th     checkTopic
		before *admin.View
		pause  bool
		want   string
		code   int
	}{
		{"ok", checkTopic{depth: checkThresholds{100, 200}, channelsMin: 1}, nil, false, "TOPIC OK: orders: 42 waiting, 1 channel | depth=42;100;200;0 channels=1;;;0", checkOK},
		{"depth", checkTopic{depth: checkThresholds{42, 0}}, nil, false, "TOPIC WARNING: orders: 42 waiting |", checkWarning},
		{"channels", checkTopic{channelsMin: 2}, nil, false, "TOPIC CRITICAL: orders: 1 channel |", checkCritical},
		{"rate", checkTopic{rateMin: 5}, checkView(0, admin.ChannelCounts{}), false, "TOPIC OK: orders: 42 waiting, 1 channel, 10/s published | depth=42;;;0 channels=1;;;0 published_per_second=10;;;0", checkOK},
		{"low rate", checkTopic{rateMin: 50}, checkView(0, admin.ChannelCounts{}), false, "TOPIC CRITICAL: orders: 10/s published |", checkCritical},
		{"paused", checkTopic{}, nil, true, "TOPIC WARNING: orders: paused |", checkWarning},
	} {
		now.Topics[0].Paused = tc.pause
		line, code := examined("topic", "orders", func(r *checkResult) { tc.th.examine(r, tc.before, now, []string{"orders"}) }, nil)
		if !strings.HasPrefix(line, tc.want) || code != tc.code {
			t.Errorf("%s: code %d, line\n%s, want %d and\n%s", tc.name, code, line, tc.code, tc.want)
		}
	}
	line, code := examined("topic", "t", func(r *checkResult) { new(checkTopic).examine(r, nil, now, []string{"t"}) }, nil)
	if code != checkCritical || !strings.Contains(line, "topic t not found") {
		t.Errorf("code %d, line %s", code, line)
	}
}

func TestCheckClusterRules(t *testing.T) {
	up := func(addr string, lookupds ...string) admin.NSQD {
		return admin.NSQD{Addr: addr, Health: "OK", Lookupds: lookupds}
	}
	sick := up("a:1", "l:1")
	sick.Health = "NOK - disk full"
	l, m := admin.Lookupd{Addr: "l:1"}, admin.Lookupd{Addr: "m:1"}
	down := admin.Lookupd{Addr: "m:1", Error: "refused"}
	th := checkCluster{missing: checkThresholds{critical: 1}, nsqdsMin: 1}
	for _, tc := range []struct {
		name string
		th   checkCluster
		view admin.View
		want string
		code int
	}{
		{"ok", th, admin.View{NSQDs: []admin.NSQD{up("a:1", "l:1", "m:1")}, Lookupds: []admin.Lookupd{l, m}}, "CLUSTER OK: 0 missing, 1 nsqd, 2 of 2 nsqlookupds | nsqds=1;;;0 missing_nsqds=0;;1;0 nsqlookupds=2;;;0", checkOK},
		{"without nsqlookupd", th, admin.View{NSQDs: []admin.NSQD{up("a:1")}}, "CLUSTER OK: 0 missing, 1 nsqd | nsqds=1;;;0 missing_nsqds=0;;1;0", checkOK},
		{"missing", th, admin.View{NSQDs: []admin.NSQD{up("a:1"), {Addr: "b:1", Error: "refused"}}}, "CLUSTER CRITICAL: 1 missing |", checkCritical},
		{"too few", checkCluster{nsqdsMin: 2}, admin.View{NSQDs: []admin.NSQD{up("a:1")}}, "CLUSTER CRITICAL: 1 nsqd |", checkCritical},
		{"none", checkCluster{}, admin.View{Lookupds: []admin.Lookupd{l}}, "CLUSTER CRITICAL: 0 nsqds |", checkCritical},
		{"health", th, admin.View{NSQDs: []admin.NSQD{sick}, Lookupds: []admin.Lookupd{l}}, "CLUSTER CRITICAL: nsqd a:1: health is NOK - disk full |", checkCritical},
		{"disagree", th, admin.View{NSQDs: []admin.NSQD{up("a:1", "l:1")}, Lookupds: []admin.Lookupd{l, m}}, "CLUSTER WARNING: nsqd a:1 is listed by 1 of 2 nsqlookupds |", checkWarning},
		{"nsqlookupd", th, admin.View{NSQDs: []admin.NSQD{up("a:1", "l:1")}, Lookupds: []admin.Lookupd{l, down}}, "CLUSTER WARNING: 1 of 2 nsqlookupds |", checkWarning},
		{"no nsqlookupd", th, admin.View{NSQDs: []admin.NSQD{up("a:1")}, Lookupds: []admin.Lookupd{down}}, "CLUSTER CRITICAL: 0 of 1 nsqlookupd |", checkCritical},
	} {
		line, code := examined("cluster", "", func(r *checkResult) { tc.th.examine(r, nil, &tc.view, nil) }, nil)
		if !strings.HasPrefix(line, tc.want) || code != tc.code {
			t.Errorf("%s: code %d, line\n%s, want %d and\n%s", tc.name, code, line, tc.code, tc.want)
		}
	}
}

func TestCheckNSQD(t *testing.T) {
	v := checkView(0, admin.ChannelCounts{Depth: 30, InFlight: 2}, admin.ChannelCounts{Depth: 5})
	th := checkNSQD{depth: checkThresholds{warn: 32}}
	check := func(r *checkResult) { th.examine(r, nil, v, nil) }
	if line, code := examined("nsqd", "", check, nil); code != checkWarning || line != "NSQD WARNING: nsqd a:1 holds 32 | depth=32;32;;0" {
		t.Errorf("code %d, line %s", code, line)
	}
	v.NSQDs[0].Error = "refused"
	if line, code := examined("nsqd", "", check, nil); code != checkCritical || line != "NSQD CRITICAL: nsqd a:1 does not respond | depth=5;32;;0" {
		t.Errorf("code %d, line %s", code, line)
	}
	if line, code := examined("nsqd", "", func(r *checkResult) { th.examine(r, nil, &admin.View{}, nil) }, nil); code != checkCritical || line != "NSQD CRITICAL: no nsqd is listed" {
		t.Errorf("code %d, line %s", code, line)
	}
}

// Names that daemons give cannot forge performance data, a line or a label.
func TestCheckOutput(t *testing.T) {
	r := &checkResult{Check: "channel", Item: "t\"\\\x1b\n/c", Messages: []string{}}
	r.figure(checkMetric{Name: "drain", Value: 1.5, Unit: "s", Warning: 1e9}, "a|b")
	r.figure(checkMetric{Name: "timeouts", Value: 2, Unit: "%", Critical: 1}, "x | depth=0\nOK")
	r.finish()
	if got := string(r.nagios()); got != "CHANNEL CRITICAL: t\"\\\\x1b\\n/c: x / depth=0\\nOK | drain=1.5s;1000000000;;0 timeouts=2%;;1;0\n" {
		t.Errorf("got %q", got)
	}
	text := r.prometheus()
	for _, part := range []string{
		`nsq_check_status_code{check="channel",item="t\"\\\\x1b\\n/c"} 2` + "\n",
		`nsq_check_drain_seconds{check="channel",item=`, `} 1.5` + "\n", `nsq_check_timeouts_ratio{`, `} 0.02` + "\n",
	} {
		if !bytes.Contains(text, []byte(part)) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if problems, err := promlint.New(bytes.NewReader(text)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("problems %v, error %v in\n%s", problems, err, text)
	}
}

// The checks say of a real cluster what it is, with the exit codes of Nagios.
func TestCheckOfACluster(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 0, "orders", "billing", "1", "2", "3")
	await(t, "the messages in the channel", func() bool {
		_, stdout, _ := execute(t, append(c.httpFlags(), "stat", "--no-rates", "--jq", ".channels[0].depth")...)
		return stdout == "3\n"
	})
	gone := httptest.NewServer(nil)
	gone.Close()
	missing := strings.TrimPrefix(gone.URL, "http://")
	for _, tc := range []struct {
		line string
		code int
		want string
	}{
		{"check cluster", checkOK, "CLUSTER OK: 0 missing, 2 nsqds | nsqds=2;;;0 missing_nsqds=0;;1;0\n"},
		{"check cluster --nsqds-min 3", checkCritical, "CLUSTER CRITICAL: 2 nsqds |"},
		{"check cluster --nsqd-http " + missing, checkCritical, "CLUSTER CRITICAL: 1 missing, figures are missing: " + missing},
		{"check nsqd", checkOK, "NSQD OK: nsqd " + c.nsqds[0].HTTPAddr + " holds 3 | depth=3;;;0\n"},
		{"check channel orders billing --depth-warn 3 --clients-min 0", checkWarning, "CHANNEL WARNING: orders/billing: 3 waiting |"},
		{"check channel orders billing --depth-warn 3 --depth-critical 3", checkCritical, "CHANNEL CRITICAL: orders/billing: 3 waiting |"},
		{"check channel orders billing --drain-warn 1h --interval 100ms", checkWarning, "CHANNEL WARNING: orders/billing: no clients |"},
		{"check channel orders fraud", checkCritical, "CHANNEL CRITICAL: orders/fraud: channel fraud of topic orders not found on nsqd "},
		{"check channel orders fraud --nsqd-http " + missing, checkUnknown, "CHANNEL UNKNOWN: orders/fraud: figures are missing: " + missing},
		{"check topic orders --channels-min 1", checkOK, "TOPIC OK: orders: 3 waiting, 1 channel |"},
		{"check topic orders --rate-min 1 --interval 100ms", checkCritical, "TOPIC CRITICAL: orders: 0/s published |"},
		{"check topic orders --format prometheus", checkOK, "# HELP nsq_check_status_code "},
		{"check topic orders --format json", checkOK, `{"check":"topic","item":"orders","status":"OK","code":0,"messages":["3 waiting","1 channel"],"metrics":[{"name":"depth","value":3},`},
		{"check topic orders --depth-warn 1 --jq .status", checkWarning, "WARNING\n"},
	} {
		code, stdout, stderr := execute(t, append(strings.Fields(tc.line), c.httpFlags()...)...)
		if code != tc.code || !strings.HasPrefix(stdout, tc.want) || strings.Count(tc.line, "prometheus") == 0 && strings.Count(stdout, "\n") != 1 || stderr != "" {
			t.Errorf("%s: code %d, stdout %q, stderr %q; want %d and %q", tc.line, code, stdout, stderr, tc.code, tc.want)
		}
	}
}

// The command line of a check is UNKNOWN to Nagios if it is invalid: 2 would be CRITICAL.
func TestCheckUsageErrors(t *testing.T) {
	const addr = " --lookupd 127.0.0.1:1"
	for _, tc := range []struct{ line, want string }{
		{"check foo", `unknown command "foo"`},
		{"check cluster", "--lookupd or --nsqd-http is missing"},
		{"check cluster x" + addr, `unexpected argument "x"`},
		{"check cluster --depth-warn 3" + addr, "unknown flag: --depth-warn"},
		{"check channel orders" + addr, "want a topic and a channel"},
		{"check channel a$b c" + addr, `invalid topic "a$b"`},
		{"check channel t c --depth-warn -1" + addr, "from 0 to"},
		{"check channel t c --drain-warn x" + addr, "a duration"},
		{"check channel t c --timeouts-warn 101" + addr, "from 0 to 100"},
		{"check topic" + addr, "want one topic"},
		{"check topic t --format xml" + addr, "want nagios or json or prometheus"},
		{"check topic t --format prometheus --json" + addr, "exclude each other"},
		{"check nsqd --lookupd localhost", "want host:port"},
	} {
		code, stdout, stderr := execute(t, strings.Fields(tc.line)...)
		if code != checkUnknown || stdout != "" || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: code %d, stdout %q, stderr %q", tc.line, code, stdout, stderr)
		}
		expectOneLine(t, stderr)
	}
	// Without a check there is help, and no OK.
	if code, stdout, stderr := execute(t, "check"); code != checkUnknown || !strings.Contains(stdout, "cluster ") || stderr != "" {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// A check that is stopped says so where Nagios reads it.
func TestCheckStopped(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing")
	for _, tc := range []struct{ format, want string }{
		{"nagios", "CHANNEL UNKNOWN: orders/billing: stopped before the end: interrupted\n"},
		{"json", `"status":"UNKNOWN","code":3,"messages":["stopped before the end: interrupted"]`},
		{"prometheus", "\nnsq_check_status_code{check=\"channel\",item=\"orders/billing\"} 3\n"},
	} {
		p := start(t, append(c.httpFlags(), "check", "channel", "orders", "billing", "--drain-warn", "1h", "--interval", "1m", "--format", tc.format)...)
		p.interrupt(errInterrupted)
		if code := p.wait(t); code != checkUnknown || !strings.Contains(p.stdout.String(), tc.want) || p.stderr.String() != "" {
			t.Errorf("%s: code %d, stdout %q, stderr %q", tc.format, code, p.stdout.String(), p.stderr.String())
		}
	}
}

func TestCheckDrainKinds(t *testing.T) {
	for _, tc := range []struct {
		kind judge.DrainKind
		code int
		text string
	}{
		{judge.DrainsLate, checkCritical, "drains in > 30 d"},
		{judge.DrainsEmpty, checkOK, "empty"},
		{judge.DrainPaused, checkOK, ""},
	} {
		r := &checkResult{Messages: []string{}}
		(&checkChannel{drain: checkDrain{1, 2}}).examineDrain(r, judge.Drain{Kind: tc.kind})
		r.finish()
		if got := strings.Join(r.Messages, ""); r.Code != tc.code || got != tc.text {
			t.Errorf("%s: code %d, %q", tc.kind, r.Code, got)
		}
	}
}
