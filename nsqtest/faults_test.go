package nsqtest_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestReject(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		d.Reject("SUB", "E_UNAUTHORIZED", "no")
		d.Reject("FIN", "E_FIN_FAILED", "late")
		r := dial(t, n, d.Addr())
		r.send("SUB t c\n")
		r.want("error E_UNAUTHORIZED no", "closed")
		wantStats(t, d, nsqtest.Stats{})
		wantLines(t, d.Commands(), "1 SUB t c")

		d.ClearFaults()
		d.Reject("FIN", "E_FIN_FAILED", "late")
		r = consumer(t, n, d, 1)
		d.Publish("t", "m")
		r.want("message 1 m")
		r.fin("m")
		r.want("error E_FIN_FAILED late")
		// The command was not executed, and the connection not closed.
		wantStats(t, d, nsqtest.Stats{InFlight: 1, Clients: 1, Delivered: 1})
	})
}

func TestFaultsChooseCommands(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		reply := nsqtest.ErrorFrame("E_X", "")
		d.Inject(nsqtest.Fault{Command: "PUB", Skip: 1, Times: 2, Reply: reply})
		d.Inject(nsqtest.Fault{
			Match: func(c nsqtest.Command) bool {
				return c.Conn == 1 && string(c.Body) == "match" && c.Params[0] == "t"
			},
			Reply: nsqtest.ResponseFrame("matched"),
		})
		r := dial(t, n, d.Addr())
		for range 4 {
			r.sendBytes(wire.AppendPub(nil, "t", []byte("m")))
		}
		r.want("OK", "error E_X", "error E_X", "OK")
		r.sendBytes(wire.AppendPub(nil, "t", []byte("match")))
		r.want("matched")
		wantLines(t, d.Queued("t", ""), "m", "m")
	})
}

func TestFaultsAct(t *testing.T) {
	heartbeat := nsqtest.ResponseFrame("_heartbeat_")
	for _, tt := range []struct {
		name  string
		fault nsqtest.Fault
		want  []string
		after time.Duration
		count int // how many of the two PUBs are executed
	}{
		{"delay", nsqtest.Fault{Delay: 5 * time.Second, Times: 1}, []string{"OK", "OK", "nothing"}, 5 * time.Second, 2},
		{"before", nsqtest.Fault{Before: heartbeat}, []string{"_heartbeat_", "OK", "_heartbeat_", "OK", "nothing"}, 0, 2},
		{"reply", nsqtest.Fault{Reply: heartbeat}, []string{"_heartbeat_", "_heartbeat_", "nothing"}, 0, 0},
		{"no reply", nsqtest.Fault{Reply: []byte{}}, []string{"nothing"}, 0, 0},
		{"empty response", nsqtest.Fault{Reply: nsqtest.ResponseFrame(""), Times: 1}, []string{"", "OK", "nothing"}, 0, 1},
		{"mute", nsqtest.Fault{Mute: true, Times: 1}, []string{"OK", "nothing"}, 0, 2},
		{"close", nsqtest.Fault{Close: true}, []string{"OK", "closed"}, 0, 1},
		{"mute and close", nsqtest.Fault{Mute: true, Close: true}, []string{"closed"}, 0, 1},
		{"HTTP", nsqtest.Fault{Reply: []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), Close: true},
			[]string{"malformed: " + wire.ErrHTTP.Error()}, 0, 0},
		{"huge", nsqtest.Fault{Reply: []byte("\x7f\xff\xff\xff\x00\x00\x00\x02")},
			[]string{"nothing"}, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				tt.fault.Command = "PUB"
				d.Inject(tt.fault)
				r := dial(t, n, d.Addr())
				start := time.Now()
				pub := wire.AppendPub(nil, "t", []byte("m"))
				r.sendBytes(append(pub, pub...))
				wantErr(t, r.conn.SetReadDeadline(start.Add(10*time.Second)), nil)
				for i, want := range tt.want {
					if got := r.next(); got != want {
						t.Fatalf("got %q, want %q", got, want)
					}
					if took := time.Since(start); i == 0 && took != tt.after && want != "nothing" {
						t.Errorf("replied after %v, want %v", took, tt.after)
					}
				}
				if got := len(d.Queued("t", "")); got != tt.count {
					t.Errorf("%d commands were executed, want %d", got, tt.count)
				}
			})
		})
	}
}

