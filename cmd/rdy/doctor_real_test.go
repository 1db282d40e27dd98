package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqd"
	"github.com/rdyhq/nsq/broker"
)

// doctorTopic is the topic of these tests. Its channel is "ch".
const doctorTopic = "orders"

// doctorCluster starts a cluster whose nsqds a test configures.
func doctorCluster(t *testing.T, lookupds int, configure func(i int, o *nsqd.Options)) *cluster {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Options{NSQDs: 2, Lookupds: lookupds, Configure: configure})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &cluster{nsqds: b.NSQDs(), lookupds: b.LookupdHTTPAddrs()}
}

// keepPublishing publishes to the topic on the i-th nsqd until the test ends.
func (c *cluster) keepPublishing(t *testing.T, i int) {
	stop := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			resp, err := statsClient.Post("http://"+c.nsqds[i].HTTPAddr+"/pub?topic="+doctorTopic, "", strings.NewReader("m"))
			if err == nil {
				_ = resp.Body.Close()
			}
		}
	})
	t.Cleanup(func() { close(stop); publisher.Wait() })
}

// plainClient subscribes to a channel without a library. answer says of the n-th message, from 1,
// whether it is acked; nil acks none.
func (c *cluster) plainClient(t *testing.T, i int, agent string, rdy int, answer func(n int) bool) {
	t.Helper()
	conn, err := net.Dial("tcp", c.nsqds[i].TCPAddr)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := json.Marshal(map[string]any{"client_id": "plain", "hostname": "plain-1", "user_agent": agent})
	out := append([]byte("  V2IDENTIFY\n"), binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
	out = append(out, body...)
	out = fmt.Appendf(out, "SUB %s ch\n", doctorTopic)
	if rdy > 0 {
		out = fmt.Appendf(out, "RDY %d\n", rdy)
	}
	if _, err := conn.Write(out); err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	subscribed := make(chan struct{})
	reader.Go(func() { readFrames(conn, subscribed, answer) })
	t.Cleanup(func() { _ = conn.Close(); reader.Wait() })
	select {
	case <-subscribed:
	case <-time.After(testTimeout):
		t.Fatal("no reply to SUB")
	}
}

// readFrames reads until the connection ends. The second reply is that to SUB.
func readFrames(conn net.Conn, subscribed chan struct{}, answer func(n int) bool) {
	const frameMessage, head, id = 2, 8, 10
	in := bufio.NewReader(conn)
	replies, messages := 0, 0
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(in, frame); err != nil {
			return
		}
		if binary.BigEndian.Uint32(frame) != frameMessage {
			if replies++; replies == 2 {
				close(subscribed)
			}
			continue
		}
		messages++
		if answer != nil && answer(messages) {
			_, _ = fmt.Fprintf(conn, "FIN %s\n", frame[4+id:4+id+16])
		}
	}
}

func always(int) bool { return true }

// pollLog is a log of an nsqd. It receives from polled each time that nsqd has told its counts.
type pollLog struct{ polled chan struct{} }

func (l pollLog) Output(_ int, line string) error {
	if strings.Contains(line, " GET /stats") {
		select {
		case l.polled <- struct{}{}:
		default:
		}
	}
	return nil
}

// publishMany publishes n messages to the first nsqd at once.
func (c *cluster) publishMany(t *testing.T, n int) {
	t.Helper()
	c.publish(t, 0, doctorTopic, "ch")
	post(t, c.nsqds[0].HTTPAddr, "/mpub?topic="+doctorTopic, strings.Repeat("m\n", n))
}

