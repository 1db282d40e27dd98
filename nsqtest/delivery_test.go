package nsqtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestRdyIsACeiling(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 2)
		d.Publish("t", "a", "b", "c", "d", "e")
		r.want("message 1 a", "message 1 b")
		r.wantNothing()
		r.fin("a") // frees a slot without a new RDY
		r.want("message 1 c")
		r.send("RDY 1\n") // below what is in flight, which nsqd does not recall
		r.fin("b")
		r.wantNothing()
		r.fin("c")
		r.want("message 1 d")
		r.send("RDY 0\n")
		r.fin("d")
		r.wantNothing()
		wantStats(t, d, nsqtest.Stats{Depth: 1, Clients: 1, Delivered: 4, Finished: 4})
		r.send("RDY\n") // means 1
		r.want("message 1 e")
		if c := d.Clients()[0]; c.RDY != 1 || c.InFlight != 1 || c.Topic != "t" || c.Channel != "c" || c.Closing {
			t.Errorf("client %+v", c)
		}
	})
}

func TestBacklogIsSentInOneWrite(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		d.Publish("t", "a", "b", "c")
		r := consumer(t, n, d, 3)
		chunk := make([]byte, 4096)
		got, err := r.conn.Read(chunk)
		if want := 3 * (wire.HeaderLen + wire.MessageDataLen(1)); got != want || err != nil {
			t.Errorf("read %d bytes, %v, want %d", got, err, want)
		}
	})
}

func TestClientsTakeTurns(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		a, b, full := consumer(t, n, d, 5), consumer(t, n, d, 5), consumer(t, n, d, 1)
		d.Publish("t", "1", "2", "3", "4", "5", "6")
		a.want("message 1 1", "message 1 4", "message 1 6")
		b.want("message 1 2", "message 1 5")
		full.want("message 1 3")
		wantStats(t, d, nsqtest.Stats{InFlight: 6, Clients: 3, Delivered: 6})
	})
}

func TestMessageTimesOut(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := dial(t, n, d.Addr())
		r.identify(wire.Identify{MsgTimeout: 2000})
		r.send("SUB t c\nRDY 1\n")
		r.want("OK", "OK")
		start := time.Now()
		d.Publish("t", "m")
		r.want("message 1 m", "message 2 m")
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("redelivered after %v, want 2s", took)
		}
		r.fin("m") // counts, since the ID is in flight on this connection again
		wantStats(t, d, nsqtest.Stats{Clients: 1, Delivered: 2, Finished: 1, TimedOut: 1})
		r.fin("m")
		r.want("error E_FIN_FAILED FIN " + string(r.id("m")[:]) + " failed ID not in flight")
		r.send("RDY 0\nNOP\n") // the connection stays open
		synctest.Wait()
		wantLines(t, d.CommandsOf(1)[5:], "RDY 0", "NOP")
	})
}

func TestRequeue(t *testing.T) {
	for _, tt := range []struct {
		name  string
		delay string
		want  time.Duration
	}{
		{"at once", "0", 0},
		{"empty is 0", "", 0},
		{"later", "1500", 1500 * time.Millisecond},
		{"clamped", "11000", 10 * time.Second},
		{"overflow", "9223372036855", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nsqtest.Options{MaxReqTimeout: 10 * time.Second}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				r := consumer(t, n, d, 1)
				d.Publish("t", "m")
				r.want("message 1 m")
				start := time.Now()
				r.send("REQ " + string(r.id("m")[:]) + " " + tt.delay + "\n")
				if tt.want > 0 {
					wantStats(t, d, nsqtest.Stats{Deferred: 1, Clients: 1, Delivered: 1, Requeued: 1})
				}
				r.want("message 2 m")
				if took := time.Since(start); took != tt.want {
					t.Errorf("redelivered after %v, want %v", took, tt.want)
				}
				wantStats(t, d, nsqtest.Stats{InFlight: 1, Clients: 1, Delivered: 2, Requeued: 1})
			})
		})
	}
}

func TestRequeueFreesASlot(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 1)
		d.Publish("t", "a", "b")
		r.want("message 1 a")
		r.req("a", time.Second)
		r.want("message 1 b")
		r.fin("b")
		r.want("message 2 a")
	})
}