func TestDelayHoldsUpNeitherHeartbeatsNorMessages(t *testing.T) {
	bubble(t, nsqtest.Options{HeartbeatInterval: time.Second}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 1)
		d.Inject(nsqtest.Fault{Command: "PUB", Delay: 10*time.Second + time.Millisecond})
		r.sendBytes(wire.AppendPub(nil, "other", []byte("x")))
		synctest.Wait()
		d.Publish("t", "m")
		r.want("message 1 m")
		for range 10 { // nor is the client closed: it owes no command meanwhile
			r.want("_heartbeat_")
		}
		r.want("OK")
	})
}

func TestDelayEndsWithTheConnection(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		d.Inject(nsqtest.Fault{Command: "NOP", Delay: 1000 * time.Hour})
		r := dial(t, n, d.Addr())
		r.send("NOP\n")
		start := time.Now()
		synctest.Wait()
		d.Kill()
		r.want("closed")
		if took := time.Since(start); took != 0 {
			t.Errorf("Kill took %v", took)
		}
	})
}

func TestCutAfterSent(t *testing.T) {
	ok := string(nsqtest.ResponseFrame("OK"))
	for size := range len(ok) + 1 {
		bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
			d.CutAfterSent(size)
			r := dial(t, n, d.Addr())
			start := time.Now()
			r.send("SUB t c\n")
			wantRead(t, r.conn, ok[:size])
			r.want("closed")
			if took := time.Since(start); took != 0 { // not at the next write, a heartbeat
				t.Errorf("cut after %d of %d bytes: closed after %v", size, len(ok), took)
			}
			r = consumer(t, n, d, 1) // the next connection is whole
			wantStats(t, d, nsqtest.Stats{Clients: 1})
			r.wantNothing()
		})
	}
}

func TestCutAfterReceived(t *testing.T) {
	pub := string(wire.AppendPub([]byte(wire.MagicV2), "t", []byte("m")))
	for size := range len(pub) + 1 {
		bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
			d.CutAfterReceived(size)
			conn, err := n.DialContext(t.Context(), "tcp", d.Addr())
			wantErr(t, err, nil)
			r := newRaw(t, conn)
			_, _ = conn.Write([]byte(pub))
			r.want("closed")
			want := 0
			if size == len(pub) { // executed, but its reply is lost
				want = 1
			}
			synctest.Wait()
			if got := len(d.Queued("t", "")); got != want {
				t.Errorf("cut after %d of %d bytes: %d messages, want %d", size, len(pub), got, want)
			}
		})
	}
}

func TestStopReading(t *testing.T) {
	n := nsqtest.NewNetwork()
	n.Capacity = 1024
	bubble(t, nsqtest.Options{Network: n}, func(t *testing.T, d *nsqtest.Nsqd, _ *nsqtest.Network) {
		r := consumer(t, n, d, 1)
		d.StopReading()
		wantErr(t, r.conn.SetWriteDeadline(time.Now().Add(5*time.Minute+time.Second)), nil)
		written, err := r.conn.Write([]byte(strings.Repeat("NOP\n", 1000)))
		wantErr(t, err, os.ErrDeadlineExceeded)
		if written != 1024 {
			t.Errorf("wrote %d bytes, want the capacity", written)
		}
		d.Publish("t", "m") // the nsqd still sends
		for range 10 {
			r.want("_heartbeat_")
		}
		r.want("message 1 m")

		d.StartReading()
		synctest.Wait()
		if got := len(d.CommandsOf(1)); got != 2+1024/4 {
			t.Errorf("%d commands, want %d", got, 2+1024/4)
		}
		start := time.Now()
		r.want("_heartbeat_")
		// The client is closed for its silence again. Events at the same instant have
		// a fixed order.
		r.want("_heartbeat_", "message 2 m", "closed")
		if took := time.Since(start); took != time.Minute {
			t.Errorf("closed after %v, want 1m", took)
		}
	})
}

func TestClientThatDoesNotReadIsCut(t *testing.T) {
	n := nsqtest.NewNetwork()
	n.Capacity = 20
	bubble(t, nsqtest.Options{Network: n}, func(t *testing.T, d *nsqtest.Nsqd, _ *nsqtest.Network) {
		r := consumer(t, n, d, 2)
		d.Publish("t", "a message that does not fit")
		r.send("BAD\n")
		wantStats(t, d, nsqtest.Stats{InFlight: 1, Delivered: 1})
		if c := d.Clients(); len(c) != 0 {
			t.Errorf("clients %+v", c)
		}
		pass(30*time.Second - 1)
		synctest.Wait()
		r.sendBytes([]byte("x")) // succeeds: the connection is still open
		pass(1)
		synctest.Wait()
		_, err := r.conn.Write([]byte("x"))
		wantErr(t, err, syscall.ECONNRESET)
		wantRead(t, r.conn, "\x00\x00\x00\x39\x00\x00\x00\x02")
	})
}

