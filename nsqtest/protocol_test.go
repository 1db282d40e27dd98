package nsqtest_test

import (
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// Frames have the bytes that NSQ's protocol prescribes.
func TestExactBytes(t *testing.T) {
	for _, tt := range []struct {
		name, send, want string
		after            time.Duration
	}{
		{"OK", "  V2SUB t c\n", "\x00\x00\x00\x06\x00\x00\x00\x00OK", 0},
		{"CLOSE_WAIT", "  V2SUB t c\nCLS\n",
			"\x00\x00\x00\x06\x00\x00\x00\x00OK\x00\x00\x00\x0e\x00\x00\x00\x00CLOSE_WAIT", 0},
		{"heartbeat", "  V2", "\x00\x00\x00\x0f\x00\x00\x00\x00_heartbeat_", 30 * time.Second},
		{"error", "  V1", "\x00\x00\x00\x12\x00\x00\x00\x01E_BAD_PROTOCOL", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				conn, err := n.DialContext(t.Context(), "tcp", d.Addr())
				wantErr(t, err, nil)
				defer func() { _ = conn.Close() }()
				write(t, conn, tt.send)
				pass(tt.after)
				wantRead(t, conn, tt.want)
			})
		})
	}
}

func TestMessageBytes(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		conn, err := n.DialContext(t.Context(), "tcp", d.Addr())
		wantErr(t, err, nil)
		defer func() { _ = conn.Close() }()
		ids := d.Publish("t", "m")
		write(t, conn, "  V2SUB t c\nRDY 1\n")
		wantRead(t, conn, "\x00\x00\x00\x06\x00\x00\x00\x00OK")
		wantRead(t, conn, "\x00\x00\x00\x1f\x00\x00\x00\x02")
		// A bubble's clock starts at midnight UTC 2000-01-01.
		wantRead(t, conn, "\x0d\x23\x4c\xcf\x52\x43\x00\x00\x00\x01"+ids[0]+"m")
		if len(ids[0]) != 16 || strings.Trim(ids[0], "0123456789abcdef") != "" {
			t.Errorf("id %q, want 16 hex digits", ids[0])
		}
	})
}

func TestIdentify(t *testing.T) {
	defaults := wire.IdentifyResponse{
		MaxRdyCount: 2500, Version: "1.3.0", MaxMsgTimeout: 900_000, MsgTimeout: 60_000,
		DeflateLevel: 6, MaxDeflateLevel: 6, OutputBufferSize: 16384, OutputBufferTimeout: 250,
	}
	changed := func(change func(*wire.IdentifyResponse)) wire.IdentifyResponse {
		r := defaults
		change(&r)
		return r
	}
	for _, tt := range []struct {
		name string
		opts nsqtest.Options
		body string
		want wire.IdentifyResponse
	}{
		{"defaults", nsqtest.Options{}, `{"feature_negotiation":true}`, defaults},
		{"grants nothing by default", nsqtest.Options{},
			`{"feature_negotiation":true,"tls_v1":true,"snappy":true,"deflate":true,"unknown":{}}`, defaults},
		{"asked for", nsqtest.Options{},
			`{"feature_negotiation":true,"msg_timeout":2000,"sample_rate":5,"output_buffer_size":64,"output_buffer_timeout":25}`,
			changed(func(r *wire.IdentifyResponse) {
				r.MsgTimeout, r.SampleRate, r.OutputBufferSize, r.OutputBufferTimeout = 2000, 5, 64, 25
			})},
		{"buffer timeout off", nsqtest.Options{}, `{"feature_negotiation":true,"output_buffer_timeout":-1}`,
			changed(func(r *wire.IdentifyResponse) { r.OutputBufferTimeout = 0 })},
		{"buffer off", nsqtest.Options{},
			`{"feature_negotiation":true,"output_buffer_size":-1,"output_buffer_timeout":100}`,
			changed(func(r *wire.IdentifyResponse) { r.OutputBufferSize, r.OutputBufferTimeout = 1, 0 })},
		{"options", nsqtest.Options{Version: "1.2.0", AuthSecret: "s", MsgTimeout: time.Second,
			MaxMsgTimeout: time.Minute, MaxRdyCount: 7}, `{"feature_negotiation":true}`,
			changed(func(r *wire.IdentifyResponse) {
				r.Version, r.AuthRequired, r.MsgTimeout, r.MaxMsgTimeout, r.MaxRdyCount = "1.2.0", true, 1000, 60_000, 7
			})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.opts, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				r := dial(t, n, d.Addr())
				r.sendBytes(body("IDENTIFY", tt.body))
				got, negotiated, err := wire.ParseIdentifyResponse([]byte(r.next()))
				if err != nil || !negotiated || got != tt.want {
					t.Errorf("got %+v, %v, %v\nwant %+v", got, negotiated, err, tt.want)
				}
				if c := d.Clients(); len(c) != 1 || string(c[0].Identify) != tt.body {
					t.Errorf("clients %+v", c)
				}
			})
		})
	}
}