func TestTouch(t *testing.T) {
	bubble(t, nsqtest.Options{MsgTimeout: time.Second, MaxMsgTimeout: 3 * time.Second},
		func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
			r := consumer(t, n, d, 1)
			start := time.Now()
			d.Publish("t", "m")
			r.want("message 1 m")
			for range 4 {
				pass(700 * time.Millisecond)
				r.touch("m")
			}
			r.want("message 2 m") // the last TOUCH is cut to the limit without an error
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("redelivered after %v, want 3s", took)
			}
			r.fin("m")
			r.touch("m")
			r.want("error E_TOUCH_FAILED TOUCH " + string(r.id("m")[:]) + " failed ID not in flight")
			wantStats(t, d, nsqtest.Stats{Clients: 1, Delivered: 2, Finished: 1, TimedOut: 1})
		})
}

func TestFinReqAndTouchOfOthersFail(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		owner := consumer(t, n, d, 1)
		d.Publish("t", "m")
		owner.want("message 1 m")
		other := consumer(t, n, d, 1)
		other.ids = owner.ids
		id := string(owner.id("m")[:])
		other.fin("m")
		other.req("m", 0)
		other.touch("m")
		other.want(
			"error E_FIN_FAILED FIN "+id+" failed client does not own message",
			"error E_REQ_FAILED REQ "+id+" failed client does not own message",
			"error E_TOUCH_FAILED TOUCH "+id+" failed client does not own message")
		owner.fin("m")
		wantStats(t, d, nsqtest.Stats{Clients: 2, Delivered: 1, Finished: 1})
	})
}

func TestDisconnectDoesNotRequeue(t *testing.T) {
	bubble(t, nsqtest.Options{MsgTimeout: 5 * time.Second}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		gone := consumer(t, n, d, 1)
		start := time.Now()
		d.Publish("t", "m")
		gone.want("message 1 m")
		wantErr(t, gone.conn.Close(), nil)
		wantStats(t, d, nsqtest.Stats{InFlight: 1, Delivered: 1})

		r := consumer(t, n, d, 1)
		r.ids = gone.ids
		r.fin("m")
		r.want("error E_FIN_FAILED FIN " + string(r.id("m")[:]) + " failed client does not own message")
		r.want("message 2 m")
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("redelivered after %v, want 5s", took)
		}
	})
}

func TestCls(t *testing.T) {
	bubble(t, nsqtest.Options{HeartbeatInterval: time.Second, MsgTimeout: 4 * time.Second},
		func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
			r := consumer(t, n, d, 3)
			d.Publish("t", "a", "b", "c", "d")
			r.want("message 1 a", "message 1 b", "message 1 c")
			r.send("CLS\nRDY 5\n") // nsqd ignores a RDY after CLS
			r.want("CLOSE_WAIT")
			r.fin("a")
			r.req("b", 0)
			pass(time.Second)
			r.touch("c")
			r.want("_heartbeat_")
			r.idle(time.Second)
			r.want("_heartbeat_")
			r.fin("c")
			r.wantNothing()
			wantStats(t, d, nsqtest.Stats{Depth: 2, Clients: 1, Delivered: 3, Finished: 2, Requeued: 1})
			if c := d.Clients()[0]; !c.Closing || c.RDY != 0 {
				t.Errorf("client %+v", c)
			}
		})
}

func TestStraggler(t *testing.T) {
	for _, tt := range []struct{ name, send, reply string }{
		{"after CLS", "CLS\n", "CLOSE_WAIT"},
		{"after RDY 0", "RDY 0\n" + "PUB other\n\x00\x00\x00\x01x", "OK"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nsqtest.Options{Straggler: true}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				r := consumer(t, n, d, 2)
				d.Publish("t", "a")
				r.want("message 1 a")
				r.send(tt.send)
				r.want(tt.reply)
				r.wantNothing()
				d.Publish("t", "b", "c")
				r.want("message 1 b")
				r.fin("a")
				r.fin("b")
				r.wantNothing() // never more than one
				wantStats(t, d, nsqtest.Stats{Depth: 1, Clients: 1, Delivered: 2, Finished: 2})
			})
		})
	}
}

func TestStragglerStaysWithinTheOldRdy(t *testing.T) {
	bubble(t, nsqtest.Options{Straggler: true}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 1)
		d.Publish("t", "a", "b", "c")
		r.want("message 1 a")
		r.send("CLS\n")
		r.want("CLOSE_WAIT")
		r.wantNothing()
		r.fin("a")
		r.want("message 1 b")
		r.fin("b")
		r.wantNothing()

		idle := consumer(t, n, d, 0) // without a RDY it is owed nothing
		idle.send("CLS\n")
		idle.want("CLOSE_WAIT")
		idle.wantNothing()
	})
}