// The doctor names the fault of a real cluster, and only that one.
func TestDoctorOfRealClusters(t *testing.T) {
	small := func(_ int, o *nsqd.Options) { o.MemQueueSize = 5 }
	polled := make(chan struct{}, 1)
	for _, tc := range []struct {
		name      string
		lookupds  int
		configure func(i int, o *nsqd.Options)
		breaks    func(t *testing.T, c *cluster) (flags []string)
		want      string // rule, and begin of the text
	}{
		{"sound and busy", 2, nil, func(t *testing.T, c *cluster) []string {
			for i := range 2 {
				c.plainClient(t, i, "go-nsq/1.1.0", 50, always)
				c.keepPublishing(t, i)
			}
			return nil
		}, ""},
		{"idle", 1, nil, func(t *testing.T, c *cluster) []string { c.publish(t, 0, "orders", "ch"); return nil }, ""},
		{"a daemon is down", 1, nil, func(*testing.T, *cluster) []string { return []string{"--nsqd-http", unreachable} }, "missing no response (connection refused)"},
		{"an nsqlookupd is down", 1, nil, func(*testing.T, *cluster) []string { return []string{"--lookupd", unreachable} }, "missing no response (connection refused)"},
		{"broadcast", 1, func(i int, o *nsqd.Options) {
			if i == 1 {
				o.BroadcastAddress = "nsqd.invalid"
			}
		}, func(*testing.T, *cluster) []string { return nil }, "broadcast its broadcast address nsqd.invalid does not resolve"},
		{"no clients", 1, nil, func(t *testing.T, c *cluster) []string {
			c.publish(t, 0, "orders", "ch")
			c.keepPublishing(t, 0)
			return nil
		}, "orphan no clients, grows "},
		{"RDY 0", 1, nil, func(t *testing.T, c *cluster) []string {
			c.publishMany(t, 100)
			c.plainClient(t, 0, "plain/1", 0, nil)
			return nil
		}, "starved RDY 0 on "},
		{"nothing finishes", 1, nil, func(t *testing.T, c *cluster) []string {
			c.publishMany(t, 100)
			c.plainClient(t, 0, "plain/1", 3, nil)
			await(t, "messages in flight", func() bool { return c.stats(t, doctorTopic).InFlight == 3 })
			return nil
		}, "stuck clients hold 3, all that they accept, and finished nothing for "},
		{"timeouts", 1, func(_ int, o *nsqd.Options) {
			o.MsgTimeout, o.QueueScanInterval = 30*time.Millisecond, 10*time.Millisecond
		}, func(t *testing.T, c *cluster) []string {
			c.publish(t, 0, "orders", "ch")
			c.plainClient(t, 0, "plain/1", 50, func(n int) bool { return n%4 > 0 })
			c.keepPublishing(t, 0)
			await(t, "timeouts", func() bool { return c.stats(t, doctorTopic).Timeouts > 0 })
			return nil
		}, "retrying "},
		{"deferred", 1, small, func(t *testing.T, c *cluster) []string {
			c.publish(t, 0, "orders", "ch")
			for n := range 6 { // one by one: nsqd forgets the delay of what goes to the topic's disk queue
				post(t, c.nsqds[0].HTTPAddr, "/pub?topic=orders&defer=3600000", "m")
				await(t, "a deferred message", func() bool { return c.stats(t, doctorTopic).Deferred == n+1 })
			}
			return nil
		}, "deferred 6 messages are deferred on "},
		{"paused", 1, small, func(t *testing.T, c *cluster) []string {
			c.publish(t, 0, "orders", "ch")
			post(t, c.nsqds[0].HTTPAddr, "/channel/pause?topic=orders&channel=ch", "")
			c.publishMany(t, 20)
			return nil
		}, "paused paused, and 20 wait, 1"},
		{"no channel", 1, nil, func(t *testing.T, c *cluster) []string {
			c.publish(t, 0, "orders", "", "1")
			c.keepPublishing(t, 0)
			return nil
		}, "no-channel no channel, "},
		{"tombstoned", 1, nil, func(t *testing.T, c *cluster) []string {
			c.publish(t, 0, "orders", "ch")
			await(t, "registration", func() bool {
				_, stdout, _ := execute(t, "node", "list", "--lookupd", c.lookupds[0], "--jq", ".lookupds[0].registered[].topics[]")
				return strings.Contains(stdout, "orders")
			})
			post(t, c.lookupds[0], "/topic/tombstone?topic=orders&node="+c.nsqds[0].HTTPAddr, "")
			return nil
		}, "tombstoned tombstoned for orders, which it has"},
		{"one nsqlookupd", 2, nil, func(t *testing.T, c *cluster) []string {
			_, stdout, _ := execute(t, "node", "config", "nsqlookupd_tcp_addresses", "--nsqd-http", c.nsqds[0].HTTPAddr, "--jq", ".nsqds[0].value[0]")
			code, _, stderr := execute(t, "node", "config", "nsqlookupd_tcp_addresses", strings.TrimSpace(stdout), "--nsqd-http", c.nsqds[0].HTTPAddr)
			if code != exitOK {
				t.Fatal(stderr)
			}
			await(t, "the end of a registration", func() bool {
				_, stdout, _ := execute(t, "node", "list", "--lookupd", c.lookupds[1], "--jq", ".lookupds[0].registered | length")
				return stdout == "1\n"
			})
			return nil
		}, "disagree nsqlookupds disagree: "},
		{"old client", 1, nil, func(t *testing.T, c *cluster) []string {
			c.publish(t, 0, "orders", "ch")
			c.plainClient(t, 0, "go-nsq/1.0.5", 5, always)
			return nil
		}, "old-client go-nsq/1.0.5 on plain-1"},
		{"max RDY", 1, func(_ int, o *nsqd.Options) {
			o.MaxRdyCount, o.Logger, o.LogLevel = 5, pollLog{polled}, nsqd.LOG_INFO
		}, func(t *testing.T, c *cluster) []string {
			c.publishMany(t, 5000)
			c.plainClient(t, 0, "plain/1", 5, func(int) bool { // it acks one message after each poll
				select {
				case <-polled:
					return true
				case <-t.Context().Done():
					return false
				}
			})
			return nil
		}, "max-rdy-count a client has RDY 5 on "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := doctorCluster(t, tc.lookupds, tc.configure)
			args := append([]string{"doctor", "--for", "1s", "--timeout", "5s", "--json"}, tc.breaks(t, c)...)
			for _, l := range c.lookupds {
				args = append(args, "--lookupd", l)
			}
			code, stdout, stderr := execute(t, args...)
			r := decode[doctorReport](t, stdout)
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Rule+" "+f.Text)
			}
			if tc.want == "" {
				if code != exitOK || len(got) > 0 || stderr != "" {
					t.Errorf("exit code %d, findings %q, stderr %q", code, got, stderr)
				}
				return
			}
			if code != exitFailure || len(got) != 1 || !strings.HasPrefix(got[0], tc.want) || stderr != "rdy: found 1 problem\n" {
				t.Errorf("exit code %d, findings %q, stderr %q; want %q", code, got, stderr, tc.want)
			}
			for _, f := range r.Findings {
				if line := strings.Join(f.Command, " "); len(f.Command) > 0 && (!strings.HasPrefix(line, "rdy ") || !strings.Contains(line, " --lookupd "+c.lookupds[0])) {
					t.Errorf("command %q", f.Command)
				}
				if len(f.Command) == 0 {
					continue
				}
				// Without a terminal, those that lose messages do nothing.
				if code, _, stderr := execute(t, f.Command[1:]...); code == exitUsage && !strings.Contains(stderr, "--yes is needed") {
					t.Errorf("command %q: %s", f.Command, stderr)
				}
			}
		})
	}
}