func TestIdentifyWithoutNegotiation(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := dial(t, n, d.Addr())
		r.identify(wire.Identify{HeartbeatInterval: 1000, MsgTimeout: 1000})
		r.want("OK")
		r.send("SUB t c\nRDY 1\n")
		d.Publish("t", "m")
		r.want("OK", "message 1 m", "_heartbeat_") // the interval holds without negotiation too
		r.send("NOP\n")
		synctest.Wait()
		wantLines(t, d.Commands(), "1 IDENTIFY", "1 SUB t c", "1 RDY 1", "1 NOP")
	})
}

// body returns a command with a body of up to 64 KiB.
func body(line, text string) []byte {
	b := append([]byte(line), '\n', 0, 0, byte(len(text)>>8), byte(len(text)))
	return append(b, text...)
}

func TestErrorsThatClose(t *testing.T) {
	const sub = "SUB t c\n"
	long := strings.Repeat("n", 65)
	for _, tt := range []struct {
		name string
		send string
		want string
	}{
		{"unknown command", "pub t\n", "E_INVALID invalid command pub"},
		{"empty line", "\n", "E_INVALID invalid command "},
		{"carriage return", "NOP\r\nNAP\r\n", "E_INVALID invalid command NAP"},
		{"RDY before SUB", "RDY 1\n", "E_INVALID cannot RDY in current state"},
		{"FIN before SUB", "FIN 0123456789abcdef\n", "E_INVALID cannot FIN in current state"},
		{"CLS before SUB", "CLS\n", "E_INVALID cannot CLS in current state"},
		{"SUB bad topic", "SUB a$b c\n", `E_BAD_TOPIC SUB topic name "a$b" is not valid`},
		{"SUB bad channel", "SUB t " + long + "\n", `E_BAD_CHANNEL SUB channel name "` + long + `" is not valid`},
		{"SUB two blanks", "SUB  t\n", `E_BAD_TOPIC SUB topic name "" is not valid`},
		{"SUB without channel", "SUB t\n", "E_INVALID SUB insufficient number of parameters"},
		{"SUB twice", sub + sub, "E_INVALID cannot SUB in current state"},
		{"SUB without heartbeats", string(body("IDENTIFY", `{"heartbeat_interval":-1}`)) + sub,
			"E_INVALID cannot SUB with heartbeats disabled"},
		{"IDENTIFY after SUB", sub + string(body("IDENTIFY", "{}")), "E_INVALID cannot IDENTIFY in current state"},
		{"IDENTIFY empty", string(body("IDENTIFY", "")), "E_BAD_BODY IDENTIFY invalid body size 0"},
		{"IDENTIFY no JSON", string(body("IDENTIFY", "{")), "E_BAD_BODY IDENTIFY failed to decode JSON body"},
		{"IDENTIFY wrong type", string(body("IDENTIFY", `{"tls_v1":1}`)), "E_BAD_BODY IDENTIFY failed to decode JSON body"},
		{"IDENTIFY buffer timeout", string(body("IDENTIFY", `{"output_buffer_timeout":24,"msg_timeout":1}`)),
			"E_BAD_BODY IDENTIFY output buffer timeout (24) is invalid"},
		{"IDENTIFY sample rate off", string(body("IDENTIFY", `{"sample_rate":-1}`)),
			"E_BAD_BODY IDENTIFY sample rate (-1) is invalid"},
		{"AUTH not enabled", string(body("AUTH", "s")), "E_AUTH_DISABLED AUTH disabled"},
		{"RDY negative", sub + "RDY -1\n", "E_INVALID RDY could not parse count -1"},
		{"FIN bad id", sub + "FIN 0123\n", "E_INVALID invalid message ID"},
		{"FIN no id", sub + "FIN\n", "E_INVALID FIN insufficient number of params"},
		{"REQ no delay", sub + "REQ 0123456789abcdef\n", "E_INVALID REQ insufficient number of params"},
		{"REQ bad delay", sub + "REQ 0123456789abcdef -1\n", "E_INVALID REQ could not parse timeout -1"},
		{"CLS twice", sub + "CLS\nRDY nonsense\nCLS\n", "E_INVALID cannot CLS in current state"},
		{"PUB bad topic", string(body("PUB a$b", "m")), `E_BAD_TOPIC PUB topic name "a$b" is not valid`},
		{"PUB empty", string(body("PUB t", "")), "E_BAD_MESSAGE PUB invalid message body size 0"},
		{"PUB empty to bad topic", string(body("PUB a$b", "")), `E_BAD_TOPIC PUB topic name "a$b" is not valid`},
		{"PUB too big", string(body("PUB t", strings.Repeat("m", 101))), "E_BAD_MESSAGE PUB message too big 101 > 100"},
		{"MPUB bad topic", string(body("MPUB a$b", "m")), `E_BAD_TOPIC E_BAD_TOPIC MPUB topic name "a$b" is not valid`},
		{"MPUB none", string(body("MPUB t", "\x00\x00\x00\x00")), "E_BAD_BODY MPUB invalid message count 0"},
		{"MPUB too big", string(body("MPUB t", strings.Repeat("m", 201))), "E_BAD_BODY MPUB body too big 201 > 200"},
		{"DPUB bad delay", string(body("DPUB t 1.5", "m")), "E_INVALID DPUB could not parse timeout 1.5"},
		// What follows is refused by its line alone, and by nsqd's first reason.
		{"PUB bad topic, no body", "PUB a$b\n", `E_BAD_TOPIC PUB topic name "a$b" is not valid`},
		{"DPUB without delay, no body", "DPUB t\n", "E_INVALID DPUB insufficient number of parameters"},
		{"DPUB long delay, no body", "DPUB t 3600001\n", "E_INVALID DPUB timeout 3600001 out of range 0-3600000"},
		{"AUTH parameters, no body", "AUTH x\n", "E_INVALID AUTH invalid number of parameters"},
		{"AUTH after SUB, no body", sub + "AUTH\n", "E_INVALID cannot AUTH in current state"},
		{"IDENTIFY after SUB, no body", sub + "IDENTIFY\n", "E_INVALID cannot IDENTIFY in current state"},
		{"SUB without heartbeats or names", string(body("IDENTIFY", `{"heartbeat_interval":-1}`)) + "SUB\n",
			"E_INVALID cannot SUB with heartbeats disabled"},
		{"REQ bad id and delay", sub + "REQ 0123 -1\n", "E_INVALID invalid message ID"},
		// nsqd's numbers overflow.
		{"RDY 2^63", sub + "RDY 9223372036854775808\n", "E_INVALID RDY count -9223372036854775808 out of range 0-2500"},
		{"RDY 2^64 - 1", sub + "RDY 18446744073709551615\n", "E_INVALID RDY count -1 out of range 0-2500"},
		{"DPUB 2^63", "DPUB t 9223372036855\n", "E_INVALID DPUB timeout 9223372036855 out of range 0-3600000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := nsqtest.Options{MaxMsgSize: 100, MaxBodySize: 200}
			bubble(t, opts, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				r := dial(t, n, d.Addr())
				r.send(tt.send)
				got := r.next()
				for got == "OK" || got == "CLOSE_WAIT" {
					got = r.next()
				}
				if got != "error "+tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				r.want("closed")
			})
		})
	}
}