func TestStragglerComesFirstAndOnce(t *testing.T) {
	bubble(t, nsqtest.Options{Straggler: true}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		ready, closing := consumer(t, n, d, 5), consumer(t, n, d, 5)
		closing.send("CLS\n")
		closing.want("CLOSE_WAIT")
		d.Publish("t", "a", "b")
		closing.want("message 1 a")
		ready.want("message 1 b")
		closing.wantNothing()
	})
}

func TestNewRdyCancelsTheStraggler(t *testing.T) {
	bubble(t, nsqtest.Options{Straggler: true}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 2)
		d.Publish("t", "a")
		r.want("message 1 a")
		r.send("RDY 0\nRDY 1\n")
		synctest.Wait()
		d.Publish("t", "b")
		r.wantNothing()
	})
}

func TestPause(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 2)
		d.Publish("t", "a")
		r.want("message 1 a")
		d.Pause("t", "c")
		d.Publish("t", "b")
		r.fin("a")
		r.wantNothing()
		wantStats(t, d, nsqtest.Stats{Depth: 1, Clients: 1, Delivered: 1, Finished: 1})
		d.Unpause("t", "c")
		r.want("message 1 b")
	})
}

func TestEmpty(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 2)
		d.Publish("t", "a", "b", "c")
		r.want("message 1 a", "message 1 b")
		r.req("a", time.Second)
		r.want("message 1 c")
		d.Publish("t", "d")
		wantStats(t, d, nsqtest.Stats{Depth: 1, InFlight: 2, Deferred: 1, Clients: 1, Delivered: 3, Requeued: 1})
		d.Empty("t", "c")
		wantStats(t, d, nsqtest.Stats{Clients: 1, Delivered: 3, Requeued: 1})
		r.fin("b")
		r.want("error E_FIN_FAILED FIN " + string(r.id("b")[:]) + " failed ID not in flight")
		d.Publish("t", "e", "f", "g")
		r.want("message 1 e", "message 1 f") // all slots are free again
		r.wantNothing()
	})
}

func TestDeleteChannel(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 1)
		d.Publish("t", "a", "b")
		r.want("message 1 a")
		d.DeleteChannel("t", "c")
		r.want("closed")
		wantStats(t, d, nsqtest.Stats{})
		fresh := consumer(t, n, d, 1) // SUB creates the channel again
		fresh.wantNothing()
		d.Publish("t", "c")
		fresh.want("message 1 c")
		wantStats(t, d, nsqtest.Stats{InFlight: 1, Clients: 1, Delivered: 1})
	})
}

func TestEphemeral(t *testing.T) {
	const topic, channel = "t#ephemeral", "c#ephemeral"
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		a, b := dial(t, n, d.Addr()), dial(t, n, d.Addr())
		for _, r := range []*raw{a, b} {
			r.send("SUB " + topic + " " + channel + "\n")
			r.want("OK")
		}
		d.Publish(topic, "m")
		_ = a.conn.Close()
		synctest.Wait()
		if s := d.Stats(topic, channel); s.Depth != 1 || s.Clients != 1 {
			t.Errorf("after the first client left: %+v", s)
		}
		_ = b.conn.Close()
		synctest.Wait()
		if s := d.Stats(topic, channel); s != (nsqtest.Stats{}) {
			t.Errorf("after the last client left: %+v", s)
		}
		c := dial(t, n, d.Addr())
		c.send("SUB " + topic + " " + channel + "\nRDY 1\n")
		c.want("OK")
		c.wantNothing() // the topic and its message are gone
	})
}

func TestIdsDifferBetweenNsqds(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		other := nsqtest.NewNsqd(t, nsqtest.Options{Network: n, Addr: "nsqd2:4150"})
		if other.Addr() != "nsqd2:4150" {
			t.Errorf("the other nsqd listens at %s", other.Addr())
		}
		seen := make(map[string]bool)
		for _, id := range append(d.Publish("t", "a", "b"), other.Publish("t", "a", "b")...) {
			seen[id] = true
		}
		if len(seen) != 4 {
			t.Errorf("ids %v, want 4 distinct", seen)
		}
	})
}
