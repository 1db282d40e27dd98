package nsqtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// As in nsqd, numbers overflow, and so do delays in nanoseconds.
func TestNumbersOverflow(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := consumer(t, n, d, 0)
		r.send("RDY 18446744073709551617\n") // 2^64 + 1
		synctest.Wait()
		if rdy := d.Clients()[0].RDY; rdy != 1 {
			t.Errorf("RDY %d, want 1", rdy)
		}
		d.Publish("t", "m")
		r.want("message 1 m")
		for _, tt := range []struct {
			delay string
			waits time.Duration
		}{
			{"9223372036855", 0},          // a negative number of nanoseconds
			{"18446744073709551616", 0},   // 2^64
			{"18446744073710", 448384},    // 2^64 ns and 0.448384 ms
			{"9223372036854", time.Hour},  // the longest: cut to MaxReqTimeout
			{"18446744073709551615", 0},   // -1 ms
			{"18446744073709551617", 1e6}, // 1 ms
		} {
			start := time.Now()
			r.send("REQ " + string(r.id("m")[:]) + " " + tt.delay + "\n")
			for got := r.next(); got == "_heartbeat_"; got = r.next() {
				r.send("NOP\n")
			}
			if waited := time.Since(start); waited != tt.waits {
				t.Errorf("REQ with %s came back after %v, want %v", tt.delay, waited, tt.waits)
			}
		}
	})
}

// A client that ends within the body of a command learns what is missing.
func TestCutShort(t *testing.T) {
	for _, tt := range []struct{ send, want string }{
		{"PUB t\n", "error E_BAD_MESSAGE PUB failed to read message body size"},
		{"PUB t\n\x00\x00\x00\x05he", "error E_BAD_MESSAGE PUB failed to read message body"},
		{"IDENTIFY\n\x00\x00\x00\x05{}", "error E_BAD_BODY IDENTIFY failed to read body"},
		{"MPUB t\n\x00\x00\x00\x09\x00\x00\x00\x02\x00\x00\x00\x01m", "error E_BAD_MESSAGE MPUB failed to read message(1) body size"},
		{"PUB", "closed"},
	} {
		bubble(t, nsqtest.Options{HeartbeatInterval: time.Second}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
			ends := dial(t, n, d.Addr())
			ends.send(tt.send)
			if err := ends.conn.(*nsqtest.Conn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			ends.want(tt.want)

			stalls := dial(t, n, d.Addr())
			start := time.Now()
			stalls.send(tt.send)
			stalls.want("_heartbeat_", "_heartbeat_", tt.want)
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("%q: after %v, want 2s", tt.send, took)
			}
			if got := d.Commands(); len(got) > 0 {
				t.Errorf("%q: commands %q, want none", tt.send, got)
			}
		})
	}
}

// IDENTIFY starts the heartbeats anew, whatever it says about them.
func TestIdentifyRestartsHeartbeats(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := dial(t, n, d.Addr())
		start := time.Now()
		pass(20 * time.Second)
		r.identify(wire.Identify{})
		r.want("OK", "_heartbeat_")
		if took := time.Since(start); took != 50*time.Second {
			t.Errorf("the first heartbeat came after %v, want 50s", took)
		}
	})
}