func TestAuth(t *testing.T) {
	for _, tt := range []struct {
		name, send string
		want       []string
	}{
		{"right", string(body("AUTH", "secret")) + "SUB t c\n",
			[]string{`{"identity":"nsqtest","identity_url":"","permission_count":1}`, "OK"}},
		{"wrong", string(body("AUTH", "sesame")),
			[]string{"error E_UNAUTHORIZED AUTH no authorizations found", "closed"}},
		{"parameters", string(body("AUTH x", "secret")),
			[]string{"error E_INVALID AUTH invalid number of parameters", "closed"}},
		{"twice", string(body("AUTH", "secret")) + string(body("AUTH", "secret")),
			[]string{`{"identity":"nsqtest","identity_url":"","permission_count":1}`,
				"error E_INVALID AUTH already set", "closed"}},
		{"SUB first", "SUB t c\n", []string{"error E_AUTH_FIRST AUTH required before SUB", "closed"}},
		{"PUB first", string(body("PUB t", "m")), []string{"error E_AUTH_FIRST AUTH required before PUB", "closed"}},
		{"MPUB first", string(body("MPUB t", "m")), []string{"error E_AUTH_FIRST AUTH required before MPUB", "closed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nsqtest.Options{AuthSecret: "secret"}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				r := dial(t, n, d.Addr())
				r.send(tt.send)
				r.want(tt.want...)
			})
		})
	}
}