func TestStopReadingHoldsUpNewConnections(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		d.StopReading()
		r := dial(t, n, d.Addr())
		r.send("SUB t c\n")
		r.wantNothing()
		d.StartReading()
		r.want("OK")
		d.StopReading()
		d.Kill() // closes connections that are not read either
		r.want("closed")
	})
}

func TestStopHeartbeats(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		d.StopHeartbeats()
		r := dial(t, n, d.Addr())
		pass(time.Hour)
		r.wantNothing()
		r.sendBytes(wire.AppendPub(nil, "t", []byte("m")))
		r.want("OK")
		pass(10 * time.Second)
		d.StartHeartbeats()
		start := time.Now()
		r.want("_heartbeat_", "_heartbeat_", "closed") // the full time, from StartHeartbeats on
		if took := time.Since(start); took != time.Minute {
			t.Errorf("closed after %v, want 1m", took)
		}
	})
}

func TestSendAndDisconnect(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		first, second := consumer(t, n, d, 1), consumer(t, n, d, 1)
		d.Send(2, []byte("garbage\n"))
		wantRead(t, second.conn, "garbage\n")
		d.Disconnect(1)
		first.want("closed")
		second.wantNothing()
		wantStats(t, d, nsqtest.Stats{Clients: 1})
	})
}

func TestResend(t *testing.T) {
	bubble(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 1)
		id := d.Publish("t", "m")[0]
		r.want("message 1 m")
		pass(5 * time.Second)
		d.Resend(id)
		r.want("message 2 m")
		wantStats(t, d, nsqtest.Stats{InFlight: 1, Clients: 1, Delivered: 2})
		pass(9 * time.Second) // the timeout counts from the second delivery
		r.fin("m")
		wantStats(t, d, nsqtest.Stats{Clients: 1, Delivered: 2, Finished: 1})
	})
}

func TestKillAndRestart(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 2)
		d.Publish("t", "a", "b", "c")
		r.want("message 1 a", "message 1 b")
		r.req("a", time.Minute)
		r.want("message 1 c")
		synctest.Wait()
		d.Kill()
		d.Kill()
		r.want("closed")
		_, err := n.DialContext(t.Context(), "tcp", d.Addr())
		wantErr(t, err, syscall.ECONNREFUSED)
		d.Publish("t", "d")

		d.Restart()
		d.Restart()
		r = consumer(t, n, d, 4)
		r.want("message 2 b", "message 2 a", "message 2 c", "message 1 d")
		wantStats(t, d, nsqtest.Stats{InFlight: 4, Clients: 1, Delivered: 7, Requeued: 1})
		if c := d.Clients(); c[0].Conn != 2 {
			t.Errorf("clients %+v, want connection 2", c)
		}
	})
}

// failures is a testing.TB that sends the formats of Fatalf to text.
type failures struct {
	testing.TB
	text chan string
}

func (f failures) Helper() {}
func (f failures) Fatalf(format string, args ...any) {
	f.text <- format
	panic(f)
}

func TestMisuseFailsTheTest(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, _ *nsqtest.Nsqd, n *nsqtest.Network) {
		tb := failures{t, make(chan string, 1)}
		d := nsqtest.NewNsqd(tb, nsqtest.Options{Network: n})
		for name, misuse := range map[string]func(){
			"address in use": func() { nsqtest.NewNsqd(tb, nsqtest.Options{Network: n, Addr: d.Addr()}) },
			"empty body":     func() { d.Publish("t", "a", "") },
			"bad topic":      func() { d.Publish("t t", "a") },
			"bad channel":    func() { d.CreateChannel("t", "") },
			"no connection":  func() { d.Disconnect(1) },
			"no message":     func() { d.Resend("0123456789abcdef") },
			"WaitFor":        func() { d.WaitFor(time.Second, func() bool { return false }) },
		} {
			func() {
				defer func() { _ = recover() }()
				misuse()
			}()
			select {
			case <-tb.text:
			default:
				t.Errorf("%s does not fail the test", name)
			}
		}
	})
}

func TestWaitFor(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 1)
		d.Publish("t", "m")
		r.want("message 1 m")
		start := time.Now()
		time.AfterFunc(3*time.Second, func() { r.fin("m") })
		d.WaitFor(time.Minute, func() bool { return d.Stats("t", "c").Finished == 1 })
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("waited %v, want 3s", took)
		}
	})
}