// What no nsqd of a test can be made to say, a server says that responds like one.
func TestDoctorOfFakeDaemons(t *testing.T) {
	fake := func(version, health string, clock time.Duration) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(clock).UTC().Format(http.TimeFormat))
			switch r.URL.Path {
			case "/stats":
				_, _ = fmt.Fprintf(w, `{"version":%q,"health":%q,"start_time":1,"topics":[]}`, version, health)
			case "/info":
				_, _ = fmt.Fprintf(w, `{"broadcast_address":"127.0.0.1","hostname":%q,"tcp_port":-1,"http_port":4151,"start_time":1}`, version)
			case "/ping":
				_, _ = w.Write([]byte("OK"))
			default:
				w.WriteHeader(http.StatusNotFound)
			}
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	sound := fake("1.3.0", "OK", 0)
	for _, tc := range []struct {
		name, addr, want string
	}{
		{"sound", fake("1.3.0", "OK", 0), ""},
		{"versions", fake("1.2.1", "OK", 0), "mixed nsqds have different versions: 1.2.1 on 1, 1.3.0 on 1"},
		{"health", fake("1.3.0", "NOK - disk full", 0), "health its health is NOK - disk full"},
		{"clock", fake("1.3.0", "OK", -time.Hour), "clock its clock is "},
	} {
		args := []string{"doctor", "--for", "500ms", "--json", "--nsqd-http", tc.addr}
		if tc.name == "versions" {
			args = append(args, "--nsqd-http", sound)
		}
		code, stdout, _ := execute(t, args...)
		var got []string
		for _, f := range decode[doctorReport](t, stdout).Findings {
			got = append(got, f.Rule+" "+f.Text)
		}
		if text := strings.Join(got, "\n"); (code == exitOK) != (tc.want == "") || (text == "") != (tc.want == "") || len(got) > 1 || !strings.HasPrefix(text, tc.want) {
			t.Errorf("%s: exit code %d, findings %q", tc.name, code, got)
		}
	}
}

// On a sound cluster the doctor says nothing, and an empty one cannot be examined.
func TestDoctorSaysNothing(t *testing.T) {
	c := startCluster(t, 1)
	code, stdout, stderr := execute(t, append([]string{"doctor", "--for", "500ms"}, c.httpFlags()...)...)
	if code != exitOK || stdout != "" || stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	empty := fakeDaemon(t, map[string]string{"/nodes": `{"producers":[]}`})
	code, stdout, stderr = execute(t, "doctor", "--for", "500ms", "--lookupd", empty)
	if code != exitFailure || !strings.HasPrefix(stdout, "■ critical: the nsqlookupds list no nsqd\n") || stderr != "rdy: found 1 problem\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	for format, want := range map[string]string{"": "", "--json": "stopped before the end: interrupted"} {
		p := start(t, append(slices.DeleteFunc([]string{"doctor", format}, func(arg string) bool { return arg == "" }), c.httpFlags()...)...)
		p.interrupt(errInterrupted)
		if code := p.wait(t); code != exitFailure || p.stderr.String() != "rdy: stopped before the end: interrupted\n" || (p.stdout.String() == "") != (want == "") {
			t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
		}
		if want == "" {
			continue
		}
		if r := decode[doctorReport](t, p.stdout.String()); r.Error != want || r.Findings == nil {
			t.Errorf("report %+v", r)
		}
	}
}