func TestPublishing(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		p := dial(t, n, d.Addr())
		p.sendBytes(wire.AppendPub(nil, "t", []byte("a")))
		p.sendBytes(wire.AppendMpub(nil, "t", [][]byte{[]byte("b"), []byte("c")}))
		p.want("OK", "OK")
		// The topic keeps them for its first channel.
		wantLines(t, d.Queued("t", ""), "a", "b", "c")

		d.CreateChannel("t", "first")
		d.CreateChannel("t", "second")
		p.sendBytes(wire.AppendPub(nil, "t", []byte("d")))
		p.want("OK")
		wantLines(t, d.Queued("t", ""))
		wantLines(t, d.Queued("t", "first"), "a", "b", "c", "d")
		wantLines(t, d.Queued("t", "second"), "d")
		wantLines(t, d.CommandsOf(1), "PUB t", "MPUB t", "PUB t")
	})
}

func TestEachChannelHasItsCopy(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		d.CreateChannel("t", "other")
		r := consumer(t, n, d, 1)
		ids := d.Publish("t", "m")
		r.want("message 1 m")
		r.req("m", 0)
		r.want("message 2 m")
		r.fin("m")
		o := dial(t, n, d.Addr())
		o.send("SUB t other\nRDY 1\n")
		o.want("OK", "message 1 m")
		if id := string(o.id("m")[:]); id != ids[0] || *o.id("m") != *r.id("m") {
			t.Errorf("ids %s and %s, want both to be %s", id, r.id("m")[:], ids[0])
		}
	})
}

func TestDpub(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 1)
		start := time.Now()
		r.sendBytes(wire.AppendDpub(nil, "t", 250, []byte("m")))
		r.want("OK")
		wantStats(t, d, nsqtest.Stats{Clients: 1, Deferred: 1})
		r.want("message 1 m")
		if took := time.Since(start); took != 250*time.Millisecond {
			t.Errorf("delivered after %v, want 250ms", took)
		}
	})
}

func TestHeartbeats(t *testing.T) {
	bubble(t, nsqtest.Options{HeartbeatInterval: time.Second}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		start := time.Now()
		silent, lively := dial(t, n, d.Addr()), dial(t, n, d.Addr())
		lively.idle(1500 * time.Millisecond)
		silent.send("NO") // not a complete command, so it does not count
		lively.idle(8500 * time.Millisecond)

		silent.want("_heartbeat_", "_heartbeat_", "closed")
		for range 10 {
			lively.want("_heartbeat_")
		}
		lively.wantNothing()
		if took := time.Since(start).Truncate(time.Millisecond); took != 10*time.Second {
			t.Errorf("took %v, want 10s", took)
		}
		if c := d.Clients(); len(c) != 1 || c[0].Conn != 2 {
			t.Errorf("clients %+v, want only connection 2", c)
		}
	})
}

func TestSilentClientIsClosedAfterTwoIntervals(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := dial(t, n, d.Addr())
		r.identify(wire.Identify{HeartbeatInterval: 2000})
		start := time.Now()
		r.want("OK", "_heartbeat_", "_heartbeat_", "closed")
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("closed after %v, want 4s", took)
		}
	})
}

func TestHeartbeatsOff(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := dial(t, n, d.Addr())
		r.identify(wire.Identify{HeartbeatInterval: -1})
		r.want("OK")
		pass(24 * time.Hour)
		r.wantNothing()
		r.sendBytes(wire.AppendPub(nil, "t", []byte("m")))
		r.want("OK")
	})
}

func TestHalfClosedConnectionGetsReplies(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 1)
		d.Publish("t", "m")
		r.want("message 1 m")
		r.fin("m")
		r.send("CLS\n")
		wantErr(t, r.conn.(*nsqtest.Conn).CloseWrite(), nil)
		r.want("CLOSE_WAIT", "closed")
		wantStats(t, d, nsqtest.Stats{Delivered: 1, Finished: 1})
	})
}

// The fake behaves the same over real sockets and in real time.
func TestLoopback(t *testing.T) {
	d := nsqtest.NewNsqd(t, nsqtest.Options{})
	host, port, err := net.SplitHostPort(d.Addr())
	if err != nil || host != "127.0.0.1" || port == "0" {
		t.Fatalf("listens at %s", d.Addr())
	}
	connect := func() *raw {
		t.Helper()
		conn, err := net.Dial("tcp", d.Addr())
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, conn.SetDeadline(time.Now().Add(10*time.Second)), nil)
		r := newRaw(t, conn)
		r.send(wire.MagicV2)
		return r
	}
	r := connect()
	r.identify(wire.Identify{FeatureNegotiation: true, ClientID: "me"})
	if _, negotiated, err := wire.ParseIdentifyResponse([]byte(r.next())); !negotiated || err != nil {
		t.Fatalf("IDENTIFY: %v, %v", negotiated, err)
	}
	r.send("SUB t c\nRDY 2\n")
	r.want("OK")
	d.Publish("t", "a", "b")
	r.want("message 1 a", "message 1 b")
	r.fin("a")
	r.req("b", 0)
	r.want("message 2 b")
	r.fin("b")
	d.WaitFor(10*time.Second, func() bool { return d.Stats("t", "c").Finished == 2 })

	var id struct {
		ClientID string `json:"client_id"`
	}
	clients := d.Clients()
	if err := json.Unmarshal(clients[0].Identify, &id); err != nil || id.ClientID != "me" {
		t.Errorf("IDENTIFY was %s", clients[0].Identify)
	}
	if clients[0].RemoteAddr != r.conn.LocalAddr().String() {
		t.Errorf("client at %s, want %v", clients[0].RemoteAddr, r.conn.LocalAddr())
	}

	d.StopReading()
	r.send("NOP\n")
	d.StartReading()
	d.WaitFor(10*time.Second, func() bool { c := d.CommandsOf(1); return c[len(c)-1] == "NOP" })

	d.Kill()
	r.want("closed")
	if conn, err := net.Dial("tcp", d.Addr()); err == nil {
		_ = conn.Close()
		t.Error("a killed nsqd accepted a connection")
	}
	d.Restart()
	again := connect()
	again.send("CLS\n")
	again.want("error E_INVALID cannot CLS in current state")
	if _, err := again.conn.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // returned bare
		t.Errorf("read %v, want EOF", err)
	}
}
